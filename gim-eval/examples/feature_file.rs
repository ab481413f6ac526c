//! Writes a feature file of random utterances, of any size and in little memory, to measure probes:
//! `cargo run --release -p gim-eval --example feature_file -- FILE ITEMS FRAMES DIMS CLASSES`.
//!
//! Every tenth utterance is a test item. A class shifts some dimensions of its frames.

use std::str::FromStr;

use gim_core::testing::uniform;
use gim_eval::{Error, FeatureWriter, GroupSpec, Item, LabelSpec, Layout, Per, Provenance, Result, Split};
use ndarray::Array2;

/// Argument number `at`.
fn argument<T: FromStr>(at: usize, name: &str) -> Result<T> {
    let value = std::env::args().nth(at).and_then(|a| a.parse().ok());
    value.ok_or_else(|| Error::config(name, "is missing or wrong", "give FILE ITEMS FRAMES DIMS CLASSES"))
}

fn main() -> Result<()> {
    let path: String = argument(1, "FILE")?;
    let (items, frames): (usize, usize) = (argument(2, "ITEMS")?, argument(3, "FRAMES")?);
    let (dims, classes): (usize, usize) = (argument(4, "DIMS")?, argument(5, "CLASSES")?);
    let layout = Layout {
        groups: vec![GroupSpec { group: "module_1".into(), name: "1".into(), dims }],
        labels: vec![LabelSpec { task: "phone".into(), per: Per::Frame, classes, silence: None, names: Vec::new() }],
        ..Layout::default()
    };
    let mut writer = FeatureWriter::create(&path, layout, &Provenance::default())?;
    for item in 0..items {
        let u = uniform(frames * (dims + 1), item as u64);
        let labels: Vec<i32> = (0..frames).map(|i| (((u[i] + 1.0) / 2.0).powi(2) * classes as f64) as i32).collect();
        let x = Array2::from_shape_fn((frames, dims), |(i, j)| {
            let signal = if j % classes == labels[i] as usize { 0.5 } else { 0.0 };
            (u[frames + i * dims + j] + u[frames + i * dims] + signal).max(0.0) as f32
        });
        let split = if item % 10 == 9 { Split::Test } else { Split::Train };
        writer.append(Item { id: &format!("{item}"), split, features: &[x.view()], labels: &[&labels] })?;
    }
    writer.finish()
}
