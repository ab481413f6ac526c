//! Features that are read from their file in blocks give the bits of features in memory.

use std::path::Path;

use gim_core::testing::uniform;
use gim_eval::{
    Batch, Budget, ConvergedProbe, Examples, FeatureFile, FeatureWriter, GroupSpec, Head, Item, ItemOrder, Key, Knn,
    LabelSpec, Layout, PaperProbe, Per, Probe, Provenance, Purpose, Split, ViewFile, ViewWriter,
};
use ndarray::{Array2, s};

const CLASSES: usize = 5;
const SPEAKERS: usize = 3;

fn key() -> Key {
    Key::new(5, Purpose::Probe)
}

fn layout(dims: usize) -> Layout {
    let label = |task: &str, per, classes| LabelSpec { task: task.into(), per, classes, silence: None, names: vec![] };
    Layout {
        groups: vec![GroupSpec { group: "module_1".into(), name: "1".into(), dims }],
        labels: vec![label("phone", Per::Frame, CLASSES), label("speaker", Per::Item, SPEAKERS)],
        ..Layout::default()
    }
}

/// Writes utterances of 50 to 149 frames, some without label. Every fourth is a test item.
fn write(path: &Path, items: usize, dims: usize) {
    let mut writer = FeatureWriter::create(path, layout(dims), &Provenance::default()).unwrap();
    for item in 0..items {
        let rows = 50 + item * 37 % 100;
        let u = uniform(rows * dims, item as u64);
        let speaker = item % SPEAKERS;
        let phones: Vec<i32> = (0..rows).map(|i| if i % 13 == 0 { -1 } else { (i * i / 7 % CLASSES) as i32 }).collect();
        let x = Array2::from_shape_fn((rows, dims), |(i, j)| {
            let phone = f64::from(u8::from(phones[i] == (j % CLASSES) as i32));
            let voice = if j % SPEAKERS == speaker { 0.2 } else { 0.0 };
            ((u[i * dims + j] + 0.5 * u[i * dims] + 0.6 * phone + voice + 2.0) * (1 + j % 7) as f64) as f32
        });
        let split = if item % 4 == 3 { Split::Test } else { Split::Train };
        let id = format!("{item}");
        let labels: [&[i32]; 2] = [&phones, &[speaker as i32]];
        writer.append(Item { id: &id, split, features: &[x.view()], labels: &labels }).unwrap();
    }
    writer.finish().unwrap();
}

/// Utterances, dimensions and budgets: blocks of 1024 to 9216 rows, with scores on disk and in memory.
const SIZES: [(usize, usize, &[u64]); 3] =
    [(90, 24, &[0, 1_000_000]), (40, 70, &[0, 2_000_000]), (400, 6, &[0, 800_000, 3_900_000])];

fn probes() -> Vec<Probe> {
    let paper = PaperProbe { epochs: 3, ..PaperProbe::speakers() };
    vec![
        Probe::Converged(ConvergedProbe { path_rows: 1500, max_iterations: 60, ..ConvergedProbe::default() }),
        // Without a choice, correlations are of the first rows.
        Probe::Converged(ConvergedProbe { l2: vec![1e-4], path_rows: 700, tolerance: 1e-6, ..Default::default() }),
        Probe::Paper(PaperProbe { epochs: 2, ..PaperProbe::phones() }),
        Probe::Paper(PaperProbe { batch: Batch::Items(7), ..paper }),
        Probe::Paper(PaperProbe { batch: Batch::Full(6), head: Head::Mlp, ..paper }),
        Probe::Paper(PaperProbe { batch: Batch::Items(5), order: ItemOrder::File, ..paper }),
    ]
}

/// All that a fit and its evaluation give, to the last bit.
fn results(probe: &Probe, all: &Examples, share: f64, threads: usize) -> Vec<u64> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| {
        let test = all.part(Split::Test);
        let fitted = probe.fit(&all.train_with_labels(share, key()).unwrap(), key()).unwrap();
        let score = fitted.evaluate(&test, Some(0)).unwrap();
        let logits = fitted.logits(&test).unwrap();
        let narrow = fitted.weights().iter().chain(fitted.bias()).chain(&logits).map(|v| u64::from(v.to_bits()));
        let path = fitted.path().iter().flat_map(|(l2, accuracy)| [*l2, *accuracy]);
        let wide = [score.accuracy, score.macro_accuracy, score.top5, fitted.l2().unwrap_or_default()];
        let count = [fitted.iterations() as u64, u64::from(fitted.converged())];
        narrow.chain(path.chain(wide).map(f64::to_bits)).chain(count).collect()
    })
}

#[test]
fn blocks_and_threads_do_not_reach_a_probe() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("features.h5");
    for (items, dims, budgets) in SIZES {
        write(&path, items, dims);
        let open = |budget| FeatureFile::open(&path).unwrap().with_budget(budget);
        for task in ["phone", "speaker"] {
            let whole = open(Budget::UNLIMITED).examples("module_1", task).unwrap();
            assert!(whole.features().is_some());
            for (at, probe) in probes().iter().enumerate() {
                let share = if at == 2 { 0.5 } else { 1.0 };
                let want = results(probe, &whole, share, 2);
                for (bytes, threads) in budgets.iter().zip([1, 2, 3]) {
                    let streamed = open(Budget { bytes: *bytes }).examples("module_1", task).unwrap();
                    assert_eq!(streamed.features().is_none(), task == "phone" || *bytes == 0);
                    assert!(results(probe, &streamed, share, threads) == want, "{task}, {bytes} bytes, {probe:?}");
                }
            }
        }
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "what was kept on disk is gone");
}

#[test]
fn blocks_and_threads_do_not_reach_neighbors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("features.h5");
    write(&path, 60, 12);
    let open = |budget| FeatureFile::open(&path).unwrap().with_budget(budget);
    for task in ["phone", "speaker"] {
        let votes = |all: &Examples, threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let (train, test) = (all.part(Split::Train), all.part(Split::Test));
            let knn = Knn { k: 7 };
            pool.install(|| (knn.predict(&train, &test).unwrap(), knn.evaluate(&train, &test, None).unwrap()))
        };
        let want = votes(&open(Budget::UNLIMITED).examples("module_1", task).unwrap(), 2);
        for threads in [1, 3] {
            let streamed = open(Budget { bytes: 0 }).examples("module_1", task).unwrap();
            assert!(streamed.features().is_none());
            assert_eq!(votes(&streamed, threads), want, "{task}");
        }
    }
}

#[test]
fn views_are_streamed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("views.h5");
    let (train, test, views, dims) = (2500, 1200, 2, 6);
    let layout = Layout { labels: vec![layout(dims).labels.remove(1)], ..layout(dims) };
    let mut writer = ViewWriter::create(&path, layout, &Provenance::default()).unwrap();
    for (first, items, split) in [(0, train, Split::Train), (train, test, Split::Test)] {
        for view in 0..views {
            for item in first..first + items {
                let u = uniform(dims, (item * views + view) as u64);
                let x = Array2::from_shape_fn((1, dims), |(_, j)| u[j] as f32 + if j == item % 3 { 0.5 } else { 0.0 });
                let id = format!("{item}");
                let labels: [&[i32]; 1] = [&[(item % 3) as i32]];
                writer.append(view, Item { id: &id, split, features: &[x.view()], labels: &labels }).unwrap();
            }
        }
    }
    writer.finish().unwrap();
    let probe = PaperProbe { epochs: 3, ..PaperProbe::speakers() };
    let run = |budget| {
        let file = ViewFile::new(&path, FeatureFile::open(&path).unwrap().with_budget(budget)).unwrap();
        let fitted = probe.fit_views(views, 1.0, key(), |view| file.train("module_1", "speaker", view)).unwrap();
        let test = file.test("module_1", "speaker").unwrap();
        assert_eq!(test.features().is_none(), budget.bytes == 0);
        let score = fitted.evaluate(&test.part(Split::Test), None).unwrap();
        (fitted.weights().to_vec(), fitted.bias().to_vec(), score)
    };
    assert_eq!(run(Budget { bytes: 0 }), run(Budget::UNLIMITED));
}

/// Makes a value of a row no number.
fn spoil(path: &Path, row: usize) {
    let data = hdf5::File::open_rw(path).unwrap().dataset("module_1/features").unwrap();
    data.write_slice(&[f32::NAN], s![row..row + 1, 2]).unwrap();
}

/// A value that is not finite is found when it is read; in rows that no probe wants, it is not.
#[test]
fn values_that_are_not_finite_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("features.h5");
    write(&path, 40, 8);
    let first = FeatureFile::open(&path).unwrap().index().rows(3).start;
    spoil(&path, first);
    let open = || FeatureFile::open_unsealed(&path).unwrap().with_budget(Budget { bytes: 0 });
    let all = open().examples("module_1", "phone").unwrap();
    let probe = Probe::Paper(PaperProbe { epochs: 1, ..PaperProbe::phones() });
    // The row has no label: it is the first of a test item.
    let fitted = probe.fit(&all.part(Split::Train), key()).unwrap();
    assert!(fitted.evaluate(&all.part(Split::Test), None).is_ok());
    drop(all);
    spoil(&path, first + 1);
    let all = open().examples("module_1", "phone").unwrap();
    let fitted = probe.fit(&all.part(Split::Train), key()).unwrap();
    let error = fitted.evaluate(&all.part(Split::Test), None).unwrap_err().to_string();
    assert!(error.contains("not finite") && error.contains(&format!("row {}", first + 1)), "{error}");
    // Means are of all rows.
    assert!(open().examples("module_1", "speaker").unwrap_err().to_string().contains("not finite"));
}

/// The HDF5 library reads zeros past the end of a file that was cut short.
#[test]
fn a_file_that_changes_while_it_is_read_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("features.h5");
    write(&path, 90, 24);
    let all = FeatureFile::open(&path).unwrap().with_budget(Budget { bytes: 0 }).examples("module_1", "phone").unwrap();
    let train = all.part(Split::Train);
    std::fs::File::options().write(true).open(&path).unwrap().set_len(200_000).unwrap();
    for probe in probes().iter().take(3) {
        let error = probe.fit(&train, key()).unwrap_err().to_string();
        assert!(error.contains("features.h5") && error.contains("was changed"), "{error}");
    }
    std::fs::remove_file(&path).unwrap();
    let error = Knn::default().predict(&train, &train).unwrap_err().to_string();
    assert!(error.contains("features.h5"), "{error}");
}
