//! Writes every figure, with realistic and odd data, to the folder `GIM_FIGURE_GALLERY`, for
//! someone to look at:
//!
//! ```text
//! GIM_FIGURE_GALLERY=/tmp/gallery cargo test -p gim-cli gallery -- --ignored
//! ```

use super::testing::{blobs, confused, probe_rows, tile, train_rows};
use super::*;
use crate::experiment::domain::{Compared, MethodKind};

const SUBTITLE: &str = "speech-mini, seeds 1, 2, 3";
const CLASSES: [&str; 5] = ["tench", "English springer", "cassette player", "chain saw", "church"];

type Named = (String, Result<Figure>);

fn named(name: &str, figure: Result<Figure>) -> Named {
    (name.to_owned(), figure)
}

#[test]
#[ignore = "for the eye"]
fn gallery() {
    let Some(folder) = std::env::var_os("GIM_FIGURE_GALLERY") else { return };
    let charts = [losses(), accuracies(), errors(), latent_spaces(), architectures(), images(), maps(), bar_charts()];
    for (name, figure) in charts.into_iter().flatten() {
        let figure = figure.unwrap();
        println!("{name}: {}", figure.caption);
        figure.save(Path::new(&folder), &name).unwrap();
    }
}

fn losses() -> Vec<Named> {
    let chart = |runs| {
        loss_by_module(&LossByModule {
            title: "InfoNCE loss by module".into(),
            subtitle: SUBTITLE.into(),
            runs,
            loss: gim_core::loss::LossKind::InfoNce,
            negatives: Some(10),
        })
    };
    let run = |label: &str, m, n, seed| LossRun {
        label: label.into(),
        rows: train_rows(m, n, seed),
        held_out: train_rows(m, n / 150, seed),
    };
    let mut broken = run("simultaneous", 4, 300, 1);
    broken.rows.iter_mut().filter(|r| r.module == 2 && r.step > 900).for_each(|r| r.loss = f64::NAN);
    broken.rows.iter_mut().filter(|r| r.module == 4).for_each(|r| r.loss = f64::NAN);
    broken.rows[40].loss = 40.0;
    vec![
        named("loss_6x3", chart((1..=3).map(|s| run(&format!("seed {s}"), 6, 3000, s)).collect())),
        named("loss_1x1", chart(vec![run("CPC", 1, 200, 1)])),
        named("loss_one_step", chart(vec![run("a", 3, 1, 1)])),
        named("loss_nan", chart(vec![broken, run("iterative", 3, 300, 2)])),
    ]
}

fn accuracies() -> Vec<Named> {
    let chart = |task: Task, n_modules, seeds: &[u64]| {
        accuracy_by_module(&AccuracyByModule {
            title: format!("Linear probe for {task} by module"),
            subtitle: SUBTITLE.into(),
            method: MethodKind::Gim,
            task,
            protocol: None,
            rows: probe_rows(task, n_modules, seeds),
        })
    };
    vec![
        named("phones_6x3", chart(Task::Phones, 6, &[1, 2, 3])),
        named("phones_1x1", chart(Task::Phones, 1, &[1])),
        named("speakers_6x3", chart(Task::Speakers, 6, &[1, 2, 3])),
        named("speakers_1x1", chart(Task::Speakers, 1, &[1])),
    ]
}

fn errors() -> Vec<Named> {
    let curve = |label: &str, role, m, seeds: &[u64]| ErrorCurve {
        label: label.into(),
        role,
        rows: probe_rows(Task::Speakers, m, seeds),
    };
    let paper = |label: &str, method, errors: [f64; 6]| PaperCurve {
        label: label.into(),
        method: Some(method),
        errors: errors.to_vec(),
    };
    let chart = |methods, paper| {
        error_by_module(&ErrorByModule {
            title: "Speaker error by module".into(),
            subtitle: SUBTITLE.into(),
            task: Task::Speakers,
            protocol: None,
            methods,
            paper,
        })
    };
    let papers = vec![
        paper("GIM", MethodKind::Gim, [0.736, 0.0995, 0.0203, 0.0130, 0.0093, 0.0063]),
        paper("CPC", MethodKind::Cpc, [0.649, 0.112, 0.0315, 0.0150, 0.0064, 0.0044]),
        paper("supervised", MethodKind::Supervised, [0.793, 0.551, 0.160, 0.0717, 0.0480, 0.0117]),
        paper("greedy supervised", MethodKind::GreedySupervised, [0.525, 0.0395, 0.0239, 0.0171, 0.0177, 0.0134]),
    ];
    let mut perfect = curve("CPC", Role::Method(MethodKind::Cpc), 6, &[4, 5]);
    perfect.rows.iter_mut().filter(|r| r.module > 4).for_each(|r| r.accuracy = 1.0);
    let methods = vec![
        curve("GIM", Role::Method(MethodKind::Gim), 6, &[1, 2, 3]),
        perfect,
        curve("random encoder", Role::Random, 6, &[1, 2, 3]),
    ];
    vec![
        named("error_6x3", chart(methods, papers)),
        named("error_1x1", chart(vec![curve("GIM", Role::Method(MethodKind::Gim), 1, &[1])], vec![])),
    ]
}

fn latent_spaces() -> Vec<Named> {
    let chart = |n_modules: usize, each| {
        let (x, class) = blobs(10, each, 64, 1.0, 1);
        let (noise, _) = blobs(1, 10 * each, 64, 1.0, 9);
        let panel = |m: usize| {
            let keep = m as f32 / n_modules as f32;
            LatentPanel { title: format!("Module {m}"), features: &x * keep * 0.4 + &noise * (1.2 - keep) }
        };
        latent_space(&LatentSpace {
            title: "Ten speakers in the latent space of each module (t-SNE)".into(),
            subtitle: "speech-mini, seed 1".into(),
            panels: (1..=n_modules).map(panel).collect(),
            columns: None,
            class,
            names: (0..10).map(|i| format!("{}", 1034 + 211 * i)).collect(),
            what: "speakers".into(),
            tsne: Tsne::default(),
        })
    };
    vec![named("latent_6", chart(6, 40)), named("latent_1", chart(1, 6))]
}

fn architectures() -> Vec<Named> {
    let module = |i: usize, layers: &[&str], output: &str| ModuleBox {
        name: format!("Module {i}"),
        layers: layers.iter().map(|&l| l.into()).collect(),
        loss: "InfoNCE".into(),
        output: output.into(),
        contrast: Some(Contrast { network: i == 6, compared: Compared { prediction_steps: 12, negatives: 10 } }),
    };
    let convs: Vec<(String, String)> = [(10, 5, 4095), (8, 4, 1023), (4, 2, 512), (4, 2, 257), (4, 2, 128)]
        .iter()
        .zip(["¹", "²", "³", "⁴", "⁵"])
        .map(|((k, s, l), i)| (format!("conv1d, kernel {k}, stride {s}, 512 + ReLU"), format!("z{i}: {l} × 512")))
        .collect();
    let mut modules: Vec<ModuleBox> =
        convs.iter().enumerate().map(|(i, (l, o))| module(i + 1, &[l.as_str()], o)).collect();
    modules.push(module(6, &["GRU, 256"], "c: 128 × 256"));
    let chart = |title: &str, modules| {
        architecture(&Architecture {
            title: title.into(),
            input: "audio: 20 480 samples (1.28 s at 16 kHz)".into(),
            modules,
            modules_per_loss: 1,
        })
    };
    let all: Vec<&str> = convs.iter().map(|c| c.0.as_str()).chain(["GRU, 256"]).collect();
    vec![
        named("architecture_6", chart("Greedy InfoMax, audio: six gradient-isolated modules", modules)),
        named("architecture_1", chart("CPC, audio", vec![module(1, &all, "c: 128 × 256")])),
    ]
}

fn images() -> Vec<Named> {
    let neuron = |m: u64, i: u64| Neuron {
        index: (211 * i + 7 * m) as usize,
        patches: (0..4).map(|p| tile(16, 16, 3, 100 * m + 10 * i + p / 2)).collect(),
    };
    let patch_chart = |n: u64, each: u64| {
        let row = |m| PatchRow { title: format!("Module {m}"), neurons: (0..each).map(|i| neuron(m, i)).collect() };
        patches(&PatchFigure {
            title: "Top-activating patches".into(),
            subtitle: "toy images, seed 1".into(),
            rows: (1..=n).map(row).collect(),
        })
    };
    let neighbor = |c: usize, m: usize, i: usize| {
        let class = if (i * 3 + c) % 6 <= m { c } else { (c + i) % 5 };
        let tile = tile(32, 32, 3, (class * 50 + i) as u64);
        Neighbor { tile, same_class: class == c, label: CLASSES[class].into() }
    };
    let row = |c: usize, m: usize| NeighborRow {
        title: if m == 0 { "raw pixels".into() } else { format!("Module {m}") },
        neighbors: (0..8).map(|i| neighbor(c, m, i)).collect(),
    };
    let neighbor_chart = |n: usize, m: usize| {
        let query = |c: usize| QueryBlock {
            tile: tile(32, 32, 3, 7 + c as u64),
            label: CLASSES[c].into(),
            rows: (0..=m).map(|m| row(c, m)).collect(),
        };
        neighbors(&Neighbors {
            title: "Nearest neighbors by module".into(),
            subtitle: "toy images, seed 1".into(),
            queries: (0..n).map(query).collect(),
        })
    };
    vec![
        named("patches_3x6", patch_chart(3, 6)),
        named("patches_1x1", patch_chart(1, 1)),
        named("neighbors_3x4", neighbor_chart(3, 3)),
        named("neighbors_1x1", neighbor_chart(1, 0)),
    ]
}

fn maps() -> Vec<Named> {
    let confusion_chart = |n: usize| {
        confusion(&ConfusionMap {
            title: "Confusion matrix of the linear probe".into(),
            subtitle: "module 3".into(),
            names: (0..n).map(|c| if n > 10 { format!("AH{c}") } else { CLASSES[c % 5].into() }).collect(),
            confusion: confused(n, 4000),
        })
    };
    let mut charts: Vec<Named> =
        [2, 10, 22, 41].into_iter().map(|n| (format!("confusion_{n}"), confusion_chart(n))).collect();
    let cka = |i: usize, j: usize| 0.8f64.powi(i.abs_diff(j) as i32);
    charts.push(named(
        "similarity_7",
        similarity(&SimilarityMap {
            title: "Similarity of features".into(),
            subtitle: SUBTITLE.into(),
            names: (0..7).map(|m| if m == 0 { "MFCC".into() } else { format!("Module {m}") }).collect(),
            cka: ndarray::Array2::from_shape_fn((7, 7), |(i, j)| cka(i, j)),
            rows: 2000,
        }),
    ));
    charts
}

fn bar_charts() -> Vec<Named> {
    let bar = |method: &str, schedule: &str, buffers, paper: Option<&str>| MemoryBar {
        method: method.into(),
        schedule: schedule.into(),
        buffers,
        state: 0.2 * buffers,
        paper: paper.map(Into::into),
    };
    let memory_chart = memory(&MemoryBars {
        title: "Memory of a training step by method and schedule, vision".into(),
        subtitle: "a quarter of the width".into(),
        bars: vec![
            bar("Greedy InfoMax", "all modules", 1800.0, Some("~7 GB (M)")),
            bar("Greedy InfoMax", "module 1 alone", 600.0, Some("~2.5 GB (M)")),
            bar("Greedy InfoMax", "module 2 alone", 700.0, None),
            bar("CPC, trained end to end, with a long name", "end to end", 2400.0, Some("~7 GB (M)")),
            bar("Supervised", "end to end", 900.0, None),
        ],
    });
    let workload = |label: &str, limit, ours, other| WorkBars { label: label.into(), limit, ours, other };
    let speed_chart = speed(&SpeedBars {
        title: "Time of a training step".into(),
        subtitle: "2 threads".into(),
        other: "PyTorch".into(),
        works: vec![
            workload("Audio, Greedy InfoMax: step, batch 8", 0.577, 0.97, Some(2.16)),
            workload("Images, Greedy InfoMax at a quarter of the width: step, batch 16", 0.208, 0.497, Some(0.701)),
            workload("Audio, features", 0.0456, 0.179, None),
        ],
    });
    vec![named("memory_5", memory_chart), named("speed_3", speed_chart)]
}
