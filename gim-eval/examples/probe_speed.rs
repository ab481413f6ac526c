//! Time of the converged probe on synthetic features: `cargo run --release -p gim-eval --example probe_speed`.
//!
//! Features are correlated and not negative, as those of a layer with ReLU are: y = max(0, A·h + b) for a hidden h of fewer
//! dimensions, of which some carry the class. Two sizes: 5,000 items × 1,024 (10 classes) and 200,000 frames × 512 (41 classes).

use gim_core::kernels::gemm::{Mat, MatMut, Store, gemm};
use gim_core::{Pool, testing::uniform};
use gim_eval::{ConvergedProbe, Examples, ItemIndex, Key, PaperProbe, Probe, Purpose, Result, Split};
use ndarray::Array2;

fn examples(items: usize, frames: usize, d: usize, classes: usize, strength: f32) -> Result<Examples> {
    let (n, hidden) = (items * frames, d / 4);
    let narrow = |v: Vec<f64>| v.into_iter().map(|x| x as f32).collect::<Vec<f32>>();
    let mut h = narrow(uniform(n * hidden, 1));
    let labels: Vec<i32> = uniform(n, 4).iter().map(|u| (((u + 1.0) / 2.0).powi(2) * classes as f64) as i32).collect();
    for (row, label) in h.chunks_exact_mut(hidden).zip(&labels) {
        for (j, v) in row.iter_mut().enumerate() {
            // Later hidden dimensions vary less: an ill-conditioned problem.
            *v = *v / (1.0 + j as f32 / 8.0)
                + if j % classes == *label as usize { strength / (1.0 + j as f32 / 8.0) } else { 0.0 };
        }
    }
    let mix = narrow(uniform(hidden * d, 2));
    let mut x = vec![0f32; n * d];
    gemm(Mat::new(&h, n, hidden), Mat::new(&mix, hidden, d), MatMut::new(&mut x, n, d), Store::Overwrite, &Pool::new());
    let noise = narrow(uniform(n * 7 + d, 3));
    x.iter_mut().enumerate().for_each(|(i, v)| *v = (*v + 0.1 * noise[i % noise.len()] - 0.1).max(0.0));
    let features = Array2::from_shape_vec((n, d), x).unwrap_or_default();
    let split = (0..items).map(|i| if i % 10 == 9 { Split::Test } else { Split::Train }).collect();
    Examples::per_frame(features, labels, classes, ItemIndex::from_counts(vec![frames; items]), split)
}

fn main() -> Result<()> {
    let default = ConvergedProbe::default;
    for (name, items, frames, d, classes, strength, paper) in [
        ("items", 5556, 1, 1024, 10, 0.35, PaperProbe { epochs: 20, ..PaperProbe::classes() }),
        ("frames", 370, 600, 512, 41, 0.6, PaperProbe::phones()),
    ] {
        let all = examples(items, frames, d, classes, strength)?;
        let (train, test) = (all.part(Split::Train), all.part(Split::Test));
        println!("{name}: {} rows x {d}, {classes} classes", train.n_rows());
        let fixed = |l2| Probe::Converged(ConvergedProbe { l2: vec![l2], ..default() });
        let runs = [
            ("fixed 1e-2", fixed(1e-2)),
            ("fixed 1e-4", fixed(1e-4)),
            ("fixed 1e-6", fixed(1e-6)),
            ("path", Probe::Converged(default())),
            ("path, exact", Probe::Converged(ConvergedProbe { tolerance: 1e-6, ..default() })),
            ("paper", Probe::Paper(paper)),
        ];
        for (run, probe) in runs {
            let fitted = probe.fit(&train, Key::new(1, Purpose::Probe))?;
            let score = fitted.evaluate(&test, None)?;
            println!(
                "  {run:12} {:6.2} s  {:4} iterations  converged {:5}  l2 {:8.1e}  test {:.4}  path {:.4?}",
                fitted.seconds(),
                fitted.iterations(),
                fitted.converged(),
                fitted.l2().unwrap_or_default(),
                score.accuracy,
                fitted.path()
            );
        }
    }
    Ok(())
}
