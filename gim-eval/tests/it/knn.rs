//! Nearest neighbors against a search that compares all pairs and sorts.

use gim_core::testing::uniform;
use gim_eval::{Examples, Knn, Part, Split, nearest};
use ndarray::{Array2, ArrayView1, ArrayView2};
use proptest::prelude::*;

fn cosine(a: ArrayView1<'_, f32>, b: ArrayView1<'_, f32>) -> f64 {
    let dot = |a: ArrayView1<'_, f32>, b: ArrayView1<'_, f32>| -> f64 {
        a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
    };
    let lengths = (dot(a, a) * dot(b, b)).sqrt();
    if lengths > 0.0 { dot(a, b) / lengths } else { 0.0 }
}

/// All candidates (similarity, row), nearest first.
fn naive(x: ArrayView2<'_, f32>, query: usize, candidates: &[usize]) -> Vec<(f64, usize)> {
    let mut all: Vec<_> = candidates.iter().map(|&c| (cosine(x.row(query), x.row(c)), c)).collect();
    all.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    all
}

/// Classes with votes, best first.
fn naive_ranking(near: &[(f64, usize)], labels: &[i32]) -> Vec<u32> {
    let classes = 1 + *labels.iter().max().unwrap();
    let own = |c: i32| near.iter().filter(move |n| labels[n.1] == c);
    let mut ranked: Vec<_> = (0..classes).map(|c| (own(c).count(), own(c).map(|n| n.0).sum::<f64>(), c)).collect();
    ranked.retain(|r| r.0 > 0);
    ranked.sort_by(|a, b| b.0.cmp(&a.0).then(b.1.total_cmp(&a.1)).then(a.2.cmp(&b.2)));
    ranked.into_iter().map(|r| r.2 as u32).collect()
}

fn examples(x: &Array2<f32>, labels: &[i32], classes: usize, split: &[Split]) -> Examples {
    Examples::per_item(x.clone(), labels.to_vec(), classes, split.to_vec()).unwrap()
}

/// Vectors of length 0, 1 or 2 in 6 dimensions: their similarities, multiples of ¼, are exact, so that ties are, too.
fn exact_row() -> impl Strategy<Value = Vec<f32>> {
    let signs = prop::collection::vec(prop::bool::ANY, 4);
    (0usize..3, Just((0..6).collect::<Vec<usize>>()).prop_shuffle(), signs).prop_map(|(kind, places, signs)| {
        let mut row = vec![0.0; 6];
        for i in 0..[0, 1, 4][kind] {
            row[places[i]] = if signs[i] { 1.0 } else { -1.0 };
        }
        row
    })
}

proptest! {
    #[test]
    fn votes_are_those_of_all_pairs(
        rows in prop::collection::vec((exact_row(), 0i32..7), 4..60),
        n_test in 1usize..3,
        k in 1usize..25,
    ) {
        let x = Array2::from_shape_fn((rows.len(), 6), |(i, j)| rows[i].0[j]);
        let labels: Vec<i32> = rows.iter().map(|r| r.1).collect();
        let split: Vec<Split> = (0..rows.len()).map(|i| if i < n_test { Split::Test } else { Split::Train }).collect();
        let all = examples(&x, &labels, 7, &split);
        let (train, test) = (all.part(Split::Train), all.part(Split::Test));
        let candidates: Vec<usize> = (n_test..rows.len()).collect();
        let rankings: Vec<Vec<u32>> = (0..n_test)
            .map(|q| {
                let near = naive(x.view(), q, &candidates);
                naive_ranking(&near[..k.min(near.len())], &labels)
            })
            .collect();
        let best: Vec<u32> = rankings.iter().map(|r| r[0]).collect();
        prop_assert_eq!(Knn { k }.predict(&train, &test).unwrap(), best.clone());

        let score = Knn { k }.evaluate(&train, &test, Some(3)).unwrap();
        let share = |right: usize| right as f64 / n_test as f64;
        let truth = &labels[..n_test];
        prop_assert_eq!(score.accuracy, share((0..n_test).filter(|&i| best[i] == truth[i] as u32).count()));
        let five = |i: usize| rankings[i].iter().take(5).any(|c| *c == truth[i] as u32);
        prop_assert_eq!(score.top5, share((0..n_test).filter(|i| five(*i)).count()));
        prop_assert!(score.accuracy <= score.top5);
        prop_assert_eq!(score.rows, n_test);
        prop_assert_eq!(score.accuracy_no_silence.is_none(), truth.iter().all(|t| *t == 3));

        let queries = [rows.len() - 1, 0];
        let found = nearest(x.view(), &queries, k).unwrap();
        for (query, found) in queries.iter().zip(found) {
            let others: Vec<usize> = (0..rows.len()).filter(|i| i != query).collect();
            let want: Vec<usize> = naive(x.view(), *query, &others).iter().take(k).map(|n| n.1).collect();
            prop_assert_eq!(found, want);
        }
    }
}

/// More rows than a block has, at a scale whose squares overflow single precision.
#[test]
fn blocks_join_without_a_seam() {
    let (n, d) = (2300, 9);
    let u = uniform(n * d, 11);
    let x = Array2::from_shape_fn((n, d), |(i, j)| (u[i * d + j] - 0.3) as f32 * 1e30);
    let queries: Vec<usize> = (0..n).step_by(2).collect();
    let found = nearest(x.view(), &queries, 7).unwrap();
    for (query, found) in queries.iter().zip(found).step_by(97) {
        let others: Vec<usize> = (0..n).filter(|i| i != query).collect();
        let want = naive(x.view(), *query, &others);
        assert_eq!(found.len(), 7);
        // Single precision may swap two that are almost as near.
        for (found, want) in found.iter().zip(&want) {
            let similarity = cosine(x.row(*query), x.row(*found));
            assert!((similarity - want.0).abs() < 1e-6, "{query}: {similarity} {}", want.0);
        }
    }
}

#[test]
fn ties_go_to_the_nearer_then_to_the_lower_class() {
    // Test row (1, 0, 0, 0); two votes each: class 2 at 1 and 0, class 1 at ½ and ½ (rows of four ones have length 2).
    let rows: [[f32; 4]; 6] = [
        [1.0, 0.0, 0.0, 0.0],
        [1.0, 1.0, 1.0, 1.0],
        [1.0, 1.0, -1.0, 1.0],
        [2.0, 0.0, 0.0, 0.0],
        [0.0, 3.0, 0.0, 0.0],
        [-1.0, 0.0, 0.0, 0.0],
    ];
    let x = Array2::from_shape_fn((6, 4), |(i, j)| rows[i][j]);
    let mut split = [Split::Train; 6];
    split[0] = Split::Test;
    let predict = |labels: [i32; 6], k| {
        let all = examples(&x, &labels, 3, &split);
        Knn { k }.predict(&all.part(Split::Train), &all.part(Split::Test)).unwrap()
    };
    assert_eq!(predict([0, 1, 1, 2, 2, 0], 4), [1], "equal votes and sums: the lower class");
    assert_eq!(predict([0, 1, 1, 2, 0, 0], 3), [1], "two votes beat a nearer one");
    assert_eq!(predict([0, 1, 0, 2, 0, 0], 2), [2], "a vote each: the nearer");
    assert_eq!(predict([0, 1, 0, 2, 0, 0], 500), [0], "k beyond the training set: all vote");
}

#[test]
fn zero_vectors_have_neighbors_too() {
    let x = Array2::from_shape_fn((5, 3), |(i, j)| if i == 2 && j == 1 { -1.0 } else { 0.0 });
    assert_eq!(nearest(x.view(), &[0, 2], 3).unwrap(), [[1, 2, 3], [0, 1, 3]]);
    let split = [Split::Test, Split::Train, Split::Train, Split::Train, Split::Train];
    let all = examples(&x, &[0, 1, 0, 0, 0], 2, &split);
    let score = Knn::default().evaluate(&all.part(Split::Train), &all.part(Split::Test), None).unwrap();
    assert_eq!((score.accuracy, score.top5, score.majority), (1.0, 1.0, 1.0));
}

#[test]
fn threads_do_not_matter() {
    let (n, d) = (3000, 70);
    let u = uniform(n * d, 4);
    let x = Array2::from_shape_fn((n, d), |(i, j)| (u[i * d + j] * u[i * d]) as f32);
    let labels: Vec<i32> = (0..n).map(|i| (i * i % 5) as i32).collect();
    let split: Vec<Split> = (0..n).map(|i| if i % 3 == 0 { Split::Test } else { Split::Train }).collect();
    let all = examples(&x, &labels, 5, &split);
    let queries: Vec<usize> = (0..n).collect();
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let score = Knn::default().evaluate(&all.part(Split::Train), &all.part(Split::Test), None).unwrap();
            (score, nearest(x.view(), &queries, 8).unwrap())
        })
    };
    let one = run(1);
    assert!(one == run(2));
    assert!(one == run(3));
}

#[test]
fn refuses_what_makes_no_sense() {
    let mut x = Array2::from_shape_fn((4, 2), |(i, j)| (i + j) as f32);
    let split = [Split::Train, Split::Train, Split::Test, Split::Test];
    let all = examples(&x, &[0, 1, 0, 1], 2, &split);
    let (train, test) = (all.part(Split::Train), all.part(Split::Test));
    let refusal =
        |k: usize, train: &Part<'_>, test: &Part<'_>| Knn { k }.evaluate(train, test, None).unwrap_err().to_string();
    assert!(refusal(0, &train, &test).contains("no neighbor"));
    assert!(refusal(1, &test, &train).contains("test part"));
    let other = examples(&x, &[0, 1, 0, 1], 3, &split);
    assert!(refusal(1, &train, &other.part(Split::Test)).contains("3 to test"));
    let unlabeled = examples(&x, &[0, 1, -1, -1], 2, &split);
    assert!(refusal(1, &train, &unlabeled.part(Split::Test)).contains("no labeled rows"));

    assert!(nearest(x.view(), &[4], 1).unwrap_err().to_string().contains("row 4"));
    x[[3, 0]] = f32::NAN;
    assert!(nearest(x.view(), &[0], 1).unwrap_err().to_string().contains("not finite"));
    assert!(nearest(Array2::zeros((0, 3)).view(), &[], 2).unwrap().is_empty());
    let broken = examples(&x, &[0, 1, 0, 1], 2, &split);
    assert!(refusal(1, &broken.part(Split::Train), &broken.part(Split::Test)).contains("not finite"));
}
