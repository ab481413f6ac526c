//! Tiny archives in the shapes in which the datasets are published.

use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;

use crate::common;

/// Files of a dataset as a server has them: names and bytes.
pub(crate) type Files = Vec<(String, Vec<u8>)>;

/// A gzipped tar archive.
pub(crate) fn tgz(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, &bytes[..]).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

/// Bytes that hardly shrink, and differ by seed.
pub(crate) fn noise(n: usize, seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..n).map(|_| next()).collect()
}

fn jpeg(seed: u32) -> Vec<u8> {
    let mut out = Vec::new();
    let pixels = noise(20 * 16 * 3, seed);
    JpegEncoder::new(&mut out).encode(&pixels, 20, 16, ExtendedColorType::Rgb8).unwrap();
    out
}

/// A WAV file of noise at 8 kHz.
fn wav(samples: u32, seed: u32) -> Vec<u8> {
    common::wav(8_000, &noise(2 * samples as usize, seed))
}

/// Records of `labels` bytes each and an image.
fn records(n: u32, labels: impl Fn(u32) -> Vec<u8>, pixels: usize, seed: u32) -> Vec<u8> {
    (0..n).flat_map(|i| [labels(i), noise(pixels, seed + i)].concat()).collect()
}

fn in_repository(path: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../data").join(path)).unwrap()
}

pub(crate) fn librispeech() -> Files {
    let mut files = vec![("LibriSpeech/README.TXT".to_owned(), b"text".to_vec())];
    for (speaker, chapter) in [(103, 100_721), (127, 100_889)] {
        for n in 0..5 {
            let name = format!("{speaker}-{chapter}-{n:04}.flac");
            let bytes = in_repository(&format!("speech-mini/{speaker}/{chapter}/{name}"));
            files.push((format!("LibriSpeech/train-clean-100/{speaker}/{chapter}/{name}"), bytes));
        }
        let text = format!("LibriSpeech/train-clean-100/{speaker}/{chapter}/{speaker}-{chapter}.trans.txt");
        files.push((text, b"words".to_vec()));
    }
    vec![("train-clean-100.tar.gz".to_owned(), tgz(&files))]
}

/// Digits 0 to 9 of two speakers, six times each; one recording is too short for a label.
pub(crate) fn spoken_digits() -> Files {
    let top = "free-spoken-digit-dataset-1.0.9";
    let mut files = vec![(format!("{top}/README.md"), b"text".to_vec()), (format!("{top}/fsdd.py"), b"code".to_vec())];
    for digit in 0..10 {
        for speaker in ["jackson", "theo"] {
            for n in 0..6 {
                let samples = if (digit, speaker, n) == (0, "theo", 5) { 150 } else { 2_400 + 10 * digit };
                let name = format!("{top}/recordings/{digit}_{speaker}_{n}.wav");
                files.push((name, wav(samples, 100 * digit + n)));
            }
        }
    }
    vec![("free-spoken-digit-dataset-1.0.9.tar.gz".to_owned(), tgz(&files))]
}

pub(crate) fn stl10() -> Files {
    let image = 3 * 96 * 96;
    let names = "airplane\nbird\ncar\ncat\ndeer\ndog\nhorse\nmonkey\nship\ntruck\n";
    let files = [
        ("train_X.bin", noise(12 * image, 1)),
        ("train_y.bin", (0..12).map(|i| i % 10 + 1).collect()),
        ("test_X.bin", noise(10 * image, 2)),
        ("test_y.bin", (1..=10).collect()),
        ("unlabeled_X.bin", noise(4 * image, 3)),
        ("class_names.txt", names.as_bytes().to_vec()),
        ("fold_indices.txt", b"0 1 2\n".to_vec()),
    ];
    let files: Files = files.into_iter().map(|(name, bytes)| (format!("stl10_binary/{name}"), bytes)).collect();
    vec![("stl10_binary.tar.gz".to_owned(), tgz(&files))]
}

pub(crate) fn cifar10() -> Files {
    let names: Vec<String> = (1..=5).map(|b| format!("data_batch_{b}")).chain(["test_batch".to_owned()]).collect();
    let mut files: Files = names
        .iter()
        .zip(0..)
        .map(|(name, b)| {
            (format!("cifar-10-batches-bin/{name}.bin"), records(4, |i| vec![(4 * b + i) as u8 % 10], 3072, 50 * b))
        })
        .collect();
    let classes = b"airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n".to_vec();
    files.push(("cifar-10-batches-bin/batches.meta.txt".to_owned(), classes));
    files.push(("cifar-10-batches-bin/readme.html".to_owned(), b"page".to_vec()));
    vec![("cifar-10-binary.tar.gz".to_owned(), tgz(&files))]
}

pub(crate) fn cifar100() -> Files {
    let set = |n, seed| records(n, |i| vec![(i % 20) as u8, (i % 100) as u8], 3072, seed);
    let lines = |n: u32| (0..n).map(|i| format!("class {i}\n")).collect::<String>().into_bytes();
    let files = [
        ("train.bin", set(100, 1)),
        ("test.bin", set(4, 200)),
        ("fine_label_names.txt", lines(100)),
        ("coarse_label_names.txt", lines(20)),
    ];
    let files: Files = files.into_iter().map(|(name, bytes)| (format!("cifar-100-binary/{name}"), bytes)).collect();
    vec![("cifar-100-binary.tar.gz".to_owned(), tgz(&files))]
}

pub(crate) fn fashion_mnist() -> Files {
    let names = ["train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"];
    let names = names.map(|name| format!("{name}-ubyte.gz"));
    names.map(|name| (name.clone(), in_repository(&format!("fashion-mini/{name}")))).to_vec()
}

pub(crate) fn imagenette(px: u32) -> Files {
    let mut files = vec![(format!("imagenette2-{px}/noisy_imagenette.csv"), b"path,label\n".to_vec())];
    for (c, class) in ["n01440764", "n02102040"].iter().enumerate() {
        for i in 0..3 {
            let at = |set: &str, name: String| format!("imagenette2-{px}/{set}/{class}/{name}.JPEG");
            files.push((at("train", format!("{class}_{i}")), jpeg(10 * c as u32 + i)));
            files.push((at("val", format!("ILSVRC2012_val_0000{i}")), jpeg(100 + 10 * c as u32 + i)));
        }
    }
    vec![(format!("imagenette2-{px}.tgz"), tgz(&files))]
}

/// A MATLAB file of level 5 with these arrays of bytes.
fn mat(arrays: &[(&str, &[u8])]) -> Vec<u8> {
    let element = |kind: u32, content: &[u8]| {
        let mut out = [kind.to_le_bytes(), (content.len() as u32).to_le_bytes()].concat();
        out.extend(content);
        out.resize(out.len().next_multiple_of(8), 0);
        out
    };
    let mut out = vec![b' '; 124];
    out.extend([0, 1, b'I', b'M']);
    for (name, values) in arrays {
        let shape = [1u32.to_le_bytes(), (values.len() as u32).to_le_bytes()].concat();
        let parts = [
            element(6, &[9, 0, 0, 0, 0, 0, 0, 0]),
            element(5, &shape),
            element(1, name.as_bytes()),
            element(2, values),
        ];
        out.extend(element(14, &parts.concat()));
    }
    out
}

/// Nine images: three classes in each of three sets.
pub(crate) fn flowers102() -> Files {
    let images: Files = (1..=9).map(|i| (format!("jpg/image_{i:05}.jpg"), jpeg(i))).collect();
    vec![
        ("102flowers.tgz".to_owned(), tgz(&images)),
        ("imagelabels.mat".to_owned(), mat(&[("labels", &[1, 2, 102, 1, 2, 102, 1, 2, 102])])),
        ("setid.mat".to_owned(), mat(&[("trnid", &[1, 5, 9]), ("valid", &[2, 6, 7]), ("tstid", &[3, 4, 8])])),
    ]
}
