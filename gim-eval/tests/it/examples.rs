//! Training parts with a share of the labels.

use std::collections::BTreeSet;

use gim_eval::{ConvergedProbe, Examples, ItemIndex, Key, Part, Probe, Purpose, Split};
use ndarray::Array2;
use proptest::prelude::*;

const CLASSES: usize = 5;

fn key(seed: u64) -> Key {
    Key::new(seed, Purpose::Probe)
}

/// Rows, labels, items and the rows of each item: all a part is made of.
fn contents<'a>(part: &'a Part<'_>) -> (&'a [usize], &'a [u32], &'a [usize], &'a ItemIndex) {
    (part.rows(), part.labels(), part.items(), part.index())
}

/// Items of 0 to 4 rows, in training or not, with a class. With labeled frames, each row has its own
/// class.
fn any_examples(frames: bool) -> impl Strategy<Value = Examples> {
    let item = (prop::collection::vec(-1i32..CLASSES as i32, 0..5), 0i32..CLASSES as i32, prop::bool::weighted(0.7));
    prop::collection::vec(item, 1..60).prop_map(move |items| {
        let labels: Vec<i32> = items
            .iter()
            .flat_map(|(rows, class, _)| rows.iter().map(|l| if frames || *l < 0 { *l } else { *class }))
            .collect();
        let split = items.iter().map(|i| if i.2 { Split::Train } else { Split::Test }).collect();
        let index = ItemIndex::from_counts(items.iter().map(|i| i.0.len()));
        Examples::per_frame(Array2::zeros((labels.len(), 2)), labels, CLASSES, index, split).unwrap()
    })
}

/// What every share must be: whole items of the training part, in order.
fn check_whole_items(all: &Part<'_>, some: &Part<'_>) -> Result<(), TestCaseError> {
    prop_assert_eq!(some.split(), Split::Train);
    prop_assert!(some.items().is_sorted_by(|a, b| a < b));
    prop_assert_eq!(some.index().n_items(), some.n_items());
    for (i, item) in some.items().iter().enumerate() {
        let j = all.items().iter().position(|other| other == item).unwrap();
        let (mine, theirs) = (some.index().rows(i), all.index().rows(j));
        prop_assert_eq!(&some.rows()[mine.clone()], &all.rows()[theirs.clone()]);
        prop_assert_eq!(&some.labels()[mine], &all.labels()[theirs]);
    }
    Ok(())
}

proptest! {
    #[test]
    fn shares_are_nested_whole_items(
        examples in prop::bool::ANY.prop_flat_map(any_examples),
        shares in (0.0001f64..1.0, 0.0001f64..1.0),
        seed in 0u64..100,
    ) {
        let all = examples.part(Split::Train);
        let (less, more) = (shares.0.min(shares.1), shares.0.max(shares.1));
        let few = examples.train_with_labels(less, key(seed)).unwrap();
        let many = examples.train_with_labels(more, key(seed)).unwrap();
        check_whole_items(&all, &few)?;
        check_whole_items(&all, &many)?;
        let many_items: BTreeSet<usize> = many.items().iter().copied().collect();
        prop_assert!(few.items().iter().all(|item| many_items.contains(item)), "{:?} {:?}", few.items(), many.items());
        prop_assert_eq!(few.n_items() == 0, all.n_items() == 0);

        let again = examples.train_with_labels(less, key(seed)).unwrap();
        prop_assert_eq!(contents(&few), contents(&again));
        let whole = examples.train_with_labels(1.0, key(seed)).unwrap();
        prop_assert_eq!(contents(&whole), contents(&all));
    }

    #[test]
    fn classes_of_items_are_kept_in_proportion(
        examples in any_examples(false),
        share in 0.0001f64..1.0,
        seed in 0u64..100,
    ) {
        let items = |part: &Part<'_>| {
            let mut items = [0usize; CLASSES];
            part.index().iter().for_each(|rows| items[part.labels()[rows.start] as usize] += 1);
            items
        };
        let all = items(&examples.part(Split::Train));
        let kept = items(&examples.train_with_labels(share, key(seed)).unwrap());
        for class in 0..CLASSES {
            let want = (all[class] as f64 * share).round().max(1.0) as usize;
            prop_assert_eq!(kept[class], want.min(all[class]), "class {} of {:?}", class, all);
        }
    }
}

/// 200 utterances of 3 frames of different classes.
fn utterances() -> Examples {
    let labels: Vec<i32> = (0..600).map(|i| i % CLASSES as i32).collect();
    let index = ItemIndex::from_counts(vec![3; 200]);
    let features = Array2::from_shape_fn((600, CLASSES), |(i, j)| if i % CLASSES == j { 1.0 } else { 0.0 });
    Examples::per_frame(features, labels, CLASSES, index, vec![Split::Train; 200]).unwrap()
}

#[test]
fn utterances_are_drawn_by_the_key() {
    let examples = utterances();
    let few = examples.train_with_labels(0.1, key(1)).unwrap();
    assert_eq!((few.n_items(), few.n_rows()), (20, 60));
    let other = examples.train_with_labels(0.1, key(2)).unwrap();
    assert_ne!(few.items(), other.items());
    assert_ne!(few.items(), (0..20).collect::<Vec<_>>());
    assert_eq!(few.items(), examples.train_with_labels(0.1, Key::new(1, Purpose::Figure)).unwrap().items());
    assert_eq!(examples.train_with_labels(1e-9, key(1)).unwrap().n_items(), 1);

    let probe = Probe::Converged(ConvergedProbe::default());
    let fitted = probe.fit(&few, key(1)).unwrap();
    assert_eq!(fitted.evaluate(&examples.part(Split::Train), None).unwrap().accuracy, 1.0);
}

#[test]
fn shares_out_of_range_are_refused() {
    let examples = utterances();
    for share in [0.0, -0.1, 1.0 + 1e-9, f64::NAN, f64::INFINITY] {
        let refusal = examples.train_with_labels(share, key(1)).unwrap_err().to_string();
        assert!(refusal.starts_with("--labels") && refusal.contains(&share.to_string()), "{refusal}");
    }
}
