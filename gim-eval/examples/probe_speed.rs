//! Time of probes and feature files on synthetic features: `cargo run --release -p gim-eval --example probe_speed`.
//!
//! Features are correlated and not negative, as those of a layer with ReLU are: y = max(0, A·h + b) for a hidden h of fewer
//! dimensions, of which some carry the class. Two sizes: 5,000 items × 1,024 (10 classes) and 200,000 frames × 512 (41 classes).

use gim_core::kernels::gemm::{Mat, MatMut, Store, gemm};
use gim_core::{Pool, testing::uniform};
use gim_eval::{
    ConvergedProbe, Examples, FeatureFile, FeatureWriter, GroupSpec, Item, ItemIndex, Key, LabelSpec, Layout,
    PaperProbe, Per, Probe, Provenance, Purpose, Result, Split,
};
use ndarray::{Array2, s};
use std::time::Instant;

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

/// Writes the features item by item and reads them back.
fn file_speed(all: &Examples, frames: usize, classes: usize) -> Result<()> {
    let (x, path) = (all.features(), std::env::temp_dir().join(format!("probe_speed_{}.h5", std::process::id())));
    let layout = Layout {
        groups: vec![GroupSpec { group: "module_1".into(), name: "1".into(), dims: x.ncols() }],
        labels: vec![LabelSpec { task: "class".into(), per: Per::Frame, classes }],
        deflate: None,
    };
    let begin = Instant::now();
    let mut writer = FeatureWriter::create(&path, layout, &Provenance::default())?;
    for i in 0..x.nrows() / frames {
        let rows = i * frames..(i + 1) * frames;
        let (id, labels) = (format!("{i}"), &all.labels()[rows.clone()]);
        let features = [x.slice(s![rows, ..])];
        writer.append(Item { id: &id, split: Split::Train, features: &features, labels: &[labels] })?;
    }
    writer.finish()?;
    let wrote = begin.elapsed().as_secs_f64();
    let begin = Instant::now();
    let file = FeatureFile::open(&path)?;
    let opened = begin.elapsed().as_secs_f64();
    let same = file.read_group("module_1")? == x;
    let read = begin.elapsed().as_secs_f64() - opened;
    let begin = Instant::now();
    file.read_means("module_1")?;
    let means = begin.elapsed().as_secs_f64();
    println!(
        "  file of {} MB: written {wrote:.2} s, opened {opened:.2} s, read {read:.2} s (same: {same}), means {means:.2} s",
        x.len() * 4 / 1_000_000
    );
    drop(file);
    std::fs::remove_file(&path).map_err(|e| gim_eval::Error::io(&path, "remove", &e))
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
        file_speed(&all, frames, classes)?;
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
