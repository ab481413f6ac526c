//! Time of probes and feature files on synthetic features: `cargo run --release -p gim-eval --example probe_speed`.
//!
//! Two sizes: 5,000 items × 1,024 (10 classes) and 200,000 frames × 512 (41 classes).

use gim_eval::synthetic::examples;
use gim_eval::{
    ConvergedProbe, Examples, FeatureFile, FeatureWriter, GroupSpec, Item, Key, LabelSpec, Layout, PaperProbe, Per,
    Probe, Provenance, Purpose, Result, Split,
};
use ndarray::s;
use std::time::Instant;

/// Writes the features item by item and reads them back.
fn file_speed(all: &Examples, frames: usize, classes: usize) -> Result<()> {
    let (x, path) = (
        all.features().unwrap_or_else(|| unreachable!("these are in memory")),
        std::env::temp_dir().join(format!("probe_speed_{}.h5", std::process::id())),
    );
    let layout = Layout {
        groups: vec![GroupSpec { group: "module_1".into(), name: "1".into(), dims: x.ncols() }],
        labels: vec![LabelSpec { task: "class".into(), per: Per::Frame, classes, silence: None, names: Vec::new() }],
        frames: None,
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
    std::fs::remove_file(&path).map_err(|e| gim_eval::Error::io(&path, "remove", e))
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
