//! Features of files that belong to no dataset.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use gim_eval::{FeatureFile, mean_over_time};
use ndarray::{Array2, Axis};
use safetensors::{Dtype, SafeTensors};

use crate::common::{aloud, fails, folders, gim, ok, parity};
use crate::inputs;

/// A run on speech, and its corpus.
fn speech_run(d: &Path) {
    inputs::speech(&d.join("corpus"), "0 SIL\n1 AA\n", [0, 1]);
    ok(d, &inputs::train("run", "data.path=corpus", &[]));
}

/// A run on images of 20 × 20 pixels, and its dataset.
fn image_run(d: &Path) {
    folders(&d.join("corpus"), false);
    let settings = [
        "data.path=corpus",
        "data.crop=20",
        "loss.prediction_steps=2",
        "network.widths=[4,8]",
        "network.blocks=[1,2]",
        "train.batch=8",
        "train.steps=2",
        "train.log_every=2",
        "train.checkpoint_every=2",
    ];
    let set = settings.iter().flat_map(|s| ["--set", *s]);
    ok(d, &["train", "vision-quick", "--out", "run"].into_iter().chain(set).collect::<Vec<_>>());
}

/// Features of an item in every module.
fn of_item(file: &FeatureFile, id: &str) -> Vec<Array2<f32>> {
    let i = file.items().iter().position(|known| known == id).unwrap_or_else(|| panic!("no {id}: {:?}", file.items()));
    let modules: Vec<&str> = file.groups().filter(|g| g.starts_with("module_")).collect();
    modules.into_iter().map(|m| file.read_rows(m, file.index().rows(i)).unwrap()).collect()
}

fn bits(features: &[Array2<f32>]) -> Vec<(usize, Vec<u32>)> {
    features.iter().map(|x| (x.ncols(), x.iter().map(|v| v.to_bits()).collect())).collect()
}

/// All files below a folder, with their content.
fn content(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(content(&path));
        } else {
            all.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    all
}

/// Runs the program on a file as its standard input.
fn piped(mut command: Command, file: &Path) -> String {
    let out = command.stdin(Stdio::from(File::open(file).unwrap())).output().unwrap();
    let text = String::from_utf8(out.stderr).unwrap();
    if out.status.success() { String::new() } else { text }
}

#[test]
fn audio_files_have_the_bits_of_the_corpus() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    speech_run(d);
    ok(d, &["extract", "run", "--out", "corpus.h5"]);
    let before = content(&d.join("run"));
    // Labels and splits are not needed.
    fs::create_dir_all(d.join("new/deep")).unwrap();
    for (from, to) in [("anna-1", "new/deep/b.wav"), ("ben-0", "new/a.WAV")] {
        fs::copy(d.join(format!("corpus/x/{from}.wav")), d.join(to)).unwrap();
    }
    fs::write(d.join("new/readme.txt"), "not audio").unwrap();
    fs::rename(d.join("corpus"), d.join("away")).unwrap();
    ok(d, &["extract", "run", "--input", "new", "--out", "new.h5"]);
    let (corpus, new) = ["corpus.h5", "new.h5"].map(|name| FeatureFile::open(d.join(name)).unwrap()).into();
    assert_eq!(new.items(), ["a.WAV", "deep/b.wav"]);
    assert_eq!((new.tasks().count(), new.frames()), (0, corpus.frames()));
    for (theirs, ours) in [("anna-1", "deep/b.wav"), ("ben-0", "a.WAV")] {
        assert_eq!(bits(&of_item(&corpus, theirs)), bits(&of_item(&new, ours)), "{ours}");
    }

    // Named files, and one from standard input.
    ok(d, &["extract", "run", "--input", "./new/a.WAV", "new/deep", "--level", "utterance", "--out", "means.h5"]);
    let means = FeatureFile::open(d.join("means.h5")).unwrap();
    assert_eq!((means.items(), means.frames()), (&["new/a.WAV".to_owned(), "new/deep/b.wav".to_owned()][..], None));
    for module in ["module_1", "module_2"] {
        let frames = new.read_group(module).unwrap();
        assert_eq!(means.read_group(module).unwrap(), mean_over_time(frames.view(), new.index()));
    }
    let one = piped(gim(d, &["extract", "run", "-i", "-", "-o", "one.h5"]), &d.join("new/a.WAV"));
    let file = FeatureFile::open(d.join("one.h5")).unwrap();
    assert_eq!((one, bits(&of_item(&file, "-"))), (String::new(), bits(&of_item(&new, "a.WAV"))));
    assert!(content(&d.join("run")) == before, "the run has changed");
}

#[test]
fn images_have_the_bits_of_the_dataset() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    image_run(d);
    ok(d, &["extract", "run", "--out", "corpus.h5"]);
    let before = content(&d.join("run"));
    ok(d, &["extract", "run", "--input", "corpus/val/dark", "--out", "new.h5"]);
    ok(d, &["extract", "run", "--input", "corpus/val", "--level", "patch", "--out", "patches.h5"]);
    let open = |name| FeatureFile::open(d.join(name)).unwrap();
    let (corpus, new, patches) = (open("corpus.h5"), open("new.h5"), open("patches.h5"));
    assert_eq!((new.items().len(), patches.items().len(), new.index().n_rows()), (20, 40, 20));
    for id in ["03.png", "17.png"] {
        let ours = of_item(&new, id);
        assert_eq!(bits(&of_item(&corpus, &format!("val/dark/{id}"))), bits(&ours), "{id}");
        let patches = of_item(&patches, &format!("dark/{id}"));
        assert!(patches.iter().all(|p| p.nrows() > 1));
        let means: Vec<_> = patches.iter().map(|p| p.mean_axis(Axis(0)).unwrap().insert_axis(Axis(0))).collect();
        assert_eq!(bits(&means), bits(&ours), "{id}");
    }
    let one = piped(gim(d, &["extract", "run", "-i", "-", "-o", "one.h5"]), &d.join("corpus/val/dark/03.png"));
    assert_eq!((one, bits(&of_item(&open("one.h5"), "-"))), (String::new(), bits(&of_item(&new, "03.png"))));
    assert!(content(&d.join("run")) == before, "the run has changed");
}

/// NumPy's archive and safetensors hold the arrays of the HDF5 file, of files and of datasets.
#[test]
fn formats_hold_the_same_values() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    speech_run(d);
    for (name, of) in [("files", &["--input", "corpus/x"][..]), ("all", &[])] {
        let [h5, npz, tensors] = ["h5", "npz", "safetensors"].map(|kind| {
            let out = format!("{name}.{kind}");
            ok(d, &[&["extract", "run", "--format", kind, "--out", &out], of].concat());
            d.join(out)
        });
        let file = FeatureFile::open(h5).unwrap();
        let mut npz = zip::ZipArchive::new(File::open(npz).unwrap()).unwrap();
        let mut member = |name: &str| {
            let mut bytes = Vec::new();
            npz.by_name(name).unwrap().read_to_end(&mut bytes).unwrap();
            bytes
        };
        let bytes = fs::read(tensors).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        for group in file.groups() {
            let x = file.read_group(group).unwrap();
            let npy = member(&format!("{group}.npy"));
            let npy = npyz::NpyFile::new(&npy[..]).unwrap();
            assert_eq!(npy.shape(), [x.nrows() as u64, x.ncols() as u64]);
            assert_eq!(npy.into_vec::<f32>().unwrap(), x.iter().copied().collect::<Vec<_>>(), "{group}");
            let tensor = tensors.tensor(group).unwrap();
            assert_eq!((tensor.dtype(), tensor.shape()), (Dtype::F32, x.shape()));
            assert_eq!(tensor.data(), x.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>(), "{group}");
        }
        let index: Vec<u64> = file.index().iter().flat_map(|r| [r.start as u64, r.len() as u64]).collect();
        assert_eq!(npyz::NpyFile::new(&member("index.npy")[..]).unwrap().into_vec::<u64>().unwrap(), index);
        let items = npyz::NpyFile::new(&member("items.npy")[..]).unwrap().into_vec::<String>().unwrap();
        assert_eq!(items, file.items());
        for task in file.tasks() {
            let labels = member(&format!("labels_{task}.npy"));
            let labels = npyz::NpyFile::new(&labels[..]).unwrap();
            assert_eq!(labels.into_vec::<i32>().unwrap(), file.labels(task).unwrap().values);
        }
        let head = SafeTensors::read_metadata(&bytes).unwrap().1;
        let said = head.metadata().as_ref().unwrap();
        assert_eq!(serde_json::from_str::<Vec<String>>(&said["items"]).unwrap(), items);
        let attributes: serde_json::Value = serde_json::from_slice(&member("gim.json")).unwrap();
        assert_eq!(attributes["trained_on"], said["trained_on"].as_str());
        assert_eq!(attributes["hop_seconds"], "0.01");
    }
    // Nothing unfinished is left beside them.
    let names = fs::read_dir(d).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.filter(|n| n.starts_with('.') || n.contains("tmp")).count(), 0);
}

#[test]
fn bad_files_are_listed_and_can_be_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    speech_run(d);
    let good = fs::read(d.join("corpus/x/anna-0.wav")).unwrap();
    fs::create_dir(d.join("new")).unwrap();
    fs::write(d.join("new/a.wav"), &good).unwrap();
    fs::write(d.join("new/broken.flac"), "not audio").unwrap();
    fs::write(d.join("new/empty.wav"), "").unwrap();
    let text = fails(d, &["extract", "run", "--input", "new", "--out", "x.h5"]);
    assert!(text.contains("broken.flac") && text.contains("empty.wav") && text.contains("--skip-bad"), "{text}");
    assert!(!d.join("x.h5").exists());
    fs::write(d.join("new/short.wav"), &good[..44 + 2 * 100]).unwrap();
    ok(d, &["extract", "run", "--input", "new", "--out", "x.h5", "--skip-bad"]);
    assert_eq!(FeatureFile::open(d.join("x.h5")).unwrap().items(), ["a.wav"]);
    let text = fails(d, &["extract", "run", "--input", "new", "--out", "z.h5"]);
    assert!(text.contains("broken.flac") && text.contains("too short for features: new/short.wav"), "{text}");
    let out = gim(d, &["extract", "run", "--input", "new", "--out", "y.npz"]);
    assert!(piped(out, Path::new("/dev/null")).contains("broken.flac") && !d.join("y.npz").exists());

    // A sample that no recording has would spoil all others.
    let mut loud = good.clone();
    loud[20] = 3;
    loud[32] = 4;
    loud[34] = 32;
    loud[44..].fill(0);
    loud[44..48].copy_from_slice(&1e30f32.to_le_bytes());
    fs::create_dir(d.join("loud")).unwrap();
    fs::write(d.join("loud/a.wav"), loud).unwrap();
    let text = fails(d, &["extract", "run", "--input", "loud", "--out", "z.h5"]);
    assert!(text.contains("loud/a.wav: sample 0 is 1e30"), "{text}");

    // Too short, twice, not there, of the other domain, nothing to read.
    for (input, level, says) in [
        (&["new/short.wav"][..], "frame", "too short"),
        (&["new/a.wav", "new/a.wav"], "frame", "twice"),
        (&["new/none.wav"], "frame", "none.wav: cannot read"),
        (&["new/a.wav"], "patch", "--level: the run is of audio"),
        (&["run/checkpoints"], "frame", "nothing in it"),
        (&["-", "new/a.wav"], "frame", "standard input"),
    ] {
        let args = [&["extract", "run", "--out", "z.h5", "--level", level, "--input"], input].concat();
        let text = fails(d, &args);
        assert!(text.contains(says), "{text}");
    }
    for (file, says) in
        [("new/broken.flac", "standard input: is no FLAC, WAV, MP3 or OGG"), ("new/empty.wav", "is empty")]
    {
        let text = piped(gim(d, &["extract", "run", "--input", "-", "--out", "z.h5"]), &d.join(file));
        assert!(text.contains(says), "{text}");
    }
    assert!(!d.join("z.h5").exists());
}

/// Nothing that is there is lost to an output of the same name.
#[test]
fn outputs_spare_inputs_and_runs() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    speech_run(d);
    let input = d.join("mine.wav");
    fs::copy(d.join("corpus/x/anna-0.wav"), &input).unwrap();
    let before = content(d);
    std::os::unix::fs::symlink(&input, d.join("link.h5")).unwrap();
    let weights = "run/checkpoints/step-00000002/module_1.safetensors";
    for (args, says) in [
        (
            &["extract", "run", "--input", "mine.wav", "--out", "mine.wav", "--format", "h5"][..],
            "is the input mine.wav",
        ),
        (&["extract", "run", "--input", "mine.wav", "--out", "link.h5"], "is the input mine.wav"),
        (&["extract", "run", "--input", "mine.wav", "--out", "run/config.toml", "--format", "npz"], "file of the run"),
        (&["extract", "run", "--out", weights], "file of the run"),
        (&["export", "run", "--to", "safetensors", "--out", weights], "file of the run"),
        (&["export", "run", "--to", "torch", "--out", "/dev/null"], "is no regular file"),
        (&["extract", "run", "--input", "mine.wav", "--out", "x.npy"], ".h5, .npz or .safetensors"),
    ] {
        let text = fails(d, args);
        assert!(text.contains(says), "{text}");
    }
    fs::remove_file(d.join("link.h5")).unwrap();
    assert_eq!(content(d), before);
    // A pipe would be waited for without end.
    assert!(Command::new("mkfifo").arg(d.join("corpus/x/pipe.flac")).status().unwrap().success());
    ok(d, &["extract", "run", "--input", "corpus", "--out", "x.h5"]);
    let text = fails(d, &["extract", "run", "--input", "corpus/x/pipe.flac", "--out", "y.h5"]);
    assert!(text.contains("is a pipe or a device"), "{text}");
    let text = fails(d, &["probe", "mine.wav", "--task", "speakers"]);
    assert!(text.contains("it is no HDF5 file"), "{text}");
}

/// What was understood is said, unless quiet.
#[test]
fn what_was_understood_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    speech_run(d);
    fs::write(d.join("corpus/x/notes.txt"), "no audio").unwrap();
    let out = aloud(d, &["extract", "run", "--input", "corpus/x", "--out", "x.npz"]).output().unwrap();
    let text = String::from_utf8(out.stderr).unwrap();
    assert!(text.contains("read: 6 utterances (3.0 s)"), "{text}");
    assert!(text.contains("1 file is of another kind and left out: corpus/x/notes.txt"), "{text}");
    assert!(text.contains("written to x.npz") && !text.contains(".gim-features"), "{text}");
    assert!(text.contains("a row per frame (10 ms)") && text.contains("features: 6 modules of 8, 8"), "{text}");
}

/// scikit-learn gives the accuracy of the probe, to 0.2 points, from the feature file. h5py, pandas and PyTorch read the files.
#[test]
fn python_reads_the_files_and_scikit_learn_gives_the_same_accuracy() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    speech_run(d);
    for (task, labels) in [("phones", "phone"), ("speakers", "speaker")] {
        ok(d, &["probe", "run", "--task", task, "--module", "1", "--protocol", "converged"]);
        let rows = fs::read_to_string(d.join("run/probe.csv")).unwrap();
        let rows: Vec<BTreeMap<String, String>> =
            csv::Reader::from_reader(rows.as_bytes()).deserialize().collect::<Result<_, _>>().unwrap();
        let row = rows.iter().find(|r| r["task"] == task && r["group"] == "trained").unwrap();
        let args = ["run/features.h5", "--group", "module_1", "--task", labels, "--l2", &row["l2"]];
        let Some(text) = parity(d, "probe_features.py", &args, &["h5py", "sklearn"]) else { continue };
        let theirs: f64 = text.trim().parse().unwrap_or_else(|e| panic!("{e}: {text}"));
        let ours: f64 = row["accuracy"].parse().unwrap();
        assert!((theirs - ours).abs() <= 0.002, "{task}: {theirs}, not {ours}");
    }
    if let Some(text) = parity(d, "read_h5py.py", &["run/features.h5"], &["h5py"]) {
        assert!(text.contains("module_1: ") && text.contains("phone: ") && text.contains("per frame"), "{text}");
    }
    if let Some(text) = parity(d, "read_pandas.py", &["run"], &["pandas"]) {
        assert!(text.contains("phones") && text.contains("converged") && text.contains("run"), "{text}");
    }
    if let Some(text) = parity(d, "read_torch.py", &["run/features.h5", "module_1", "phone"], &["h5py", "torch"]) {
        assert!((0.0..=1.0).contains(&text.trim().parse::<f64>().unwrap()), "{text}");
    }
}
