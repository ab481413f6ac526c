//! Opening image datasets: every format, and everything that can be wrong with it.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use crate::common::{big, fashion_mini, jpeg, open, png, scene, write};
use gim_core::Error;
use gim_vision::dataset::image::{Color, Image};
use gim_vision::dataset::loader::check_sizes;
use gim_vision::dataset::standardize::Standardize;
use gim_vision::dataset::{self, DatasetOptions, ImageDataset, Split};
use image::codecs::png::PngEncoder;
use image::codecs::webp::WebPEncoder;
use image::{ExtendedColorType, ImageEncoder};
use proptest::prelude::*;
use tempfile::TempDir;

fn says(root: &Path, parts: &[&str]) {
    let e = open(root).unwrap_err();
    for part in parts {
        assert!(e.contains(part), "{e:?} should say {part:?}");
    }
}

fn temp() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// Puts a part of a file's bytes back in place of the whole.
fn change(path: &Path, f: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    f(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

fn skip_bad(root: &Path) -> Arc<dyn ImageDataset> {
    dataset::open(root, &DatasetOptions { skip_bad: true, ..Default::default() }).unwrap()
}

/// Value of channel c at row y, column x of an image unlike its mirror images and its transpose.
fn value(i: usize, c: usize, y: usize, x: usize) -> u8 {
    (i * 31 + c * 85 + y * 2 + x / 2 + usize::from(x < 10 && y > 50) * 40) as u8
}

/// A record (C, H, W), or (C, W, H) by columns. No published image of STL-10 is at hand, so this
/// pins the published definition: the authors' file description (channel after channel, each "in
/// column-major order") and the readers that follow it, which reshape to (−1, 3, 96, 96) and
/// transpose by (0, 3, 2, 1) into (images, rows, columns, channels).
fn planes(i: usize, side: usize, columns: bool) -> Vec<u8> {
    let mut out = Vec::new();
    for c in 0..3 {
        for a in 0..side {
            for b in 0..side {
                out.push(if columns { value(i, c, b, a) } else { value(i, c, a, b) });
            }
        }
    }
    out
}

fn check_pixels(image: &Image, i: usize, side: usize) {
    assert_eq!((image.height, image.width, image.channels), (side, side, 3));
    for (y, x, c) in [(0, 0, 0), (0, side - 1, 0), (side - 1, 0, 1), (3, 7, 2), (20, 5, 1), (side - 1, side - 1, 2)] {
        assert_eq!(image.pixels[(y * side + x) * 3 + c], value(i, c, y, x), "row {y}, column {x}, channel {c}");
    }
}

/// 12 to train on, 5 to test on, 4 without labels.
fn stl10() -> TempDir {
    let dir = temp();
    let records = |first: usize, n: usize| (first..first + n).flat_map(|i| planes(i, 96, true)).collect::<Vec<_>>();
    write(&dir.path().join("train_X.bin"), records(0, 12));
    write(&dir.path().join("train_y.bin"), (0..12).map(|i| i % 10 + 1).collect::<Vec<u8>>());
    write(&dir.path().join("test_X.bin"), records(12, 5));
    write(&dir.path().join("test_y.bin"), [10, 1, 2, 3, 4]);
    write(&dir.path().join("unlabeled_X.bin"), records(17, 4));
    write(&dir.path().join("class_names.txt"), "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n");
    write(&dir.path().join("fold_indices.txt"), "0 3 5\n1 2 11\n");
    dir
}

#[test]
fn stl10_is_read() {
    let dir = stl10();
    let dataset = open(dir.path()).unwrap();
    assert_eq!((dataset.format(), dataset.len(), dataset.classes().len()), ("STL-10", 21, 10));
    assert_eq!(dataset.split(Split::Train), (0..12).collect::<Vec<_>>());
    assert_eq!(dataset.split(Split::Test), [12, 13, 14, 15, 16]);
    assert_eq!(dataset.split(Split::Unlabeled), [17, 18, 19, 20]);
    assert_eq!(
        (dataset.label(0), dataset.label(11), dataset.label(12), dataset.label(17)),
        (Some(0), Some(1), Some(9), None)
    );
    assert_eq!(dataset.folds(), [vec![0, 3, 5], vec![1, 2, 11]]);
    assert_eq!((dataset.id(12), dataset.size(3)), ("test/0".to_owned(), (96, 96)));
    assert!(dataset.file(20).ends_with("unlabeled_X.bin"));
    let [note] = dataset.notes() else { panic!("{:?}", dataset.notes()) };
    assert!(note.contains("unlabeled_X.bin (4 instead of 100000)"), "{note}");
    for i in [0, 11, 12, 16, 17, 20] {
        check_pixels(&dataset.read(i).unwrap(), i, 96);
    }
    // reshape(−1, 3, 96, 96) and transpose(0, 3, 2, 1), on the bytes of the second image.
    let file = std::fs::read(dir.path().join("train_X.bin")).unwrap();
    let reshaped = |a: usize, b: usize, c: usize| file[((3 + a) * 96 + b) * 96 + c];
    let places = (0..96).flat_map(|y| (0..96).flat_map(move |x| (0..3).map(move |c| (y, x, c))));
    let want: Vec<u8> = places.map(|(y, x, c)| reshaped(c, x, y)).collect();
    assert_eq!(dataset.read(1).unwrap(), Image::new(96, 96, 3, want));
    let digest = dataset.digest().to_owned();
    change(&dir.path().join("test_X.bin"), |b| b[7] ^= 1);
    assert_ne!(open(dir.path()).unwrap().digest(), digest);
    std::fs::remove_file(dir.path().join("unlabeled_X.bin")).unwrap();
    let dataset = open(dir.path()).unwrap();
    assert_eq!(dataset.split(Split::Unlabeled), dataset.split(Split::Train));
    assert!(dataset.notes()[0].contains("unlabeled_X.bin"));
    // The archive's own folder is found, too.
    let outer = temp();
    std::fs::rename(dir.path(), outer.path().join("stl10_binary")).unwrap();
    assert_eq!(open(outer.path()).unwrap().format(), "STL-10");
}

#[test]
fn damaged_stl10() {
    let file = |name: &str, f: fn(&mut Vec<u8>), parts: &[&str]| {
        let dir = stl10();
        change(&dir.path().join(name), f);
        says(dir.path(), &[&[name], parts].concat());
    };
    file("train_X.bin", |b| b.truncate(b.len() - 1), &["no multiple of the 27648"]);
    file("unlabeled_X.bin", Vec::clear, &["the file is empty"]);
    file("train_X.bin", |b| b.truncate(27_648 * 11), &["12 labels for the 11 images"]);
    file("train_y.bin", |b| b[3] = 0, &["image 3: label 0 is outside 1 to 10", "--skip-bad"]);
    file("test_y.bin", |b| b[4] = 11, &["image 4: label 11"]);
    file("train_y.bin", |b| b[3..5].fill(0), &["image 3", "bad images besides it: 1"]);
    file("class_names.txt", |b| b.truncate(8), &["4 classes, but there are 10"]);
    file("fold_indices.txt", |b| b.extend(b"12\n"), &["line 3", "\"12\""]);
    let dir = stl10();
    std::fs::remove_file(dir.path().join("test_y.bin")).unwrap();
    says(dir.path(), &["test_y.bin", "no such file"]);
    let dir = stl10();
    let dataset = open(dir.path()).unwrap();
    change(&dir.path().join("unlabeled_X.bin"), |b| b.truncate(100));
    assert!(dataset.read(20).unwrap_err().to_string().contains("unlabeled_X.bin"));
    let large = DatasetOptions { min_side: 97, ..Default::default() };
    assert!(dataset::open(dir.path(), &large).is_err());
    // One file is enough to tell what the folder holds, and what is missing.
    for name in ["train_y.bin", "test_y.bin", "test_X.bin"] {
        let dir = temp();
        write(&dir.path().join(name), [1]);
        says(dir.path(), &["train_X.bin", "no such file"]);
    }
}

/// A label out of range is an error, or, if wanted, its image is left out and listed; the others
/// keep their numbers.
#[test]
fn labels_out_of_range_are_left_out() {
    let whole = open(stl10().path()).unwrap().digest().to_owned();
    let dir = stl10();
    assert_eq!(skip_bad(dir.path()).digest(), whole);
    change(&dir.path().join("train_y.bin"), |b| b[3] = 0);
    change(&dir.path().join("test_y.bin"), |b| b[0..2].fill(200));
    says(dir.path(), &["train_y.bin", "--skip-bad"]);
    let dataset = skip_bad(dir.path());
    assert_eq!(dataset.split(Split::Train), [0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11]);
    assert_eq!((dataset.split(Split::Test), dataset.len()), (&[14, 15, 16][..], 21));
    assert_eq!((dataset.label(3), dataset.label(4), dataset.label(14)), (None, Some(4), Some(1)));
    assert_eq!((dataset.id(14), dataset.split(Split::Unlabeled)), ("test/2".to_owned(), &[17, 18, 19, 20][..]));
    assert_eq!(dataset.folds(), [vec![0, 5], vec![1, 2, 11]]);
    check_pixels(&dataset.read(14).unwrap(), 14, 96);
    assert_ne!(dataset.digest(), whole);
    let notes = dataset.notes().join("\n");
    for part in ["1 image is bad and left out: train/3 (label 0 is", "2 images", "test/0 (label 200", "test/1 ("] {
        assert!(notes.contains(part), "{notes:?} should say {part:?}");
    }
    // Nothing left is an error even then, and leaving bad images out no remedy.
    change(&dir.path().join("test_y.bin"), |b| b.fill(0));
    let skip = DatasetOptions { skip_bad: true, ..Default::default() };
    let e = dataset::open(dir.path(), &skip).unwrap_err().to_string();
    assert!(e.contains("test_y.bin") && !e.contains("--skip-bad"), "{e}");

    let dir = cifar10();
    change(&dir.path().join("data_batch_2.bin"), |b| b[3073] = 10);
    says(dir.path(), &["data_batch_2.bin", "image 1: label 10 is outside 0 to 9", "--skip-bad"]);
    let dataset = skip_bad(dir.path());
    assert_eq!((dataset.split(Split::Train).len(), dataset.label(4), dataset.label(5)), (14, None, Some(5)));
    assert!(dataset.notes().join("\n").contains("data_batch_2/1 (label 10"));

    let dir = cifar(2, &[("train", 6), ("test", 2)]);
    change(&dir.path().join("test.bin"), |b| b[0] = 20);
    says(dir.path(), &["test.bin", "image 0: coarse label 20 is outside 0 to 19"]);
    assert_eq!(skip_bad(dir.path()).split(Split::Test), [7]);

    let dir = idx();
    write(&dir.path().join("classes.txt"), "x\ny\n");
    let dataset = skip_bad(dir.path());
    assert_eq!((dataset.split(Split::Train), dataset.split(Split::Test)), (&[0, 1, 4, 5][..], &[6, 7][..]));
}

fn cifar(before: usize, parts: &[(&str, usize)]) -> TempDir {
    let dir = temp();
    let mut i = 0;
    for &(name, n) in parts {
        let mut bytes = Vec::new();
        for _ in 0..n {
            bytes.extend(if before == 1 { vec![(i % 10) as u8] } else { vec![(i % 20) as u8, (99 - i) as u8] });
            bytes.extend(planes(i, 32, false));
            i += 1;
        }
        write(&dir.path().join(format!("{name}.bin")), bytes);
    }
    dir
}

fn cifar10() -> TempDir {
    let names = ["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"];
    cifar(1, &names.map(|name| (name, 3)))
}

#[test]
fn cifar_is_read() {
    let dir = cifar10();
    let dataset = open(dir.path()).unwrap();
    let [names, sizes] = dataset.notes() else { panic!("{:?}", dataset.notes()) };
    assert!(names.contains("batches.meta.txt"), "{names}");
    assert!(sizes.contains("data_batch_5.bin (3 instead of 10000)") && sizes.contains("test_batch.bin (3"), "{sizes}");
    write(&dir.path().join("batches.meta.txt"), "p\nq\nr\ns\nt\nu\nv\nw\nx\ny\n\n");
    let dataset = open(dir.path()).unwrap();
    assert_eq!((dataset.format(), dataset.len()), ("CIFAR-10", 18));
    assert_eq!((dataset.classes()[9].as_str(), dataset.label(9), dataset.label(17)), ("y", Some(9), Some(7)));
    assert_eq!((dataset.split(Split::Unlabeled).len(), dataset.split(Split::Test)), (15, &[15, 16, 17][..]));
    for i in [0, 4, 17] {
        check_pixels(&dataset.read(i).unwrap(), i, 32);
    }

    let dir = cifar(2, &[("train", 6), ("test", 2)]);
    let dataset = open(dir.path()).unwrap();
    assert_eq!((dataset.format(), dataset.len(), dataset.classes().len()), ("CIFAR-100", 8, 100));
    assert_eq!((dataset.label(0), dataset.label(7)), (Some(99), Some(92)));
    check_pixels(&dataset.read(7).unwrap(), 7, 32);
    let note = &dataset.notes()[1];
    assert!(
        note.contains("train.bin (6 instead of 50000)") && note.contains("test.bin (2 instead of 10000)"),
        "{note}"
    );
}

/// A whole file of the published size is not remarked on; one that was cut between two images is.
#[test]
fn a_file_cut_between_two_images_is_noted() {
    let dir = cifar10();
    // Without blocks on disk.
    let grow = |name: &str, n: u64| {
        let file = std::fs::OpenOptions::new().write(true).open(dir.path().join(name)).unwrap();
        file.set_len(n * 3073).unwrap();
    };
    (1..=5).for_each(|b| grow(&format!("data_batch_{b}.bin"), 10_000));
    grow("test_batch.bin", 10_000);
    write(&dir.path().join("batches.meta.txt"), "p\nq\nr\ns\nt\nu\nv\nw\nx\ny\n");
    assert!(open(dir.path()).unwrap().notes().is_empty());
    grow("test_batch.bin", 9_999);
    let dataset = open(dir.path()).unwrap();
    let [note] = dataset.notes() else { panic!("{:?}", dataset.notes()) };
    assert!(note.contains("test_batch.bin (9999 instead of 10000)") && !note.contains("data_batch"), "{note}");
}

#[test]
fn damaged_cifar() {
    let dir = cifar10();
    change(&dir.path().join("data_batch_3.bin"), |b| b.truncate(5000));
    says(dir.path(), &["data_batch_3.bin", "5000 bytes", "3073"]);
    change(&dir.path().join("data_batch_3.bin"), |b| b.truncate(3073));
    says(dir.path(), &["data_batch_3.bin", "1 images", "has 3"]);
    std::fs::remove_file(dir.path().join("data_batch_3.bin")).unwrap();
    says(dir.path(), &["data_batch_3.bin", "no such file", "download"]);
    let dir = cifar10();
    change(&dir.path().join("test_batch.bin"), |b| b[3073] = 10);
    says(dir.path(), &["test_batch.bin", "image 1: label 10 is outside 0 to 9"]);
    let dir = cifar(2, &[("train", 6), ("test", 2)]);
    change(&dir.path().join("train.bin"), |b| b[1] = 100);
    says(dir.path(), &["train.bin", "label 100"]);
    // What is missing is named, whatever else is there.
    let dir = cifar10();
    std::fs::remove_file(dir.path().join("test_batch.bin")).unwrap();
    says(dir.path(), &["test_batch.bin", "no such file"]);
    for missing in ["train", "test"] {
        let dir = cifar(2, &[("train", 6), ("test", 2)]);
        std::fs::remove_file(dir.path().join(format!("{missing}.bin"))).unwrap();
        says(dir.path(), &[&format!("{missing}.bin"), "no such file"]);
    }
    let names = |file: &str, n: usize, missing: &str| {
        let dir = temp();
        let lines: Vec<String> = (0..n).map(|c| format!("class {c}\n")).collect();
        write(&dir.path().join("any").join(file), lines.concat());
        says(&dir.path().join("any"), &[missing, "no such file"]);
    };
    names("batches.meta.txt", 10, "data_batch_1.bin");
    names("fine_label_names.txt", 100, "train.bin");
    // A file of that name beside class folders is none of theirs.
    let dir = folders();
    write(&dir.path().join("train.bin"), "something else");
    assert_eq!(open(dir.path()).unwrap().format(), "class folders");
}

fn idx_file(dims: &[u32], data: &[u8]) -> Vec<u8> {
    let mut out = vec![0, 0, 8, dims.len() as u8];
    out.extend(dims.iter().flat_map(|d| d.to_be_bytes()));
    out.extend(data);
    out
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(bytes).unwrap();
    gz.finish().unwrap()
}

/// 6 and 3 images of 4 × 5, plain and packed, in different spellings.
fn idx() -> TempDir {
    let dir = temp();
    let pixels = |first: usize, n: usize| (0..n * 20).map(|i| (first + i) as u8).collect::<Vec<_>>();
    write(&dir.path().join("train-images-idx3-ubyte"), idx_file(&[6, 4, 5], &pixels(0, 6)));
    write(&dir.path().join("train-labels.idx1-ubyte"), idx_file(&[6], &[0, 1, 2, 2, 1, 0]));
    write(&dir.path().join("t10k-images-idx3-ubyte.gz"), gzip(&idx_file(&[3, 4, 5], &pixels(7, 3))));
    write(&dir.path().join("t10k-labels-idx1-ubyte.gz"), gzip(&idx_file(&[3], &[1, 0, 2])));
    dir
}

/// The folders of archives and of torchvision, below the one that is given.
#[test]
fn usual_folders_are_entered() {
    let moved = |made: TempDir, name: &str| {
        let outer = temp();
        let inner = outer.path().join(name);
        std::fs::create_dir_all(inner.parent().unwrap()).unwrap();
        std::fs::rename(made.path(), inner).unwrap();
        outer
    };
    for (made, name, format) in [
        (stl10(), "stl10_binary", "STL-10"),
        (cifar10(), "cifar-10-batches-bin", "CIFAR-10"),
        (cifar(2, &[("train", 6), ("test", 2)]), "cifar-100-binary", "CIFAR-100"),
        (idx(), "FashionMNIST/raw", "IDX"),
        (idx(), "raw", "IDX"),
        (folders(), "imagenette2-160", "class folders"),
    ] {
        let digest = open(made.path()).unwrap().digest().to_owned();
        let outer = moved(made, name);
        let found = open(outer.path()).unwrap();
        assert_eq!((found.format(), found.digest()), (format, digest.as_str()), "{name}");
        assert_eq!(open(&outer.path().join(name)).unwrap().digest(), digest);
    }
    // A split of class folders is a dataset by itself: a fifth of it is the test set.
    let outer = moved(folders(), "imagenette2-160");
    let train = open(&outer.path().join("imagenette2-160/train")).unwrap();
    assert!(train.notes().iter().any(|note| note.contains("no test set")), "{:?}", train.notes());

    // Of two datasets, none is taken.
    let outer = moved(cifar10(), "cifar-10-batches-bin");
    std::fs::create_dir_all(outer.path().join("MNIST")).unwrap();
    std::fs::rename(idx().path(), outer.path().join("MNIST/raw")).unwrap();
    says(outer.path(), &["more than one dataset", "cifar-10-batches-bin and MNIST/raw"]);
}

#[test]
fn pickled_cifar_is_told_apart() {
    let dir = temp();
    for file in ["data_batch_1", "test_batch", "batches.meta"] {
        write(&dir.path().join("cifar-10-batches-py").join(file), [0x80, 2]);
    }
    for root in [dir.path().to_owned(), dir.path().join("cifar-10-batches-py")] {
        says(&root, &["Python pickles", "cifar-10-binary.tar.gz"]);
    }
    let dir = temp();
    for file in ["train", "test", "meta"] {
        write(&dir.path().join("cifar-100-python").join(file), [0x80, 2]);
    }
    says(dir.path(), &["Python pickles", "cifar-100-binary.tar.gz"]);
}

#[test]
fn idx_is_read() {
    let dir = idx();
    let dataset = open(dir.path()).unwrap();
    assert_eq!((dataset.format(), dataset.len(), dataset.size(0)), ("IDX", 9, (4, 5)));
    assert_eq!((dataset.split(Split::Train).len(), dataset.split(Split::Test)), (6, &[6, 7, 8][..]));
    assert_eq!(
        (dataset.classes(), dataset.label(3), dataset.label(6)),
        (&["0", "1", "2"].map(String::from)[..], Some(2), Some(1))
    );
    assert_eq!(dataset.read(1).unwrap(), Image::new(4, 5, 1, (20..40).collect()));
    assert_eq!(dataset.read(8).unwrap(), Image::new(4, 5, 1, (47..67).collect()));
    // Packed or not, it is the same dataset.
    let bytes = std::fs::read(dir.path().join("train-images-idx3-ubyte")).unwrap();
    std::fs::remove_file(dir.path().join("train-images-idx3-ubyte")).unwrap();
    write(&dir.path().join("train-images.idx3-ubyte.gz"), gzip(&bytes));
    assert_eq!(open(dir.path()).unwrap().digest(), dataset.digest());
    write(&dir.path().join("classes.txt"), "x\ny\nz\nnever seen\n");
    assert_eq!(open(dir.path()).unwrap().classes()[3], "never seen");
    write(&dir.path().join("classes.txt"), "x\ny\n");
    says(dir.path(), &["train-labels", "image 2: label 2 is outside 0 to 1"]);
    write(&dir.path().join("classes.txt"), "\n");
    says(dir.path(), &["classes.txt", "names no class"]);
}

#[test]
fn damaged_idx() {
    let file = |name: &str, bytes: Vec<u8>, parts: &[&str]| {
        let dir = idx();
        write(&dir.path().join(name), bytes);
        says(dir.path(), &[&[name], parts].concat());
    };
    file("train-images-idx3-ubyte", idx_file(&[6, 4, 5], &[0; 119]), &["fewer data"]);
    file("train-images-idx3-ubyte", idx_file(&[6, 4, 5], &[0; 121]), &["more data"]);
    file("train-images-idx3-ubyte", idx_file(&[u32::MAX; 3], &[0; 121]), &["fewer data"]);
    file("train-images-idx3-ubyte", idx_file(&[0, 4, 5], &[]), &["empty"]);
    file("train-images-idx3-ubyte", idx_file(&[6], &[0; 16]), &["does not begin as an IDX file of images"]);
    file("train-images-idx3-ubyte", vec![0, 0, 8], &["cut short"]);
    file("train-labels.idx1-ubyte", idx_file(&[6, 4, 5], &[0; 120]), &["does not begin as an IDX file of labels"]);
    file("train-labels.idx1-ubyte", idx_file(&[5], &[0; 5]), &["5 labels for the 6 images"]);
    file("train-labels.idx1-ubyte", idx_file(&[6], &[0, 1, 2, 2, 200, 0]), &["go up to 200", "classes.txt"]);
    file("t10k-images-idx3-ubyte.gz", gzip(&idx_file(&[3, 5, 4], &[0; 60])), &["5 x 4", "4 x 5"]);
    file("t10k-images-idx3-ubyte.gz", gzip(&idx_file(&[3, 4, 5], &[0; 61])), &["more data"]);
    file("t10k-images-idx3-ubyte.gz", gzip(&idx_file(&[u32::MAX; 3], &[0; 61])), &["fewer data"]);
    file("t10k-images-idx3-ubyte.gz", b"no gzip at all".to_vec(), &["cannot be unpacked"]);
    let cut = gzip(&idx_file(&[3, 4, 5], &[9; 60]));
    file("t10k-images-idx3-ubyte.gz", cut[..cut.len() - 12].to_vec(), &["cannot be unpacked"]);
    let dir = idx();
    std::fs::remove_file(dir.path().join("t10k-labels-idx1-ubyte.gz")).unwrap();
    says(dir.path(), &["t10k-labels-idx1-ubyte", "no such file"]);
}

/// Two classes with three images to train and one to test on.
fn folders() -> TempDir {
    let dir = temp();
    for (c, class) in ["cat", "dog"].iter().enumerate() {
        for k in 0..3 {
            write(&dir.path().join(format!("train/{class}/{k}.png")), png(&scene(20 + k, 30, 3, c)));
        }
        write(&dir.path().join(format!("val/{class}/x.JPEG")), jpeg(&scene(25, 16, 1, c)));
    }
    dir
}

#[test]
fn class_folders_are_read() {
    let dir = folders();
    write(&dir.path().join("train/cat/Thumbs.db"), "not an image");
    write(&dir.path().join("train/cat/.hidden.png"), "not an image");
    write(&dir.path().join("train/loose.png"), "in no class");
    write(&dir.path().join("extra/a/b.png"), "beside train");
    let dataset = open(dir.path()).unwrap();
    assert_eq!(
        (dataset.format(), dataset.len(), dataset.classes()),
        ("class folders", 8, &["cat", "dog"].map(String::from)[..])
    );
    assert_eq!((dataset.split(Split::Train).len(), dataset.split(Split::Test)), (6, &[6, 7][..]));
    assert_eq!(dataset.split(Split::Unlabeled), dataset.split(Split::Train));
    assert_eq!((dataset.id(1), dataset.size(1), dataset.label(1)), ("train/cat/1.png".to_owned(), (21, 30), Some(0)));
    assert_eq!((dataset.id(7), dataset.label(7)), ("val/dog/x.JPEG".to_owned(), Some(1)));
    assert_eq!(dataset.read(1).unwrap(), scene(21, 30, 3, 0));
    assert_eq!(dataset.read(6).unwrap().channels, 1);
    let notes = dataset.notes().join("\n");
    assert!(notes.contains("folder extra") && notes.contains("Thumbs.db") && notes.contains("loose.png"), "{notes}");
    assert!(!notes.contains("hidden"), "{notes}");

    write(&dir.path().join("unlabeled/any/where/u.jpg"), jpeg(&scene(9, 9, 3, 5)));
    let more = open(dir.path()).unwrap();
    assert_eq!(
        more.split(Split::Unlabeled).iter().map(|&i| more.id(i)).collect::<Vec<_>>(),
        ["unlabeled/any/where/u.jpg"]
    );
    assert_eq!(more.label(more.split(Split::Unlabeled)[0]), None);
    assert_ne!(more.digest(), dataset.digest());

    // Where it lies does not matter, what is in it does.
    let moved = temp();
    let there = moved.path().join("there");
    std::fs::rename(dir.path(), &there).unwrap();
    assert_eq!(open(&there).unwrap().digest(), more.digest());
    write(&there.join("val/cat/x.JPEG"), jpeg(&scene(25, 17, 1, 0)));
    assert_ne!(open(&there).unwrap().digest(), more.digest());
    assert!(more.read(0).is_err(), "the files are elsewhere");
}

#[test]
fn classes_without_a_split_are_divided() {
    let dir = temp();
    for class in ["a", "b", "c"] {
        for k in 0..10 {
            write(&dir.path().join(format!("{class}/{k}.png")), png(&scene(8, 8, 1, k)));
        }
    }
    write(&dir.path().join("d/only.png"), png(&scene(8, 8, 1, 0)));
    let dataset = open(dir.path()).unwrap();
    assert_eq!((dataset.split(Split::Train).len(), dataset.split(Split::Test).len()), (25, 6));
    for class in 0..3 {
        assert_eq!(dataset.split(Split::Test).iter().filter(|&&i| dataset.label(i) == Some(class)).count(), 2);
    }
    let notes = dataset.notes().join("\n");
    assert!(notes.contains("a fifth of each class (seed 0)") && notes.contains("class d"), "{notes}");
    assert_eq!(open(dir.path()).unwrap().split(Split::Test), dataset.split(Split::Test));
    let other = dataset::open(dir.path(), &DatasetOptions { seed: 1, ..Default::default() }).unwrap();
    assert_ne!(other.split(Split::Test), dataset.split(Split::Test));
    assert_ne!(other.digest(), dataset.digest());
}

/// Splits go by any of their usual names.
#[test]
fn folders_of_splits_by_other_names() {
    for (train, test) in [("Train", "Test"), ("Training", "Testing"), ("TRAIN", "Val"), ("train", "Validation")] {
        let dir = folders();
        std::fs::rename(dir.path().join("train"), dir.path().join("x")).unwrap();
        std::fs::rename(dir.path().join("x"), dir.path().join(train)).unwrap();
        std::fs::rename(dir.path().join("val"), dir.path().join(test)).unwrap();
        write(&dir.path().join("unlabelled/u.png"), png(&scene(9, 9, 3, 5)));
        let dataset = open(dir.path()).unwrap();
        assert_eq!(dataset.classes(), ["cat", "dog"], "{train}");
        let sizes = [Split::Train, Split::Test, Split::Unlabeled].map(|s| dataset.split(s).len());
        assert_eq!(sizes, [6, 2, 1], "{train}");
        assert_eq!(dataset.summary(), "class folders: 2 classes (cat, dog); 6 images to train, 2 to test, 1 unlabeled");
    }
    let dir = folders();
    write(&dir.path().join("Training/cat/x.png"), png(&scene(9, 9, 3, 5)));
    says(dir.path(), &["train", "Training", "which is it"]);
    // One folder too high.
    let high = temp();
    std::fs::rename(folders().keep(), high.path().join("set")).unwrap();
    says(high.path(), &["set: holds the folders train and val", "data.path"]);
}

/// Images of one class or of none are a dataset for training and features.
#[test]
fn images_of_one_class_or_none() {
    let image = png(&scene(9, 9, 3, 5));
    let splits = |dir: &TempDir| {
        let dataset = open(dir.path()).unwrap();
        let unlabeled = (0..dataset.len()).all(|i| dataset.label(i).is_none());
        let sizes = [Split::Train, Split::Test, Split::Unlabeled].map(|s| dataset.split(s).len());
        (dataset.classes().len(), unlabeled, sizes)
    };
    for place in ["", "unlabeled/", "Unlabelled/a/b/"] {
        let dir = temp();
        (0..10).for_each(|i| write(&dir.path().join(format!("{place}{i}.png")), &image));
        assert_eq!(splits(&dir), (0, true, [8, 2, 8]), "{place}");
    }
    let dir = temp();
    (0..10).for_each(|i| write(&dir.path().join(format!("{}/{i}.png", if i < 7 { "train" } else { "test" })), &image));
    assert_eq!(splits(&dir), (0, true, [7, 3, 7]));
    assert!(open(dir.path()).unwrap().notes().join("\n").contains("no class folders"));
    let dir = temp();
    (0..10).for_each(|i| write(&dir.path().join(format!("only/{i}.png")), &image));
    assert_eq!(splits(&dir), (1, false, [8, 2, 8]));
}

/// A long strip is small in the file, but not once its shorter side is resized.
#[test]
fn strips_are_refused_before_they_are_resized() {
    let dir = folders();
    write(&dir.path().join("train/cat/strip.png"), png(&scene(1, 50_000, 1, 0)));
    let options = DatasetOptions { short_side: 96, ..Default::default() };
    let e = dataset::open(dir.path(), &options).unwrap_err().to_string();
    for part in ["strip.png", "1 x 50000, 96 x 4800000 after resizing", "--skip-bad"] {
        assert!(e.contains(part), "{e:?} should say {part:?}");
    }
    assert_eq!(dataset::open(dir.path(), &DatasetOptions { skip_bad: true, ..options }).unwrap().len(), 8);
    let whole = open(dir.path()).unwrap();
    let e = check_sizes(&*whole, Split::Train, 8, 96).unwrap_err().to_string();
    assert!(e.contains("strip.png") && e.contains("after resizing"), "{e}");
}

#[test]
fn bad_class_folders() {
    let dir = temp();
    says(dir.path(), &["no class folders"]);
    says(&dir.path().join("absent"), &["absent", "no such folder"]);
    write(&dir.path().join("f"), "");
    says(&dir.path().join("f"), &["not a folder"]);
    let dir = folders();
    std::fs::create_dir(dir.path().join("train/empty")).unwrap();
    says(dir.path(), &["train/empty", "no JPEG, PNG or WebP"]);
    write(&dir.path().join("train/empty/now.png"), png(&scene(8, 8, 1, 0)));
    assert!(open(dir.path()).unwrap().notes().iter().any(|n| n.contains("class empty")));
    write(&dir.path().join("val/strange/x.png"), png(&scene(8, 8, 1, 0)));
    says(dir.path(), &["val/strange", "no folder in the training set"]);
    std::fs::rename(dir.path().join("train"), dir.path().join("old")).unwrap();
    says(dir.path(), &["train", "no such folder"]);
}

/// A link that would count images twice, or lead round in a circle, is an error; other links are
/// followed.
#[test]
fn links_between_folders() {
    use std::os::unix::fs::symlink;
    for (to, link, parts) in [
        ("..", "train/cat/up", ["train/cat/up", "same folder as", "dataset/train:"]),
        (".", "train/cat/again", ["train/cat/again", "same folder as", "train/cat:"]),
        ("../..", "train/dog/root", ["train/dog/root", "same folder as", "dataset: "]),
        ("../../..", "train/dog/above", ["train/dog/above", "holds", "remove the link"]),
        ("../cat", "train/dog/other", ["train/dog/other", "same folder as", "train/cat:"]),
        ("dog", "train/bird", ["train/dog", "same folder as", "train/bird:"]),
        ("..", "unlabeled/up", ["unlabeled/up", "same folder as", "dataset: "]),
        ("../..", "unlabeled/above", ["unlabeled/above", "holds", "remove the link"]),
    ] {
        let dir = folders();
        let inner = dir.path().join("dataset");
        std::fs::create_dir(&inner).unwrap();
        for part in ["train", "val"] {
            std::fs::rename(dir.path().join(part), inner.join(part)).unwrap();
        }
        write(&inner.join(link).parent().unwrap().join("more.png"), png(&scene(9, 9, 3, 0)));
        symlink(to, inner.join(link)).unwrap();
        says(&inner, &parts);
    }
    // Images kept elsewhere, far below, and the training images once more without their labels.
    let dir = folders();
    let elsewhere = temp();
    let deep = (0..40).fold(elsewhere.path().to_owned(), |path, i| path.join(i.to_string()));
    write(&deep.join("far.png"), png(&scene(9, 9, 3, 0)));
    symlink(elsewhere.path(), dir.path().join("train/bird")).unwrap();
    symlink("train", dir.path().join("unlabeled")).unwrap();
    symlink("0.png", dir.path().join("train/cat/same.png")).unwrap();
    let dataset = open(dir.path()).unwrap();
    assert_eq!((dataset.split(Split::Train).len(), dataset.split(Split::Unlabeled).len()), (8, 8));
    assert!(
        (0..dataset.len()).any(|i| dataset.id(i).starts_with("train/bird/0/1/") && dataset.id(i).ends_with("far.png"))
    );
}

/// An image that has not changed since it was decoded is not read again; a changed one is.
#[test]
fn a_second_start_reads_no_image_again() {
    let dir = folders();
    let cache = temp();
    let options = DatasetOptions { index: Some(cache.path().join("index.json")), ..Default::default() };
    let first = dataset::open(dir.path(), &options).unwrap();
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    let set_old = |path: &Path| std::fs::File::options().write(true).open(path).unwrap().set_modified(old).unwrap();
    (0..first.len()).for_each(|i| set_old(first.file(i)));
    let first = dataset::open(dir.path(), &options).unwrap();
    first.check().unwrap();

    let path = first.file(0);
    let mut bytes = std::fs::read(path).unwrap();
    let tail = bytes.len() - 24;
    bytes[tail..].fill(0);
    std::fs::write(path, &bytes).unwrap();
    set_old(path);
    let again = dataset::open(dir.path(), &options).unwrap();
    again.check().unwrap();
    let skip = dataset::open(dir.path(), &DatasetOptions { skip_bad: true, ..options.clone() }).unwrap();
    assert_eq!((again.digest(), skip.len()), (first.digest(), first.len()));
    assert!(open(dir.path()).unwrap().check().is_err(), "the damage cannot be seen");

    std::fs::write(path, &bytes).unwrap();
    let changed = dataset::open(dir.path(), &options).unwrap();
    assert!(changed.check().is_err());
}

#[test]
fn held_out_images_are_not_measured() {
    let dir = folders();
    let dataset = open(dir.path()).unwrap();
    let all = Standardize::measure(&*dataset, Color::Grayscale, &BTreeSet::new()).unwrap();
    let held_out = BTreeSet::from([dataset.split(Split::Train)[0]]);
    let rest = Standardize::measure(&*dataset, Color::Grayscale, &held_out).unwrap();
    write(dataset.file(dataset.split(Split::Train)[0]), png(&scene(20, 30, 3, 9)));
    let after = open(dir.path()).unwrap();
    assert_eq!(Standardize::measure(&*after, Color::Grayscale, &held_out).unwrap(), rest);
    assert_ne!(Standardize::measure(&*after, Color::Grayscale, &BTreeSet::new()).unwrap(), all);
}

/// All images are read before work is done: damage is found wherever it is.
#[test]
fn checking_reads_all_images() {
    let whole = png(&scene(40, 30, 3, 1));
    for name in ["train/cat/2.png", "val/dog/y.png", "unlabeled/u.png"] {
        let dir = folders();
        write(&dir.path().join(name), &whole);
        open(dir.path()).unwrap().check().unwrap();
        write(&dir.path().join(name), &whole[..whole.len() / 2]);
        let e = open(dir.path()).unwrap().check().unwrap_err().to_string();
        for part in [name, "damaged", "--skip-bad"] {
            assert!(e.contains(part), "{e:?} should say {part:?}");
        }
        write(&dir.path().join("val/dog/z.png"), &whole[..whole.len() / 2]);
        let e = open(dir.path()).unwrap().check().unwrap_err().to_string();
        for part in ["2 files are bad", name, "val/dog/z.png", "--skip-bad"] {
            assert!(e.contains(part), "{e:?} should say {part:?}");
        }
        if name.starts_with("unlabeled") {
            write(&dir.path().join("unlabeled/good.png"), &whole);
        }
        let dataset = skip_bad(dir.path());
        dataset.check().unwrap();
        assert!(dataset.notes().join("\n").contains("2 images are bad"), "{:?}", dataset.notes());
    }
    open(stl10().path()).unwrap().check().unwrap();
}

/// A bad file is one clear error that names it and the remedy, or, if wanted, left out and listed.
#[test]
fn bad_images_are_errors_or_left_out() {
    let good = jpeg(&scene(40, 30, 3, 1));
    let whole = png(&scene(40, 30, 3, 1));
    let cases: [(&str, Vec<u8>, &str, bool); 8] = [
        ("bad.jpg", b"GIF89a, no JPEG".to_vec(), "no JPEG, PNG or WebP", true),
        ("bad.jpg", Vec::new(), "empty", true),
        ("bad.jpg", good[..20].to_vec(), "damaged", true),
        ("bad.jpg", good[..good.len() / 2 + 200].to_vec(), "cut short", false),
        ("bad.png", whole[..whole.len() / 2].to_vec(), "damaged", false),
        ("bad.png", whole[..10].to_vec(), "damaged", true),
        ("bad.png", png(&scene(1, 1, 3, 0)), "1 x 1, smaller than the 8 x 8", true),
        ("bad.png", png(&scene(9, 7, 3, 0)), "9 x 7, smaller than the 8 x 8", true),
    ];
    for (name, bytes, what, at_opening) in cases {
        let dir = folders();
        write(&dir.path().join("train/dog").join(name), bytes);
        let options = DatasetOptions { min_side: 8, ..Default::default() };
        let e = match dataset::open(dir.path(), &options) {
            Err(e) => {
                assert!(at_opening, "{e}");
                e
            }
            Ok(dataset) => {
                assert!(!at_opening, "{what} was not seen");
                let i = (0..dataset.len()).find(|&i| dataset.file(i).ends_with(name)).unwrap();
                dataset.read(i).unwrap_err()
            }
        };
        assert!(matches!(&e, Error::File { path, .. } if path.ends_with(name)), "{e}");
        assert!(e.to_string().contains(what) && e.to_string().contains("--skip-bad"), "{e} should say {what}");

        let skip = DatasetOptions { skip_bad: true, ..options };
        let dataset = dataset::open(dir.path(), &skip).unwrap();
        assert_eq!(dataset.len(), 8);
        let note = dataset.notes().iter().find(|n| n.contains("1 image is bad")).unwrap();
        assert!(note.contains(&format!("train/dog/{name}")) && note.contains(what), "{note}");
    }
    // A class of bad images alone is an error even then.
    let dir = folders();
    write(&dir.path().join("train/worst/a.jpg"), "no image");
    let skip = DatasetOptions { skip_bad: true, ..Default::default() };
    assert!(dataset::open(dir.path(), &skip).unwrap_err().to_string().contains("train/worst"));
}

/// CRC-32 of PNG's chunks.
fn crc32(bytes: &[u8]) -> u32 {
    let bit = |c: u32| if c & 1 == 1 { 0xedb8_8320 ^ (c >> 1) } else { c >> 1 };
    !bytes.iter().fold(!0u32, |c, b| (0..8).fold(c ^ u32::from(*b), |c, _| bit(c)))
}

/// The EXIF segment of an orientation, put behind the first marker.
fn with_orientation(mut jpeg: Vec<u8>, orientation: u8) -> Vec<u8> {
    let mut exif = b"\xff\xe1\0\x22Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    exif.extend([orientation, 0, 0, 0, 0, 0, 0]);
    exif[3] = (exif.len() - 2) as u8;
    jpeg.splice(2..2, exif);
    jpeg
}

/// The colors of the four corners' squares, left to right and down.
fn corners(p: &Image) -> [u8; 4] {
    assert_eq!((p.height, p.width, p.channels), (16, 16, 3));
    [(4, 4), (4, 11), (11, 4), (11, 11)].map(|(y, x)| {
        let pixel = &p.pixels[(y * 16 + x) * 3..][..3];
        let on = |v: u8| v > 128;
        match (on(pixel[0]), on(pixel[1]), on(pixel[2])) {
            (true, false, false) => b'r',
            (false, true, false) => b'g',
            (false, false, true) => b'b',
            (true, true, true) => b'w',
            _ => b'?',
        }
    })
}

#[test]
fn odd_jpegs_and_pngs() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    for name in ["cmyk.jpg", "palette.png", "progressive.jpg"] {
        let image = Image::open(&fixtures.join(name)).unwrap();
        assert_eq!(corners(&image).escape_ascii().to_string(), "rgbw", "{name}");
        assert_eq!(Image::size_of(&fixtures.join(name)).unwrap(), (16, 16));
    }
    let dir = temp();
    let path = dir.path().join("x");
    let upright = std::fs::read(fixtures.join("progressive.jpg")).unwrap();
    for (orientation, want) in
        [(1, "rgbw"), (2, "grwb"), (3, "wbgr"), (4, "bwrg"), (5, "rbgw"), (6, "brwg"), (8, "gwrb")]
    {
        write(&path, with_orientation(upright.clone(), orientation));
        assert_eq!(corners(&Image::open(&path).unwrap()).escape_ascii().to_string(), want, "{orientation}");
    }
    write(&path, with_orientation(jpeg(&scene(10, 20, 3, 0)), 6));
    let image = Image::open(&path).unwrap();
    assert_eq!((image.height, image.width), (20, 10));
    assert_eq!(Image::size_of(&path).unwrap(), (20, 10));

    // ImageMagick puts the orientation of a PNG behind its pixels.
    for behind in [false, true] {
        let exif = b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
        let mut chunk = [&(exif.len() as u32).to_be_bytes()[..], b"eXIf", exif].concat();
        chunk.extend(crc32(&chunk[4..]).to_be_bytes());
        let mut turned = png(&scene(10, 20, 3, 0));
        let at = if behind { turned.len() - 12 } else { 33 };
        turned.splice(at..at, chunk);
        write(&path, turned);
        let image = Image::open(&path).unwrap();
        assert_eq!((image.height, image.width), (20, 10), "behind: {behind}");
        assert_eq!(Image::size_of(&path).unwrap(), (20, 10), "behind: {behind}");
    }

    // What is not supported is not called damaged.
    for (marker, kind) in [(0xc3, "lossless"), (0xc5, "hierarchical"), (0xc9, "arithmetic"), (0xcc, "arithmetic")] {
        let mut other = upright.clone();
        let at = other.windows(2).position(|w| w == [0xff, 0xc2]).unwrap();
        other[at + 1] = marker;
        write(&path, &other);
        for e in [Image::open(&path).unwrap_err(), Image::size_of(&path).unwrap_err()].map(|e| e.to_string()) {
            assert!(e.contains(kind) && e.contains("not supported") && !e.contains("damaged"), "{e}");
        }
    }

    // Nor is what is too large.
    for (width, height) in [(1u32 << 31, 1u32), (40_000, 40_000), (u32::MAX, u32::MAX)] {
        let mut huge = png(&scene(10, 20, 3, 0));
        huge[16..24].copy_from_slice(&[width.to_be_bytes(), height.to_be_bytes()].concat());
        let crc = crc32(&huge[12..29]);
        huge[29..33].copy_from_slice(&crc.to_be_bytes());
        write(&path, &huge);
        for e in [Image::open(&path).unwrap_err(), Image::size_of(&path).unwrap_err()].map(|e| e.to_string()) {
            let size = format!("{height} x {width} is too large: its pixels take more than 1073741824 bytes");
            assert!(e.contains(&size) && !e.contains("damaged"), "{e}");
        }
    }

    // 16 bits, transparency, and a header beyond the first 64 KiB.
    let mut bytes = Vec::new();
    let deep: Vec<u8> = [0u16, 128 * 257, 65_535, 7 * 257].iter().flat_map(|v| v.to_ne_bytes()).collect();
    PngEncoder::new(&mut bytes).write_image(&deep, 2, 2, ExtendedColorType::L16).unwrap();
    write(&path, &bytes);
    assert_eq!(Image::open(&path).unwrap(), Image::new(2, 2, 1, vec![0, 128, 255, 7]));
    bytes.clear();
    PngEncoder::new(&mut bytes).write_image(&[1, 2, 3, 0], 1, 1, ExtendedColorType::Rgba8).unwrap();
    write(&path, &bytes);
    assert_eq!(Image::open(&path).unwrap(), Image::new(1, 1, 3, vec![1, 2, 3]));
    let mut long = upright.clone();
    for _ in 0..2 {
        long.splice(2..2, [&[0xff, 0xed, 0xff, 0xff][..], &[7; 65_533]].concat());
    }
    write(&path, &long);
    assert_eq!(Image::size_of(&path).unwrap(), (16, 16));
    assert_eq!(corners(&Image::open(&path).unwrap()), *b"rgbw");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever is done to a file, it is an image or an error; cut anywhere, an error.
    #[test]
    fn damaged_images_never_panic(kind in 0usize..2, cut in any::<prop::sample::Index>(), flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6)) {
        let dir = temp();
        let path = dir.path().join("x");
        let image = scene(24, 20, 3, 3);
        let bytes = if kind == 0 { jpeg(&image) } else { png(&image) };
        write(&path, &bytes[..cut.index(bytes.len() - 12)]);
        prop_assert!(Image::open(&path).is_err());
        let mut bytes = bytes;
        for (at, x) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= x;
        }
        write(&path, &bytes);
        if let Ok(p) = Image::open(&path) {
            prop_assert_eq!(p.pixels.len(), p.height * p.width * p.channels);
        }
        let _ = Image::size_of(&path);
    }
}

#[test]
fn standardization() {
    let dir = folders();
    let dataset = open(dir.path()).unwrap();
    for color in [Color::Grayscale, Color::Rgb] {
        let std = Standardize::measure(&*dataset, color, &BTreeSet::new()).unwrap();
        let n = color.channels();
        let (mut all, mut out) = (vec![Vec::new(); n], Vec::new());
        for &i in dataset.split(Split::Unlabeled) {
            let pixels = dataset.read(i).unwrap().in_color(color).pixels;
            out.resize(pixels.len(), f32::NAN);
            std.apply(&pixels, &mut out);
            out.chunks(n).for_each(|p| (0..n).for_each(|c| all[c].push(f64::from(p[c]))));
        }
        for x in all {
            let mean = x.iter().sum::<f64>() / x.len() as f64;
            let var = x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / x.len() as f64;
            assert!(mean.abs() < 1e-5 && (var - 1.0).abs() < 1e-5, "{mean} {var}");
        }
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert_eq!(one.install(|| Standardize::measure(&*dataset, color, &BTreeSet::new()).unwrap()), std);
        assert_eq!(Standardize::given(color, std.mean(), std.std()).unwrap(), std);
    }
    assert!(Standardize::given(Color::Rgb, &[0.5], &[0.2]).is_err());
    assert!(Standardize::given(Color::Grayscale, &[0.5], &[0.0]).is_err());
    assert!(Standardize::given(Color::Grayscale, &[f64::NAN], &[1.0]).is_err());
    let flat = temp();
    write(&flat.path().join("a/0.png"), png(&Image::new(4, 4, 1, vec![9; 16])));
    let dataset = open(flat.path()).unwrap();
    assert!(
        Standardize::measure(&*dataset, Color::Grayscale, &BTreeSet::new()).unwrap_err().to_string().contains("equal")
    );
}

#[test]
fn the_embedded_corpus() {
    let dataset: Arc<dyn ImageDataset> = open(&fashion_mini()).unwrap();
    assert_eq!((dataset.classes().len(), dataset.classes()[9].as_str()), (10, "Ankle boot"));
    for (split, each) in [(Split::Train, 600), (Split::Test, 200)] {
        let mut counts = [0; 10];
        dataset.split(split).iter().for_each(|&i| counts[dataset.label(i).unwrap()] += 1);
        assert_eq!(counts, [each; 10]);
    }
    assert_eq!((dataset.size(0), dataset.read(7999).unwrap().pixels.len()), ((28, 28), 784));
    assert!(dataset.notes().is_empty());
    assert_eq!(dataset.digest(), DIGEST);
}
const DIGEST: &str = "4c88ec6236304fd8bc3a6cfc93ae82fb968fced88a90ed690d1e3fcea7ca1487";

#[test]
fn a_large_corpus() {
    let Some(root) = big("imagenette96") else { return };
    let began = std::time::Instant::now();
    let dataset = open(&root).unwrap();
    let (n, seconds) = (dataset.len(), began.elapsed().as_secs_f64());
    println!("open: {n} images in {seconds:.2} s, digest {}", dataset.digest());
    assert_eq!(
        (dataset.classes().len(), dataset.split(Split::Train).len(), dataset.split(Split::Test).len()),
        (10, 9469, 3925)
    );
    let began = std::time::Instant::now();
    for color in [Color::Grayscale, Color::Rgb] {
        let std = Standardize::measure(&*dataset, color, &BTreeSet::new()).unwrap();
        println!("{color:?}: mean {:?} std {:?} in {:.2} s", std.mean(), std.std(), began.elapsed().as_secs_f64());
    }
    let began = std::time::Instant::now();
    dataset.check().unwrap();
    println!("check: {:.2} s", began.elapsed().as_secs_f64());
    let began = std::time::Instant::now();
    let all = dataset::open(&root, &DatasetOptions { skip_bad: true, ..Default::default() }).unwrap();
    println!("open, all decoded: {:.2} s", began.elapsed().as_secs_f64());
    assert_eq!(all.digest(), dataset.digest());
}

/// WebP files hold the pixels that were encoded without loss; a cut or damaged one is refused.
#[test]
fn webp_files_are_read() {
    let dir = temp();
    let (color, gray) = (scene(30, 44, 3, 1), scene(30, 44, 1, 2));
    for (name, image) in [("c.webp", &color), ("g.webp", &gray)] {
        let kind = if image.channels == 3 { ExtendedColorType::Rgb8 } else { ExtendedColorType::L8 };
        let mut bytes = Vec::new();
        WebPEncoder::new_lossless(&mut bytes).encode(&image.pixels, 44, 30, kind).unwrap();
        let path = dir.path().join("cat").join(name);
        write(&path, &bytes);
        assert_eq!(Image::size_of(&path).unwrap(), (30, 44));
        assert_eq!(Image::open(&path).unwrap().rgb().pixels, image.clone().rgb().pixels, "{name}");
        for n in [13, 40, bytes.len() / 2, bytes.len() - 1] {
            let cut = dir.path().join("cut");
            write(&cut, &bytes[..n]);
            let e = Image::open(&cut).unwrap_err().to_string();
            assert!(e.contains("cut"), "{e}");
        }
    }
    write(&dir.path().join("dog/a.jpg"), jpeg(&gray));
    let dataset = open(dir.path()).unwrap();
    assert_eq!((dataset.len(), dataset.id(0)), (3, "cat/c.webp".to_owned()));
}

#[test]
fn a_manifest_names_files_classes_splits_and_labels() {
    let dir = temp();
    let root = dir.path();
    for n in 0..6 {
        write(&root.join(format!("files/{n}.png")), png(&scene(40, 40, 1, n)));
    }
    let rows = |rows: &str| std::fs::write(root.join("list.csv"), rows).unwrap();
    let listed = |more: DatasetOptions| {
        let options = DatasetOptions { manifest: Some(root.join("list.csv")), ..more };
        dataset::open(root, &options).map_err(|e| e.to_string())
    };
    let fails = |part: &str| {
        let e = listed(DatasetOptions::default()).unwrap_err();
        assert!(e.contains(part), "{e:?} should say {part:?}");
    };
    rows(
        "path,class,split,light\nfiles/3.png,dog,train,dim\nfiles/1.png,cat,train,\nfiles/2.png,dog,test,dim\n\
         files/0.png,,unlabeled,bright\nfiles/4.png,cat,,\n",
    );
    let corpus = listed(DatasetOptions::default()).unwrap();
    assert_eq!(corpus.classes(), ["cat", "dog"]);
    let of = |split| corpus.split(split).iter().map(|&i| (corpus.id(i), corpus.label(i))).collect::<Vec<_>>();
    assert_eq!(of(Split::Train), [("files/1.png".to_owned(), Some(0)), ("files/3.png".to_owned(), Some(1))]);
    assert_eq!(of(Split::Test), [("files/2.png".to_owned(), Some(1))]);
    assert_eq!(of(Split::Unlabeled), [("files/0.png".to_owned(), None)]);
    let light = corpus.columns().iter().next().unwrap();
    assert_eq!((light.classes.join(" ").as_str(), &light.labels[..]), ("bright dim", &[0, -1, 1, 1, -1][..]));
    assert!(corpus.notes()[0].ends_with("1 images are in no split and are not used"), "{:?}", corpus.notes());

    rows("path,class\nfiles/0.png,a\nfiles/1.png,a\nfiles/2.png,b\nfiles/3.png,b\n");
    let drawn = listed(DatasetOptions::default()).unwrap();
    assert_eq!((drawn.split(Split::Train).len(), drawn.split(Split::Test).len()), (2, 2));
    rows("path,class,split\nfiles/0.png,a,train\nfiles/1.png,b,test\n");
    fails("line 3: no image of class b is in the training set");
    rows("path\nfiles/0.png\nfiles/9.png\n");
    fails("files/9.png");
    assert_eq!(listed(DatasetOptions { skip_bad: true, ..Default::default() }).unwrap().len(), 1);
}
