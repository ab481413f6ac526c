//! Files of views, and the paper's probe on them.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use gim_eval::{
    Examples, FeatureFile, GroupSpec, Head, Item, ItemIndex, Key, LabelSpec, Layout, PaperProbe, Per, Probe,
    Provenance, Purpose, Split, ViewFile, ViewWriter,
};
use ndarray::Array2;

const CLASSES: usize = 3;

fn class(item: usize) -> i32 {
    (item % CLASSES) as i32
}

/// Two dimensions in which the classes lie at the corners of a triangle, and noise that differs by view.
fn row(item: usize, view: usize) -> Array2<f32> {
    // No sines: the compiler may round those of constants differently.
    let [x, y] = [[1.0, 0.0], [-0.5, 0.75], [-0.5, -0.75]][class(item) as usize];
    let noise = ((item * 13 + view * 7) % 17) as f32 / 8.0 - 1.0;
    Array2::from_shape_fn((1, 3), |(_, d)| [x, y, noise][d])
}

/// `views` views of 60 training items, then `test_views` of 30 test items.
fn written(folder: &Path, views: usize, test_views: usize) -> PathBuf {
    let path = folder.join("views.h5");
    let groups = vec![GroupSpec { group: "module_1".into(), name: "1".into(), dims: 3 }];
    let labels =
        vec![LabelSpec { task: "speaker".into(), per: Per::Item, classes: CLASSES, names: Vec::new(), silence: None }];
    let layout = Layout { groups, labels, frames: None, deflate: None };
    let mut writer = ViewWriter::create(&path, layout, &Provenance { seed: 1, ..Provenance::default() }).unwrap();
    let parts = [(Split::Train, 0..60, views), (Split::Test, 60..90, test_views)];
    for (split, items, views) in parts {
        for view in 0..views {
            for i in items.clone() {
                let (id, x, label) = (format!("item-{i}"), row(i, view), [class(i)]);
                let item = Item { id: &id, split, features: &[x.view()], labels: &[&label] };
                writer.append(view, item).unwrap();
            }
        }
    }
    writer.finish().unwrap();
    path
}

fn key() -> Key {
    Key::new(1, Purpose::Probe)
}

#[test]
fn a_file_gives_back_its_views() {
    let folder = tempfile::tempdir().unwrap();
    let file = ViewFile::open(written(folder.path(), 4, 2)).unwrap();
    assert_eq!((file.views(), file.test_views(), file.test_items()), (4, 2, 30));
    for view in 0..4 {
        let train = file.train("module_1", "speaker", view).unwrap();
        assert_eq!(train.features().unwrap().row(7), row(7, view).row(0));
        assert_eq!(train.part(Split::Train).n_rows(), 60);
    }
    let test = file.test("module_1", "speaker").unwrap();
    assert_eq!(test.part(Split::Test).n_rows(), 60);
    assert_eq!(test.features().unwrap().row(31), row(61, 1).row(0));
    assert!(file.train("module_1", "speaker", 4).unwrap_err().to_string().contains("no view 4"));
    assert!(file.train("module_9", "speaker", 0).is_err());
}

#[test]
fn whole_items_are_no_views() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("features.h5");
    let groups = vec![GroupSpec { group: "module_1".into(), name: "1".into(), dims: 3 }];
    let layout = Layout { groups, labels: Vec::new(), frames: None, deflate: None };
    let mut writer = gim_eval::FeatureWriter::create(&path, layout, &Provenance::default()).unwrap();
    let x = row(0, 0);
    writer.append(Item { id: "a", split: Split::Train, features: &[x.view()], labels: &[] }).unwrap();
    writer.finish().unwrap();
    assert!(FeatureFile::open(&path).is_ok());
    assert!(ViewFile::open(&path).unwrap_err().to_string().contains("not views"));
}

/// Epoch e sees view e mod V, and both heads tell separable classes apart.
#[test]
fn the_papers_probe_takes_turns_with_the_views() {
    let folder = tempfile::tempdir().unwrap();
    let file = ViewFile::open(written(folder.path(), 3, 2)).unwrap();
    for head in Head::ALL {
        let probe = PaperProbe { head, lr: 1e-2, ..PaperProbe::speakers() };
        let seen = RefCell::new(Vec::new());
        let view = |v| {
            seen.borrow_mut().push(v);
            file.train("module_1", "speaker", v)
        };
        let fitted = probe.fit_views(file.views(), 1.0, key(), view).unwrap();
        assert_eq!(seen.into_inner(), (0..50).map(|e| e % 3).collect::<Vec<_>>());
        // 60 items are fewer than a batch: one step an epoch.
        assert_eq!(fitted.iterations(), 50);
        let test = file.test("module_1", "speaker").unwrap();
        let score = fitted.evaluate(&test.part(Split::Test), None).unwrap();
        assert_eq!((score.accuracy, score.rows), (1.0, 60), "{head}");
    }
}

#[test]
fn views_that_are_all_the_same_are_a_fit_without_views() {
    let folder = tempfile::tempdir().unwrap();
    let file = ViewFile::open(written(folder.path(), 1, 1)).unwrap();
    let examples = file.train("module_1", "speaker", 0).unwrap();
    for probe in [PaperProbe::speakers(), PaperProbe { epochs: 7, ..PaperProbe::classes() }] {
        let plain = Probe::Paper(probe).fit(&examples.part(Split::Train), key()).unwrap();
        let viewed = probe.fit_views(1, 1.0, key(), |v| file.train("module_1", "speaker", v)).unwrap();
        assert_eq!((plain.weights(), plain.bias()), (viewed.weights(), viewed.bias()));
    }
}

#[test]
fn threads_do_not_matter() {
    let folder = tempfile::tempdir().unwrap();
    let file = ViewFile::open(written(folder.path(), 2, 1)).unwrap();
    let run = |threads, head| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let probe = PaperProbe { head, ..PaperProbe::speakers() };
        let fit = || probe.fit_views(2, 0.5, key(), |v| file.train("module_1", "speaker", v)).unwrap();
        let fitted = pool.install(fit);
        fitted.weights().iter().chain(fitted.bias()).map(|w| w.to_bits()).collect::<Vec<_>>()
    };
    assert!(Head::ALL.iter().all(|head| run(1, *head) == run(2, *head)));
}

/// Phones are learned an utterance a step in the order of the file, as published: another order of the
/// same items gives another probe, and no draw of the key is spent on the order.
#[test]
fn phones_come_in_the_order_of_the_file() {
    let items = 8;
    let examples = |order: &[usize]| {
        let x = Array2::from_shape_fn((items * 4, 3), |(i, d)| row(order[i / 4], i % 4)[(0, d)]);
        let labels = (0..items * 4).map(|i| class(order[i / 4])).collect();
        let index = ItemIndex::from_counts(vec![4; items]);
        Examples::per_frame(x, labels, CLASSES, index, vec![Split::Train; items]).unwrap()
    };
    let fit = |examples: &Examples, probe: PaperProbe| {
        Probe::Paper(probe).fit(&examples.part(Split::Train), key()).unwrap().weights().to_vec()
    };
    let one = PaperProbe { epochs: 1, ..PaperProbe::phones() };
    let forward: Vec<usize> = (0..items).collect();
    let backward: Vec<usize> = (0..items).rev().collect();
    assert_ne!(fit(&examples(&forward), one), fit(&examples(&backward), one));
    // Two epochs are the file twice.
    let twice: Vec<usize> = forward.iter().chain(&forward).copied().collect();
    let doubled = {
        let x = Array2::from_shape_fn((items * 8, 3), |(i, d)| row(twice[i / 4], i % 4)[(0, d)]);
        let labels = (0..items * 8).map(|i| class(twice[i / 4])).collect();
        let index = ItemIndex::from_counts(vec![4; items * 2]);
        Examples::per_frame(x, labels, CLASSES, index, vec![Split::Train; items * 2]).unwrap()
    };
    assert_eq!(fit(&doubled, one), fit(&examples(&forward), PaperProbe { epochs: 2, ..one }));
}
