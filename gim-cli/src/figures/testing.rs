//! Synthetic results, and the checks every figure must pass.

use gim_core::{Key, Purpose};
use gim_eval::Confusion;
use ndarray::Array2;
use rand::RngExt;

use super::{Figure, Tile};
use gim_eval::{Group, ProbeRow, Protocol, Task, TrainRow};

/// Checks the PNG's size, the SVG's texts, that texts are readable and apart, and that drawing is deterministic.
pub(super) fn check_figure(figure: &Figure, expected: &[&str]) {
    figure.picture.check_texts();
    assert!(figure.caption.ends_with('.') && !figure.caption.contains("NaN"), "{}", figure.caption);
    let (width, height) = figure.picture.size();
    assert!((600..=1400).contains(&width), "{width}");

    let bytes = figure.picture.png(&figure.caption).unwrap();
    assert_eq!(bytes, figure.picture.png(&figure.caption).unwrap());
    let mut reader = png::Decoder::new(std::io::Cursor::new(&bytes)).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    assert_eq!((info.width, info.height), (width, height));
    assert!(pixels.iter().filter(|p| **p < 200).count() > 1000, "the picture is empty");

    let svg = figure.picture.svg().unwrap();
    assert_eq!(svg, figure.picture.svg().unwrap());
    let document = roxmltree::Document::parse(&svg).unwrap();
    let texts: Vec<&str> =
        document.descendants().filter(|n| n.has_tag_name("text")).filter_map(|n| n.text()).map(str::trim).collect();
    for text in expected {
        assert!(texts.contains(text), "'{text}' is not among {texts:?}");
    }
}

/// Losses that fall from chance, ln 11, with noise.
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

/// `n_classes` Gaussian-like clouds of `each` points in `dims` dimensions, `scale` wide.
pub(super) fn blobs(n_classes: usize, each: usize, dims: usize, scale: f32, seed: u64) -> (Array2<f32>, Vec<usize>) {
    let mut rng = Key::new(seed, Purpose::Synthetic).with_item(2).rng();
    let centres = Array2::from_shape_fn((n_classes, dims), |_| rng.random_range(-4.0f32..4.0));
    let class: Vec<usize> = (0..n_classes * each).map(|i| i % n_classes).collect();
    let x = Array2::from_shape_fn((class.len(), dims), |(i, d)| {
        let noise: f32 = (0..4).map(|_| rng.random_range(-1.0f32..1.0)).sum();
        scale * (centres[[class[i], d]] + noise)
    });
    (x, class)
}

/// A smooth random image.
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

/// `rows` judgements about `n` classes, right more often than not, the wrong ones mostly at the next class.
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
fn saves_both_files_or_says_why_not() {
    let spec = super::Architecture {
        title: "t".into(),
        input: "x".into(),
        modules: vec![super::ModuleBox { name: "m".into(), layers: vec![], loss: "l".into(), output: "z".into() }],
    };
    let figure = super::architecture(&spec).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let paths = figure.save(&folder.path().join("new"), "stack").unwrap();
    assert!(paths.iter().all(|p| p.metadata().unwrap().len() > 500));
    assert_eq!(std::fs::read_dir(folder.path().join("new")).unwrap().count(), 2);

    let blocked = folder.path().join("file");
    std::fs::write(&blocked, b"").unwrap();
    let error = figure.save(&blocked, "stack").unwrap_err().to_string();
    assert!(error.contains("cannot create the folder"), "{error}");
}

/// Writes every figure, with realistic and odd data, to the folder `GIM_FIGURE_GALLERY`, for someone to look at.
#[test]
#[ignore = "for the eye"]
fn gallery() {
    use super::*;
    let Some(folder) = std::env::var_os("GIM_FIGURE_GALLERY") else { return };
    let save = |name: &str, figure: Result<Figure>| {
        let figure = figure.unwrap();
        println!("{name}: {}", figure.caption);
        figure.save(Path::new(&folder), name).unwrap();
    };
    let subtitle = "speech-mini, seeds 1, 2, 3";

    let loss = |runs| LossByModule {
        title: "InfoNCE loss by module".into(),
        subtitle: subtitle.into(),
        runs,
        negatives: Some(10),
    };
    let run = |label: &str, m, n, seed| LossRun { label: label.into(), rows: train_rows(m, n, seed) };
    save("loss_6x3", loss_by_module(&loss((1..=3).map(|s| run(&format!("seed {s}"), 6, 3000, s)).collect())));
    save("loss_1x1", loss_by_module(&loss(vec![run("CPC", 1, 200, 1)])));
    save("loss_one_step", loss_by_module(&loss(vec![run("a", 3, 1, 1)])));
    let mut broken = run("simultaneous", 4, 300, 1);
    broken.rows.iter_mut().filter(|r| r.module == 2 && r.step > 900).for_each(|r| r.loss = f64::NAN);
    broken.rows.iter_mut().filter(|r| r.module == 4).for_each(|r| r.loss = f64::NAN);
    broken.rows[40].loss = 40.0;
    save("loss_nan", loss_by_module(&loss(vec![broken, run("iterative", 3, 300, 2)])));

    let accuracy = |task: Task, rows| AccuracyByModule {
        title: format!("Linear probe for {task} by module"),
        subtitle: subtitle.into(),
        task,
        protocol: None,
        rows,
    };
    save("phones_6x3", accuracy_by_module(&accuracy(Task::Phones, probe_rows(Task::Phones, 6, &[1, 2, 3]))));
    save("phones_1x1", accuracy_by_module(&accuracy(Task::Phones, probe_rows(Task::Phones, 1, &[1]))));
    save("speakers_6x3", accuracy_by_module(&accuracy(Task::Speakers, probe_rows(Task::Speakers, 6, &[1, 2, 3]))));
    save("speakers_1x1", accuracy_by_module(&accuracy(Task::Speakers, probe_rows(Task::Speakers, 1, &[1]))));

    let curve = |label: &str, group, m, seeds: &[u64]| ErrorCurve {
        label: label.into(),
        group,
        rows: probe_rows(Task::Speakers, m, seeds),
    };
    let paper = |label: &str, errors: [f64; 6]| PaperCurve { label: label.into(), errors: errors.to_vec() };
    let error = |methods, paper| ErrorByModule {
        title: "Speaker error by module".into(),
        subtitle: subtitle.into(),
        task: Task::Speakers,
        protocol: None,
        methods,
        paper,
    };
    let papers = vec![
        paper("GIM", [0.736, 0.0995, 0.0203, 0.0130, 0.0093, 0.0063]),
        paper("CPC", [0.649, 0.112, 0.0315, 0.0150, 0.0064, 0.0044]),
        paper("supervised", [0.793, 0.551, 0.160, 0.0717, 0.0480, 0.0117]),
        paper("greedy supervised", [0.525, 0.0395, 0.0239, 0.0171, 0.0177, 0.0134]),
    ];
    let mut perfect = curve("CPC", Group::Trained, 6, &[4, 5]);
    perfect.rows.iter_mut().filter(|r| r.module > 4).for_each(|r| r.accuracy = 1.0);
    let methods = vec![
        curve("GIM", Group::Trained, 6, &[1, 2, 3]),
        perfect,
        curve("random encoder", Group::Random, 6, &[1, 2, 3]),
    ];
    save("error_6x3", error_by_module(&error(methods, papers)));
    save("error_1x1", error_by_module(&error(vec![curve("GIM", Group::Trained, 1, &[1])], vec![])));

    let latent = |n_modules: usize, each| {
        let class = blobs(10, each, 64, 1.0, 1).1;
        let panels = (1..=n_modules)
            .map(|m| {
                let (x, _) = blobs(10, each, 64, 1.0, 1);
                let (noise, _) = blobs(1, 10 * each, 64, 1.0, 9);
                let keep = m as f32 / n_modules as f32;
                LatentPanel { title: format!("Module {m}"), features: x * keep * 0.4 + noise * (1.2 - keep) }
            })
            .collect();
        LatentSpace {
            title: "Ten speakers in the latent space of each module (t-SNE)".into(),
            subtitle: "speech-mini, seed 1".into(),
            panels,
            columns: None,
            class,
            names: (0..10).map(|i| format!("{}", 1034 + 211 * i)).collect(),
            what: "speakers".into(),
            tsne: Tsne::default(),
        }
    };
    save("latent_6", latent_space(&latent(6, 40)));
    save("latent_1", latent_space(&latent(1, 6)));

    let module = |i: usize, layers: &[&str], output: &str| ModuleBox {
        name: format!("Module {i}"),
        layers: layers.iter().map(|&l| l.into()).collect(),
        loss: "InfoNCE".into(),
        output: output.into(),
    };
    let convs: Vec<(String, String)> = [(10, 5, 4095), (8, 4, 1023), (4, 2, 512), (4, 2, 257), (4, 2, 128)]
        .iter()
        .enumerate()
        .map(|(i, (k, s, l))| {
            let exponent = ["¹", "²", "³", "⁴", "⁵"][i];
            (format!("conv1d, kernel {k}, stride {s}, 512 + ReLU"), format!("z{exponent}: {l} × 512"))
        })
        .collect();
    let mut modules: Vec<ModuleBox> =
        convs.iter().enumerate().map(|(i, (l, o))| module(i + 1, &[l.as_str()], o)).collect();
    modules.push(module(6, &["GRU, 256"], "c: 128 × 256"));
    let stack = |modules| Architecture {
        title: "Greedy InfoMax, audio: six gradient-isolated modules".into(),
        input: "sound: 20 480 samples (1.28 s at 16 kHz)".into(),
        modules,
    };
    save("architecture_6", architecture(&stack(modules)));
    let all: Vec<&str> = convs.iter().map(|c| c.0.as_str()).chain(["GRU, 256"]).collect();
    save(
        "architecture_1",
        architecture(&Architecture { title: "CPC, audio".into(), ..stack(vec![module(1, &all, "c: 128 × 256")]) }),
    );

    let neuron = |m: u64, i: u64| Neuron {
        index: (211 * i + 7 * m) as usize,
        patches: (0..4).map(|p| tile(16, 16, 3, 100 * m + 10 * i + p / 2)).collect(),
    };
    let patch_rows = |n: u64, each: u64| PatchFigure {
        title: "Patches that excite a neuron most".into(),
        subtitle: "toy images, seed 1".into(),
        rows: (1..=n)
            .map(|m| PatchRow { title: format!("Module {m}"), neurons: (0..each).map(|i| neuron(m, i)).collect() })
            .collect(),
    };
    save("patches_3x6", patches(&patch_rows(3, 6)));
    save("patches_1x1", patches(&patch_rows(1, 1)));

    let class_names = ["tench", "English springer", "cassette player", "chain saw", "church"];
    let neighbour = |c: usize, m: usize, i: usize| {
        let class = if (i * 3 + c) % 6 <= m { c } else { (c + i) % 5 };
        Neighbour {
            tile: tile(32, 32, 3, (class * 50 + i) as u64),
            same_class: class == c,
            label: class_names[class].into(),
        }
    };
    let nearest_row = |c: usize, m: usize| NeighbourRow {
        title: if m == 0 { "raw pixels".into() } else { format!("Module {m}") },
        neighbours: (0..8).map(|i| neighbour(c, m, i)).collect(),
    };
    let nearest = |n: usize, m: usize| Neighbours {
        title: "Nearest neighbours by module".into(),
        subtitle: "toy images, seed 1".into(),
        queries: (0..n)
            .map(|c| QueryBlock {
                tile: tile(32, 32, 3, 7 + c as u64),
                label: class_names[c].into(),
                rows: (0..=m).map(|m| nearest_row(c, m)).collect(),
            })
            .collect(),
    };
    save("neighbours_3x4", neighbours(&nearest(3, 3)));
    save("neighbours_1x1", neighbours(&nearest(1, 0)));

    for n in [2, 10, 22, 41] {
        let names = (0..n).map(|c| if n > 10 { format!("AH{c}") } else { class_names[c % 5].into() }).collect();
        let title = "What a linear probe takes for what".into();
        let map = ConfusionMap { title, subtitle: "module 3".into(), names, confusion: confused(n, 4000) };
        save(&format!("confusion_{n}"), confusion(&map));
    }
}
