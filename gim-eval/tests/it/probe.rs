//! Probes agree with scikit-learn, do not depend on the number of threads, and do not use the test
//! part.

use gim_core::testing::uniform;
use gim_eval::{Batch, ConvergedProbe, Examples, Head, ItemIndex, Key, PaperProbe, Probe, Purpose, Split};
use ndarray::Array2;

fn table(text: &str) -> Array2<f64> {
    let rows: Vec<Vec<f64>> = text.lines().map(|l| l.split(',').map(|v| v.parse().unwrap()).collect()).collect();
    Array2::from_shape_fn((rows.len(), rows[0].len()), |(i, j)| rows[i][j])
}

fn key() -> Key {
    Key::new(5, Purpose::Probe)
}

/// Golden values: `tests/make_golden.py`, scikit-learn 1.9.1.
#[test]
fn solution_is_scikit_learns() {
    for (x, w, l2) in [
        (include_str!("../golden/easy_x.csv"), include_str!("../golden/easy_w.csv"), 1e-2),
        (include_str!("../golden/hard_x.csv"), include_str!("../golden/hard_w.csv"), 1e-3),
    ] {
        let (x, w) = (table(x), table(w));
        let (n, d) = (x.nrows(), x.ncols() - 1);
        let labels: Vec<i32> = x.column(0).iter().map(|v| *v as i32).collect();
        let classes = w.ncols();
        let features = Array2::from_shape_fn((n, d), |(i, j)| x[(i, j + 1)] as f32);
        let all = Examples::per_item(features, labels, classes, vec![Split::Train; n]).unwrap();
        let probe = ConvergedProbe { l2: vec![l2], tolerance: 1e-6, ..ConvergedProbe::default() };
        let fitted = Probe::Converged(probe).fit(&all.part(Split::Train), key()).unwrap();
        assert!(fitted.converged(), "after {} iterations", fitted.iterations());
        assert!(fitted.iterations() < 60, "{} iterations", fitted.iterations());
        let scale = w.iter().fold(0f64, |m, v| m.max(v.abs()));
        for i in 0..d {
            for c in 0..classes {
                let (got, want) = (f64::from(fitted.weights()[i * classes + c]), w[(i, c)]);
                assert!((got - want).abs() < 2e-4 * scale, "weight ({i}, {c}): {got} {want}");
            }
        }
        // The bias is determined up to a constant only.
        let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
        let got: Vec<f64> = fitted.bias().iter().map(|v| f64::from(*v)).collect();
        let want = w.row(d).to_vec();
        for c in 0..classes {
            let (got, want) = (got[c] - mean(&got), want[c] - mean(&want));
            assert!((got - want).abs() < 2e-4 * scale, "bias {c}: {got} {want}");
        }
    }
}

/// Frames of utterances whose class shows in a few correlated dimensions; 20 frames an item, some without label.
fn frames(items: usize, d: usize, classes: usize) -> (Array2<f32>, Vec<i32>, ItemIndex, Vec<Split>) {
    let (n, u) = (items * 20, uniform(items * 20 * d, 3));
    let labels: Vec<i32> = (0..n).map(|i| if i % 11 == 0 { -1 } else { (i * i / 7 % classes) as i32 }).collect();
    let x = Array2::from_shape_fn((n, d), |(i, j)| {
        let signal = if labels[i] >= 0 && j % classes == labels[i] as usize { 0.8 } else { 0.0 };
        (u[i * d + j] + 0.5 * u[i * d] + signal + 3.0) as f32 * (1 + j) as f32
    });
    let split = (0..items).map(|i| if i % 4 == 3 { Split::Test } else { Split::Train }).collect();
    (x, labels, ItemIndex::from_counts(vec![20; items]), split)
}

fn probes() -> [Probe; 4] {
    [
        Probe::Converged(ConvergedProbe { path_rows: 300, ..ConvergedProbe::default() }),
        Probe::Paper(PaperProbe { epochs: 4, ..PaperProbe::phones() }),
        Probe::Paper(PaperProbe { epochs: 3, batch: Batch::Items(7), ..PaperProbe::speakers() }),
        Probe::Paper(PaperProbe { epochs: 3, batch: Batch::Full(7), head: Head::Mlp, ..PaperProbe::speakers() }),
    ]
}

#[test]
fn threads_do_not_matter() {
    let (x, labels, index, split) = frames(60, 96, 41);
    let all = Examples::per_frame(x, labels, 41, index, split).unwrap();
    for probe in probes() {
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let fitted = pool.install(|| probe.fit(&all.part(Split::Train), key())).unwrap();
            let bits = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            let logits = pool.install(|| fitted.logits(&all.part(Split::Test))).unwrap();
            (bits(fitted.weights()), bits(fitted.bias()), bits(logits.as_slice().unwrap()), fitted.l2())
        };
        let one = run(1);
        assert!(one == run(2), "{probe:?}");
        assert!(one == run(3), "{probe:?}");
    }
}

#[test]
fn test_rows_never_reach_the_fit() {
    let (x, labels, index, split) = frames(40, 12, 5);
    let clean = Examples::per_frame(x.clone(), labels.clone(), 5, index.clone(), split.clone()).unwrap();
    let (mut bad_x, mut bad_labels) = (x, labels);
    for item in (0..40).filter(|i| split[*i] == Split::Test) {
        for row in index.rows(item) {
            bad_x.row_mut(row).fill(f32::NAN);
            bad_labels[row] = if row % 2 == 0 { -1 } else { 4 };
        }
    }
    let bad = Examples::per_frame(bad_x, bad_labels, 5, index, split).unwrap();
    for probe in probes() {
        let (a, b) = (probe.fit(&clean.part(Split::Train), key()).unwrap(), probe.fit(&bad.part(Split::Train), key()));
        let b = b.unwrap();
        assert_eq!((a.weights(), a.bias(), a.l2()), (b.weights(), b.bias(), b.l2()));
        assert!(b.evaluate(&bad.part(Split::Test), None).unwrap_err().to_string().contains("not finite"));
        assert!(probe.fit(&clean.part(Split::Test), key()).is_err(), "a test part cannot be fitted");
        assert!(probe.fit(&clean.part(Split::Train), Key::new(6, Purpose::Probe)).is_ok());
    }
}

#[test]
fn probes_learn_and_report() {
    let (x, labels, index, split) = frames(80, 20, 5);
    let all = Examples::per_frame(x, labels, 5, index, split).unwrap();
    let (train, test) = (all.part(Split::Train), all.part(Split::Test));
    let fitted = Probe::Converged(ConvergedProbe::default()).fit(&train, key()).unwrap();
    let score = fitted.evaluate(&test, Some(0)).unwrap();
    assert!(score.accuracy > 0.9, "{}", score.accuracy);
    assert!(score.top5 == 1.0 && score.majority < 0.5 && score.accuracy_no_silence.is_some());
    assert!(fitted.converged() && !fitted.path().is_empty());
    assert_eq!(fitted.predict(&test).unwrap().len(), test.n_rows());
    assert_eq!((score.rows, train.dims()), (test.n_rows(), 20));

    let paper = Probe::Paper(PaperProbe { lr: 1e-3, ..PaperProbe::phones() }).fit(&train, key()).unwrap();
    assert!(paper.evaluate(&test, None).unwrap().accuracy > 0.3);
    assert_eq!((paper.iterations(), paper.l2(), paper.converged()), (20 * train.n_items(), None, false));
}

#[test]
fn dimensions_that_do_not_vary_are_harmless() {
    let (mut x, labels, index, split) = frames(30, 6, 3);
    x.column_mut(1).fill(7.25);
    x.column_mut(2).fill(0.0);
    let copy = x.column(4).to_owned();
    x.column_mut(5).assign(&copy);
    let all = Examples::per_frame(x, labels, 3, index, split).unwrap();
    let fitted = Probe::Converged(ConvergedProbe::default()).fit(&all.part(Split::Train), key()).unwrap();
    assert!(fitted.weights()[3..9].iter().all(|w| *w == 0.0), "{:?}", fitted.weights());
    assert!(fitted.converged());
}

#[test]
fn mistakes_are_named() {
    let (x, labels, index, split) = frames(8, 4, 3);
    let mut bad = labels.clone();
    bad[3] = 3;
    let message = Examples::per_frame(x.clone(), bad, 3, index.clone(), split.clone()).unwrap_err().to_string();
    assert!(message.contains("label 3 of row 3"), "{message}");
    assert!(Examples::per_frame(x.clone(), labels.clone(), 3, ItemIndex::single(3), split.clone()).is_err());
    let all = Examples::per_frame(x.clone(), vec![-1; 160], 3, index.clone(), split.clone()).unwrap();
    assert!(probes()[0].fit(&all.part(Split::Train), key()).unwrap_err().to_string().contains("no labeled rows"));
    let all = Examples::per_frame(x, labels, 3, index, split).unwrap();
    let train = all.part(Split::Train);
    for probe in [
        Probe::Converged(ConvergedProbe { l2: vec![], ..ConvergedProbe::default() }),
        Probe::Converged(ConvergedProbe { l2: vec![-1.0], ..ConvergedProbe::default() }),
        Probe::Converged(ConvergedProbe { validation: 1.0, ..ConvergedProbe::default() }),
        Probe::Converged(ConvergedProbe { path_rows: 0, ..ConvergedProbe::default() }),
        Probe::Paper(PaperProbe { epochs: 0, ..PaperProbe::classes() }),
        Probe::Paper(PaperProbe { lr: f64::NAN, ..PaperProbe::speakers() }),
        Probe::Paper(PaperProbe { batch: Batch::Items(0), ..PaperProbe::speakers() }),
    ] {
        assert!(probe.fit(&train, key()).is_err(), "{probe:?}");
    }
}
