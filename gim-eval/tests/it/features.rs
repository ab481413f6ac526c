//! Feature files: there and back, through h5py, and damaged in every way.

use std::fs;
use std::path::Path;
use std::process::Command;

use gim_eval::{
    FeatureFile, FeatureWriter, FrameTimes, GroupSpec, Item, LabelSpec, Layout, Per, Provenance, Result, Split,
    mean_over_time,
};
use ndarray::{Array2, ArrayView2, Axis, s};

fn layout(deflate: Option<u8>) -> Layout {
    let group = |group: &str, name: &str, dims| GroupSpec { group: group.into(), name: name.into(), dims };
    Layout {
        // So wide that a chunk is 13 rows: items cross chunks.
        groups: vec![group("module_1", "1", 3), group("baseline_mfcc", "mfcc", 10_000)],
        labels: vec![
            LabelSpec { task: "phone".into(), per: Per::Frame, classes: 41, silence: Some(3), names: Vec::new() },
            LabelSpec {
                task: "speaker".into(),
                per: Per::Item,
                classes: 2,
                silence: None,
                names: vec!["ä".into(), "b".into()],
            },
        ],
        frames: Some(FrameTimes { first: 0.0125, hop: 0.01 }),
        deflate,
    }
}

fn provenance() -> Provenance {
    Provenance {
        configuration: "seed = 7\n# ü\n".into(),
        seed: 7,
        commit: "abc".into(),
        dataset_digest: "sha256:1".into(),
        trained_on: "{}".into(),
        step: Some(40),
        checkpoint: "cd".into(),
        pooling: Some(2),
        module: Some(2),
    }
}

const COUNTS: [usize; 4] = [5, 30, 1, 17];

fn features() -> (Array2<f32>, Array2<f32>) {
    let a = Array2::from_shape_fn((53, 3), |(i, j)| i as f32 + j as f32 / 4.0);
    let b = Array2::from_shape_fn((53, 10_000), |(i, j)| (i * 10_000 + j) as f32 / 1024.0);
    (a, b)
}

fn append(writer: &mut FeatureWriter, from: usize, i: usize) -> Result<()> {
    let (a, b) = features();
    let rows = s![from..from + COUNTS[i], ..];
    let phones: Vec<i32> = (from..from + COUNTS[i]).map(|r| r as i32 % 42 - 1).collect();
    let views: [ArrayView2<'_, f32>; 2] = [a.slice(rows), b.slice(rows)];
    let split = if i == 2 { Split::Test } else { Split::Train };
    let id = format!("utterance-{i}");
    writer.append(Item { id: &id, split, features: &views, labels: &[&phones, &[i as i32 % 2]] })
}

fn write(path: &Path, deflate: Option<u8>) {
    let mut writer = FeatureWriter::create(path, layout(deflate), &provenance()).unwrap();
    let mut from = 0;
    for i in 0..COUNTS.len() {
        append(&mut writer, from, i).unwrap();
        from += COUNTS[i];
    }
    assert!(!path.exists(), "no file under its name before it is complete");
    writer.finish().unwrap();
}

#[test]
fn there_and_back() {
    for deflate in [None, Some(4)] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("features.h5");
        write(&path, deflate);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary stays behind");
        let file = FeatureFile::open(&path).unwrap();
        let (a, b) = features();
        assert_eq!(file.groups().collect::<Vec<_>>(), ["baseline_mfcc", "module_1"]);
        assert_eq!(file.group_info("baseline_mfcc").unwrap(), ("mfcc", 10_000));
        assert_eq!(file.read_group("module_1").unwrap(), a);
        assert_eq!(file.read_group("baseline_mfcc").unwrap(), b);
        assert_eq!(file.read_rows("baseline_mfcc", 11..28).unwrap(), b.slice(s![11..28, ..]));
        assert_eq!(file.read_rows("module_1", 4..4).unwrap().nrows(), 0);
        let some = [3, 4, 30, 2, 2, 49];
        assert_eq!(file.select_rows("module_1", &some).unwrap(), a.select(Axis(0), &some));
        assert!(file.select_rows("module_1", &[3, 1 << 40]).unwrap_err().to_string().contains("no row"));
        assert_eq!(file.items()[3], "utterance-3");
        assert_eq!(file.split(), [Split::Train, Split::Train, Split::Test, Split::Train]);
        assert_eq!(file.tasks().collect::<Vec<_>>(), ["phone", "speaker"]);
        assert_eq!(file.labels("speaker").unwrap().values, [0, 1, 0, 1]);
        assert_eq!(file.labels("phone").unwrap().values[42], -1);
        assert_eq!(["phone", "speaker"].map(|l| file.labels(l).unwrap().silence), [Some(3), None]);
        assert_eq!(file.provenance(), &provenance());
        assert_eq!(file.read_means("module_1").unwrap(), mean_over_time(a.view(), file.index()));

        let phones = file.examples("module_1", "phone").unwrap();
        assert_eq!((phones.part(Split::Train).n_items(), phones.part(Split::Test).n_rows()), (3, 1));
        let speakers = file.examples("module_1", "speaker").unwrap();
        assert_eq!(speakers.features().unwrap(), file.read_means("module_1").unwrap());

        for wrong in [
            file.read_group("module_9").unwrap_err(),
            file.labels("color").unwrap_err(),
            file.read_rows("module_1", 50..54).unwrap_err(),
        ] {
            assert!(wrong.to_string().contains("features.h5"), "{wrong}");
        }
    }
}

/// A file does not show that an item came in parts; others wait until it is complete.
#[test]
fn an_item_in_parts() {
    let folder = tempfile::tempdir().unwrap();
    let [whole, parts] = ["whole.h5", "parts.h5"].map(|name| folder.path().join(name));
    write(&whole, None);
    let mut writer = FeatureWriter::create(&parts, layout(None), &provenance()).unwrap();
    let (a, b) = features();
    let phones: Vec<i32> = FeatureFile::open(&whole).unwrap().labels("phone").unwrap().values.clone();
    let mut from = 0;
    for (i, count) in COUNTS.into_iter().enumerate() {
        let id = format!("utterance-{i}");
        let split = if i == 2 { Split::Test } else { Split::Train };
        for rows in [from..from + count / 3, from + count / 3..from + count] {
            if rows.is_empty() {
                continue;
            }
            let views = [a.slice(s![rows.clone(), ..]), b.slice(s![rows.clone(), ..])];
            let last = rows.end == from + count;
            // Labels of items count in the last part.
            let speaker = if last { i as i32 % 2 } else { -1 };
            let item = Item { id: &id, split, features: &views, labels: &[&phones[rows], &[speaker]] };
            if last { writer.append(item) } else { writer.append_part(item) }.unwrap();
            if !last {
                let other = writer.append(Item { id: "another", ..item }).unwrap_err().to_string();
                assert!(other.contains(&id) && other.contains("has begun"), "{other}");
            }
        }
        from += count;
    }
    writer.finish().unwrap();
    let [whole, parts] = [whole, parts].map(|path| FeatureFile::open(path).unwrap());
    assert_eq!((whole.items(), whole.index(), whole.split()), (parts.items(), parts.index(), parts.split()));
    for task in ["phone", "speaker"] {
        assert_eq!(whole.labels(task).unwrap(), parts.labels(task).unwrap());
    }
    for group in ["baseline_mfcc", "module_1"] {
        assert_eq!(whole.read_group(group).unwrap(), parts.read_group(group).unwrap());
    }

    let mut writer = FeatureWriter::create(folder.path().join("cut.h5"), layout(None), &provenance()).unwrap();
    let views = [a.slice(s![..2, ..]), b.slice(s![..2, ..])];
    let (id, split) = ("long", Split::Train);
    writer.append_part(Item { id, split, features: &views, labels: &[&phones[..2], &[0]] }).unwrap();
    assert!(writer.finish().unwrap_err().to_string().contains("no items"));
}

#[test]
fn one_row_an_item() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("images.h5");
    let groups = vec![GroupSpec { group: "module_1".into(), name: "1".into(), dims: 64 }];
    let labels =
        vec![LabelSpec { task: "class".into(), per: Per::Item, classes: 10, silence: None, names: Vec::new() }];
    let mut writer =
        FeatureWriter::create(&path, Layout { groups, labels, frames: None, deflate: None }, &provenance()).unwrap();
    let x = Array2::from_shape_fn((5000, 64), |(i, j)| (i * 64 + j) as f32);
    for i in 0..5000 {
        let id = format!("{i}");
        let features = [x.slice(s![i..=i, ..])];
        writer.append(Item { id: &id, split: Split::Train, features: &features, labels: &[&[i % 10]] }).unwrap();
    }
    assert_eq!(writer.n_items(), 5000);
    writer.finish().unwrap();
    let file = FeatureFile::open(&path).unwrap();
    assert_eq!(file.examples("module_1", "class").unwrap().features().unwrap(), x);
}

#[test]
fn an_unfinished_file_vanishes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("features.h5");
    fs::write(&path, "the file of before").unwrap();
    let mut writer = FeatureWriter::create(&path, layout(None), &provenance()).unwrap();
    append(&mut writer, 0, 0).unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    drop(writer);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    assert_eq!(fs::read_to_string(&path).unwrap(), "the file of before");
    let empty = FeatureWriter::create(&path, layout(None), &provenance()).unwrap();
    assert!(empty.finish().unwrap_err().to_string().contains("no items"));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn bad_items_and_layouts_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("features.h5");
    let mut writer = FeatureWriter::create(&path, layout(None), &provenance()).unwrap();
    append(&mut writer, 0, 0).unwrap();
    let (a, b) = (Array2::<f32>::zeros((2, 3)), Array2::<f32>::zeros((2, 10_000)));
    let mut nan = a.clone();
    nan[(1, 2)] = f32::INFINITY;
    let mut refused = |id: &str, features: &[ArrayView2<'_, f32>], labels: &[&[i32]], cause: &str| {
        let error = writer.append(Item { id, split: Split::Test, features, labels }).unwrap_err().to_string();
        assert!(error.contains("features.h5") && error.contains(cause), "{error}");
    };
    let good = [a.view(), b.view()];
    refused("x", &[nan.view(), b.view()], &[&[0, 0], &[0]], "group module_1, row 1");
    refused("x", &[a.view(), b.slice(s![..1, ..])], &[&[0, 0], &[0]], "(1, 10000)");
    refused("x", &[b.view(), b.view()], &[&[0, 0], &[0]], "(2, 10000)");
    refused("x", &good[..1], &[&[0, 0], &[0]], "1 groups");
    refused("x", &good, &[&[0, 0, 0], &[0]], "3 labels phone");
    refused("x", &good, &[&[0, 41], &[0]], "labels phone");
    refused("x", &good, &[&[0, 0], &[-2]], "labels speaker");
    refused("utterance-0", &good, &[&[0, 0], &[0]], "twice");
    refused("a\0b", &good, &[&[0, 0], &[0]], "append");
    writer.append(Item { id: "x", split: Split::Test, features: &good, labels: &[&[0, 0], &[0]] }).unwrap();
    writer.finish().unwrap();
    assert_eq!(FeatureFile::open(&path).unwrap().index().n_rows(), 7);

    for name in ["", "a/b", "labels", "module_1"] {
        let mut layout = layout(None);
        layout.groups[1].group = name.into();
        assert!(FeatureWriter::create(&path, layout, &provenance()).is_err(), "{name}");
    }
    let missing = folder.path().join("no/such/folder.h5");
    let error = FeatureWriter::create(missing, layout(None), &provenance()).unwrap_err().to_string();
    assert!(error.contains("no/such"), "{error}");
}

#[test]
fn damaged_files_are_errors_that_name_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("features.h5");
    let mut layout = layout(None);
    layout.groups.truncate(1);
    let mut writer = FeatureWriter::create(&path, layout, &provenance()).unwrap();
    let x = features().0;
    writer.append(Item { id: "x", split: Split::Train, features: &[x.view()], labels: &[&[1; 53], &[0]] }).unwrap();
    writer.finish().unwrap();
    let good = fs::read(&path).unwrap();
    let bad = folder.path().join("damaged.h5");
    let refused = |bytes: &[u8], what: &str| {
        fs::write(&bad, bytes).unwrap();
        let error = FeatureFile::open(&bad).unwrap_err().to_string();
        assert!(error.contains("damaged.h5"), "{what}: {error}");
    };
    for len in (0..good.len()).step_by(97).chain(0..20).chain(good.len() - 20..good.len()) {
        refused(&good[..len], &format!("cut to {len}"));
    }
    for at in (0..good.len()).step_by(41).chain(0..HEAD_TEXT) {
        let mut bytes = good.clone();
        bytes[at] ^= 1 << (at % 8);
        refused(&bytes, &format!("bit of byte {at}"));
    }
    let mut longer = good.clone();
    longer.push(0);
    refused(&longer, "longer");
    // An HDF5 file of another program.
    refused(&good[512..], "without head");
    assert!(FeatureFile::open(folder.path().join("none.h5")).unwrap_err().to_string().contains("none.h5"));
    assert!(FeatureFile::open(folder.path()).is_err());
}
const HEAD_TEXT: usize = 48;

/// Files with a valid checksum and inconsistent content, as another writer might make them.
#[test]
fn inconsistent_files_are_errors_that_name_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("odd.h5");
    type Change = fn(&hdf5::File) -> hdf5::Result<()>;
    let changes: [(&str, Change); 9] = [
        ("format version 9", |f| f.attr("format_version")?.write_scalar(&9u32)),
        ("cannot read", |f| f.unlink("items")),
        ("cannot read", |f| f.unlink("module_1/features")),
        ("begins at row", |f| f.dataset("index")?.write(&ndarray::array![[0u64, 5], [6, 30], [35, 1], [36, 17]])),
        ("not f32 of", |f| {
            f.dataset("index")?
                .write(&ndarray::array![[0u64, 5], [5, 30], [35, 1], [36, 16]])
                .and_then(|()| f.unlink("labels/phone"))
        }),
        ("split entries", |f| f.dataset("splits/test")?.write(&ndarray::array![0u8, 0, 7, 0])),
        ("labels speaker", |f| f.dataset("labels/speaker")?.write(&ndarray::array![0i32, 1, 2, 0])),
        ("labels phone", |f| {
            f.unlink("labels/phone")?;
            let data = f.group("labels")?.new_dataset_builder().with_data(&[0i32; 5]).create("phone")?;
            let per: hdf5::types::VarLenUnicode = "frame".parse().unwrap();
            data.new_attr::<hdf5::types::VarLenUnicode>().create("per")?.write_scalar(&per)?;
            data.new_attr::<u64>().create("classes")?.write_scalar(&41u64)
        }),
        ("row 2 is not finite", |f| f.dataset("module_1/features")?.write_slice(&[f32::NAN], s![2..3, 1])),
    ];
    for (cause, change) in changes {
        let _ = fs::remove_file(&path);
        write(&path, None);
        let file = hdf5::File::open_rw(&path).unwrap();
        change(&file).unwrap();
        file.flush().unwrap();
        file.close().unwrap();
        reseal(&path);
        let error = FeatureFile::open(&path).and_then(|f| f.read_group("module_1").map(drop)).unwrap_err().to_string();
        assert!(error.contains("odd.h5") && error.contains(cause), "{cause}: {error}");
    }
}

/// Files of version 1 do not say which class is silence: class 0 of the phones is.
#[test]
fn silence_of_version_1() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("old.h5");
    write(&path, None);
    let file = hdf5::File::open_rw(&path).unwrap();
    file.attr("format_version").unwrap().write_scalar(&1u32).unwrap();
    file.dataset("labels/phone").unwrap().delete_attr("silence").unwrap();
    file.close().unwrap();
    reseal(&path);
    let file = FeatureFile::open(&path).unwrap();
    assert_eq!(["phone", "speaker"].map(|l| file.labels(l).unwrap().silence), [Some(0), None]);
}

fn reseal(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[512..]);
    let text = format!("gim features 1\nbytes {}\ncrc32 {:08x}\n", bytes.len() - 512, hasher.finalize());
    bytes[..512].fill(0);
    bytes[..text.len()].copy_from_slice(text.as_bytes());
    fs::write(path, bytes).unwrap();
}

/// h5py reads the file. Skipped without a Python that has h5py; `GIM_PYTHON` names an interpreter.
#[test]
fn h5py_reads_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("features.h5");
    write(&path, Some(1));
    let python = std::env::var("GIM_PYTHON").unwrap_or_else(|_| "python3".into());
    let has = Command::new(&python).args(["-c", "import h5py, numpy"]).output();
    if !has.is_ok_and(|o| o.status.success()) {
        eprintln!("skipped: {python} has no h5py");
        return;
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/read_with_h5py.py");
    let output = Command::new(&python).arg(script).arg(&path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
