//! Synthetic results, and the checks that every figure must pass.

use gim_core::{Key, Purpose};
use gim_eval::{Confusion, Group, Head, ProbeRow, Protocol, Task, TrainRow};
use ndarray::Array2;
use rand::RngExt;

use super::{Figure, Tile};

/// Checks the size of the PNG, that it is not empty and holds the caption, that texts are readable
/// and apart, that the SVG has the `expected` ones, and that the same figure gives the same bytes.
pub(super) fn check_figure(figure: &Figure, expected: &[&str]) {
    figure.canvas.check_texts();
    assert!(figure.caption.ends_with('.') && !figure.caption.contains("NaN"), "{}", figure.caption);
    let (width, height) = figure.canvas.size();
    assert!((600..=1400).contains(&width), "{width}");

    let bytes = figure.canvas.png(&figure.caption).unwrap();
    assert_eq!(bytes, figure.canvas.png(&figure.caption).unwrap());
    let mut reader = png::Decoder::new(std::io::Cursor::new(&bytes)).read_info().unwrap();
    assert_eq!(super::caption_of(&bytes).as_deref(), Some(figure.caption.as_str()));
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    assert_eq!((info.width, info.height), (width, height));
    assert!(pixels.iter().filter(|p| **p < 200).count() > 1000, "the figure is empty");

    let svg = figure.canvas.svg().unwrap();
    assert_eq!(svg, figure.canvas.svg().unwrap());
    let document = roxmltree::Document::parse(&svg).unwrap();
    let texts: Vec<&str> =
        document.descendants().filter(|n| n.has_tag_name("text")).filter_map(|n| n.text()).map(str::trim).collect();
    for text in expected {
        assert!(texts.contains(text), "'{text}' is not among {texts:?}");
    }
}

/// Noisy losses that fall from the chance level ln 11, a row every 10 steps.
pub(super) fn train_rows(n_modules: usize, n_steps: usize, seed: u64) -> Vec<TrainRow> {
    let mut rng = Key::new(seed, Purpose::Synthetic).rng();
    let mut rows = Vec::new();
    for step in 0..n_steps {
        for module in 1..=n_modules {
            let gone = 1.0 - (-4.0 * step as f64 / n_steps as f64).exp();
            let loss = 11f64.ln() - gone * (0.5 + 0.15 * module as f64) + rng.random_range(-0.12..0.12);
            let step = 10 * step as u64;
            rows.push(TrainRow { step, epoch: 0, module, loss, accuracy: Some(0.3), seconds: Some(step as f64) });
        }
    }
    rows
}

/// Accuracies that grow with depth, better than random and MFCC.
pub(super) fn probe_rows(task: Task, n_modules: usize, seeds: &[u64]) -> Vec<ProbeRow> {
    let mut rows = Vec::new();
    for &seed in seeds {
        let mut rng = Key::new(seed, Purpose::Synthetic).with_item(1).rng();
        let mut row = |group, module, accuracy: f64| {
            let accuracy = accuracy + rng.random_range(-0.015..0.015);
            let phones = task == Task::Phones;
            rows.push(ProbeRow {
                labels: 1.0,
                group,
                module,
                task,
                protocol: Protocol::Converged,
                head: Head::Linear,
                views: None,
                test_views: None,
                pooling: None,
                dims: 512,
                train_rows: 2000,
                test_rows: 500,
                accuracy,
                accuracy_no_silence: phones.then_some(accuracy - 0.06),
                macro_accuracy: if phones { accuracy - 0.16 } else { f64::NAN },
                top5: None,
                majority: 0.19,
                l2: None,
                iterations: 1,
                converged: true,
                seconds: 0.0,
                seed,
                step: None,
                checkpoint: None,
            });
        };
        row(Group::Mfcc, 0, 0.42);
        row(Group::Raw, 0, 0.24);
        for m in 1..=n_modules {
            let depth = m as f64 / n_modules as f64;
            row(Group::Random, m, 0.3 + 0.02 * depth);
            let best = if task == Task::Phones { 0.64 } else { 0.97 };
            row(Group::Trained, m, 0.33 + (best - 0.33) * depth.sqrt());
        }
    }
    rows
}

/// Clouds of points (n_classes·each, dims), `scale` wide, and the class of each point.
pub(super) fn blobs(n_classes: usize, each: usize, dims: usize, scale: f32, seed: u64) -> (Array2<f32>, Vec<usize>) {
    let mut rng = Key::new(seed, Purpose::Synthetic).with_item(2).rng();
    let centers = Array2::from_shape_fn((n_classes, dims), |_| rng.random_range(-4.0f32..4.0));
    let class: Vec<usize> = (0..n_classes * each).map(|i| i % n_classes).collect();
    let x = Array2::from_shape_fn((class.len(), dims), |(i, d)| {
        let noise: f32 = (0..4).map(|_| rng.random_range(-1.0f32..1.0)).sum();
        scale * (centers[[class[i], d]] + noise)
    });
    (x, class)
}

/// A smooth random image (height, width, channels).
pub(super) fn tile(height: usize, width: usize, channels: usize, seed: u64) -> Tile {
    let mut rng = Key::new(seed, Purpose::Synthetic).with_item(3).rng();
    let waves: Vec<[f64; 3]> = (0..channels).map(|_| [0; 3].map(|_: i32| rng.random_range(-0.5..0.5))).collect();
    let mut pixels = Vec::new();
    for y in 0..height {
        for x in 0..width {
            pixels.extend(waves.iter().map(|w| {
                let phase = w[0] * y as f64 + w[1] * x as f64 + 6.0 * w[2];
                (127.5 + 120.0 * phase.sin()) as u8
            }));
        }
    }
    Tile { height, width, channels, pixels }
}

/// `rows` predictions of `n` classes, more right than wrong; wrong ones are mostly the next class.
pub(super) fn confused(n: usize, rows: usize) -> Confusion {
    let mut rng = Key::new(1, Purpose::Synthetic).with_item(4).rng();
    let truth: Vec<u32> = (0..rows).map(|i| (i % n) as u32).collect();
    let mut guess = |t: u32| match rng.random_range(0..10) {
        0..6 => t,
        6..8 => (t + 1) % n as u32,
        _ => rng.random_range(0..n as u32),
    };
    let predicted: Vec<u32> = truth.iter().map(|&t| guess(t)).collect();
    Confusion::new(n, &truth, &predicted)
}

#[test]
fn saves_all_files_or_says_why_not() {
    let spec = super::Architecture {
        title: "t".into(),
        input: "x".into(),
        modules: vec![super::ModuleBox {
            name: "m".into(),
            layers: vec![],
            loss: "l".into(),
            output: "z".into(),
            contrast: None,
        }],
        modules_per_loss: 1,
    };
    let figure = super::architecture(&spec).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let paths = figure.save(&folder.path().join("new"), "stack").unwrap();
    assert!(paths.iter().all(|p| p.metadata().unwrap().len() > 500));
    assert_eq!(std::fs::read_dir(folder.path().join("new")).unwrap().count(), 3);
    let pdf = std::fs::read(&paths[2]).unwrap();
    assert!(pdf.starts_with(b"%PDF-") && pdf.ends_with(b"%%EOF"));
    assert_eq!(pdf, figure.canvas.pdf().unwrap());

    let blocked = folder.path().join("file");
    std::fs::write(&blocked, b"").unwrap();
    let error = figure.save(&blocked, "stack").unwrap_err().to_string();
    assert!(error.contains("cannot create the folder"), "{error}");
}
