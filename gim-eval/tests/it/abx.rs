//! ABX errors, by hand and against parity/abx_reference.py.

use gim_eval::abx::{Abx, AbxItem, listed_items, triphones};
use gim_eval::{FrameTimes, ItemIndex};
use ndarray::{Array2, array};
use safetensors::SafeTensors;

fn item(rows: std::ops::Range<usize>, context: usize, phone: usize, speaker: usize) -> AbxItem {
    AbxItem { rows, context, phone, speaker }
}

/// Written by parity/abx_reference.py, which compares every triple by itself.
#[test]
fn errors_agree_with_brute_force() {
    let bytes = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/abx.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensor = |name: &str| file.tensor(name).unwrap();
    let words =
        |name: &str| -> Vec<[u8; 4]> { tensor(name).data().chunks_exact(4).map(|b| b.try_into().unwrap()).collect() };
    let ints = |name: &str| -> Vec<usize> { words(name).into_iter().map(|b| i32::from_le_bytes(b) as usize).collect() };
    let shape = (tensor("features").shape()[0], tensor("features").shape()[1]);
    let features = words("features").into_iter().map(f32::from_le_bytes).collect();
    let features = Array2::from_shape_vec(shape, features).unwrap();
    let items: Vec<AbxItem> = ints("items").chunks_exact(5).map(|i| item(i[0]..i[1], i[2], i[3], i[4])).collect();
    let want: Vec<f64> =
        tensor("errors").data().chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect();
    let got = Abx::default().errors(features.view(), &items).unwrap();
    assert_eq!(vec![got.within_pairs, got.across_pairs], ints("pairs"));
    for (got, want) in [got.within, got.across].into_iter().zip(want) {
        assert!((got.unwrap() - want).abs() < 1e-9, "{got:?}, not {want}");
    }
    let threads = |n| rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap();
    let some = Abx { most_items: 2, most_speakers: 1, seed: 3 };
    let with = |n| threads(n).install(|| some.errors(features.view(), &items).unwrap());
    assert_eq!(with(1), with(3), "draws and sums do not depend on threads");
    assert!(with(1) != got && with(1).within.is_some(), "fewer are compared");
}

/// Phones on axes of their own are never mistaken; phones that are all alike are ties.
#[test]
fn errors_by_hand() {
    let items = [item(0..1, 0, 0, 0), item(1..2, 0, 0, 0), item(2..3, 0, 1, 0), item(3..4, 0, 0, 1)];
    let apart = array![[1f32, 0.0], [2.0, 0.0], [0.0, 5.0], [0.1, 0.0]];
    let errors = Abx::default().errors(apart.view(), &items).unwrap();
    assert_eq!((errors.within, errors.across, errors.within_pairs, errors.across_pairs), (Some(0.0), Some(0.0), 1, 1));
    let alike = Array2::ones((4, 2));
    let errors = Abx::default().errors(alike.view(), &items).unwrap();
    assert_eq!((errors.within, errors.across), (Some(0.5), Some(0.5)));
    let swapped = array![[1f32, 0.0], [0.0, 1.0], [1.0, 0.01], [0.0, 1.0]];
    let errors = Abx::default().errors(swapped.view(), &items).unwrap();
    // Within, both are nearer to B. X of the other speaker is as the second A, and nearer to B than to the first.
    assert_eq!((errors.within, errors.across), (Some(1.0), Some(0.5)));
    let none = Abx::default().errors(apart.view(), &items[2..]).unwrap();
    assert_eq!((none.within, none.across), (None, None));

    let mut bad = apart;
    bad[[2, 1]] = f32::NAN;
    assert!(Abx::default().errors(bad.view(), &items).unwrap_err().to_string().contains("row 2"));
    assert!(Abx::default().errors(alike.view(), &[item(3..5, 0, 0, 0)]).unwrap_err().to_string().contains("3..5"));
}

/// A triphone is three runs of labels, none of them silence or unknown, of one utterance of a known speaker.
#[test]
fn triphones_are_runs_of_labels() {
    let phones = [
        1, 1, 2, 3, 3, 0, 1, 2, -1, 2, 1, /* next */ 2, 3, 1, 1, /* unknown */ 1, 2, 3,
        /* not wanted */ 1, 2, 3,
    ];
    let index = ItemIndex::from_counts([11, 4, 3, 3]);
    let found = triphones(&phones, Some(0), &[4, 5, -1, 4], &index, |utterance| utterance != 3);
    let classes = 4;
    assert_eq!(found, [item(0..5, classes + 3, 2, 4), item(11..15, 2 * classes + 1, 3, 5)]);
}

#[test]
fn lists_of_items_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("all.item");
    let names = ["one".to_owned(), "two".to_owned()];
    let index = ItemIndex::from_counts([10, 10]);
    let times = FrameTimes { first: 0.0125, hop: 0.01 };
    let read = |text: &str| {
        std::fs::write(&path, text).unwrap();
        listed_items(&path, &names, &index, times)
    };
    let found = read(
        "#file onset offset #phone prev-phone next-phone speaker\n\
         two 0.03 0.08 B AA T s1\r\none 0.00 0.05 P AA T s2\nnobody 0 1 P AA T s1\none 0.2 0.3 P AA T s1\none 0.00 9.0 B T AA s2\n",
    )
    .unwrap();
    assert_eq!(found.items, [item(12..16, 0, 0, 0), item(0..3, 0, 1, 1), item(0..10, 1, 0, 1)]);
    assert_eq!((found.unknown, found.short), (1, 1));
    for (text, says) in [
        ("head\none 0.0 0.1 P AA T", "line 2: 6 words"),
        ("head\n\none 0.0 x P AA T s", "line 3: \"x\" is not a time"),
        ("head\none 0.2 0.1 P AA T s", "before it begins"),
        ("head\nnobody 0.0 0.1 P AA T s", "no item has features (1 lines of unknown files"),
        ("head\n", "no item has features"),
        ("", "is empty"),
        ("one 0.0 0.1 P AA T s\none 0.1 0.2 P AA T s\n", "line 1: an item where the head"),
    ] {
        let e = read(text).unwrap_err().to_string();
        assert!(e.contains(says), "{e}");
    }
}
