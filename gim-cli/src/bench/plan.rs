//! The list of measurements, in order.

use self::Section::{Chunks, Features, Growth, Probe, Scaling, Small, Step};
use crate::experiment::domain::DomainKind::{self, Audio, Vision};

/// Another program that runs the same workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Other {
    /// PyTorch.
    PyTorch,
    /// Scikit-learn.
    ScikitLearn,
}

impl Other {
    /// Name in tables.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::PyTorch => "PyTorch",
            Self::ScikitLearn => "scikit-learn",
        }
    }
}

/// What a measurement is for. Sections are tables of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    /// A training step at the paper's size.
    Step,
    /// Features at the paper's size.
    Features,
    /// A training step at a quarter of the width.
    Small,
    /// Linear probes.
    Probe,
    /// One thread against all.
    Scaling,
    /// A size that varies.
    Growth,
    /// Parallel loops of a step.
    Chunks,
}

impl Section {
    /// Sections that compare with PyTorch and the limit.
    pub(super) const COMPARED: [Self; 3] = [Self::Step, Self::Features, Self::Small];

    /// First part of a measurement's name.
    fn name(self) -> &'static str {
        match self {
            Self::Step => "step",
            Self::Features => "features",
            Self::Small => "small",
            Self::Probe => "probe",
            Self::Scaling => "scaling",
            Self::Growth => "growth",
            Self::Chunks => "chunks",
        }
    }
}

/// A measurement.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) section: Section,
    /// The workload, then the value that varies. Items of one name repeat a measurement.
    pub(super) workload: String,
    /// Description of the workload.
    pub(super) title: String,
    /// Arguments for `gim`.
    pub(super) gim: Vec<String>,
    /// Number of threads; `None` for all.
    pub(super) threads: Option<usize>,
    /// The other program, and its arguments.
    pub(super) other: Option<(Other, Vec<String>)>,
    /// The size that varies.
    pub(super) x: Option<f64>,
}

impl Item {
    /// `section/workload`.
    pub(super) fn name(&self) -> String {
        format!("{}/{}", self.section.name(), self.workload)
    }
}

/// A size that varies, and its expected effect.
pub(super) struct Axis {
    /// Workload of the items, before the size.
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    /// Expected exponents of time and memory, with reasons.
    pub(super) expected: [&'static str; 2],
    /// Domain of the network.
    domain: DomainKind,
    points: Points,
}

/// Sizes and the settings that give them.
type Points = &'static [(f64, &'static [&'static str])];

const BATCHES: Points =
    &[(2.0, &["train.batch=2"]), (4.0, &["train.batch=4"]), (8.0, &["train.batch=8"]), (16.0, &["train.batch=16"])];

/// The axes of the growth table. Two points give a slope; four show whether the curve is straight.
pub(super) const AXES: [Axis; 7] = [
    Axis {
        name: "audio-batch",
        title: "audio: batch",
        expected: ["1", "1 or less: weights stay"],
        domain: Audio,
        points: BATCHES,
    },
    Axis {
        name: "audio-length",
        title: "audio: samples of a crop",
        expected: ["1 or less: the loss sees 128 positions", "1 or less: weights stay"],
        domain: Audio,
        points: &[
            (10_240.0, &["data.crop=10240"]),
            (20_480.0, &["data.crop=20480"]),
            (40_960.0, &["data.crop=40960"]),
            (81_920.0, &["data.crop=81920"]),
        ],
    },
    Axis {
        name: "audio-width",
        title: "audio: channels",
        expected: ["2 or less: matrix products", "1 (activations) to 2 (weights)"],
        domain: Audio,
        points: &[
            (64.0, &["network.width=64", "network.context=32"]),
            (128.0, &["network.width=128", "network.context=64"]),
            (256.0, &["network.width=256", "network.context=128"]),
            (512.0, &["network.width=512", "network.context=256"]),
        ],
    },
    Axis {
        name: "audio-negatives",
        title: "audio: negatives",
        expected: ["1 or less: only the loss sees them", "about 0"],
        domain: Audio,
        points: &[
            (5.0, &["loss.negatives=5"]),
            (10.0, &["loss.negatives=10"]),
            (20.0, &["loss.negatives=20"]),
            (40.0, &["loss.negatives=40"]),
        ],
    },
    Axis {
        name: "audio-modules",
        title: "audio: modules (convolutions, then the GRU)",
        expected: ["1 or less: upper modules see fewer positions", "1 or less: the same"],
        domain: Audio,
        points: &[
            (3.0, &["network.kernel_sizes=[10,8]", "network.strides=[5,4]", "network.paddings=[2,2]"]),
            (4.0, &["network.kernel_sizes=[10,8,4]", "network.strides=[5,4,2]", "network.paddings=[2,2,2]"]),
            (5.0, &["network.kernel_sizes=[10,8,4,4]", "network.strides=[5,4,2,2]", "network.paddings=[2,2,2,2]"]),
            (
                6.0,
                &["network.kernel_sizes=[10,8,4,4,4]", "network.strides=[5,4,2,2,2]", "network.paddings=[2,2,2,2,1]"],
            ),
        ],
    },
    Axis {
        name: "vision-batch",
        title: "images: batch",
        expected: ["1", "1 or less: weights stay"],
        domain: Vision,
        points: BATCHES,
    },
    Axis {
        name: "vision-modules",
        title: "images: the same 13 blocks, cut into modules",
        expected: ["about 0: one more module adds one more loss", "below 0: modules train in turn"],
        domain: Vision,
        points: &[
            (1.0, &["train.batch=4", "network.cuts=[13]"]),
            (3.0, &["train.batch=4", "network.cuts=[3,7,13]"]),
            (7.0, &["train.batch=4", "network.cuts=[1,3,5,7,9,11,13]"]),
            (13.0, &["train.batch=4", "network.cuts=[1,2,3,4,5,6,7,8,9,10,11,12,13]"]),
        ],
    },
];

/// Sizes of the workloads.
struct Sizes {
    quick: bool,
    threads: usize,
}

impl Sizes {
    /// Batch size.
    fn batch(&self, domain: DomainKind) -> usize {
        match (self.quick, domain) {
            (true, _) => 2,
            (false, Audio) => 8,
            (false, _) => 16,
        }
    }

    /// Steps to time: at the paper's size, or a few more of a small network.
    fn steps(&self, domain: DomainKind, small: bool) -> usize {
        match (self.quick, domain, small) {
            (true, ..) => 1,
            (false, Vision, false) => 2,
            (false, _, false) => 4,
            (false, ..) => 5,
        }
    }

    /// `gim estimate` of a network whose widths are `scale` times the paper's.
    fn estimate(&self, domain: DomainKind, scale: f64, steps: usize, more: &[&str]) -> Vec<String> {
        let mut args = vec!["estimate".to_owned(), format!("{domain}-paper"), "--json".into()];
        args.extend(["--steps".into(), steps.to_string()]);
        // Rounded like in the PyTorch script, and never below 8.
        let width = |paper: usize| ((paper as f64 * scale) as usize).max(8);
        let mut set = vec![format!("train.batch={}", self.batch(domain))];
        if scale != 1.0 && domain == Audio {
            set.extend([format!("network.width={}", width(512)), format!("network.context={}", width(256))]);
        } else if scale != 1.0 {
            set.push(format!("network.widths=[{},{},{}]", width(64), width(128), width(256)));
        }
        for (key, value) in more.iter().filter_map(|m| m.split_once('=')) {
            // A later setting replaces an earlier one.
            set.retain(|s| s.split_once('=').is_none_or(|(k, _)| k != key));
            set.push(format!("{key}={value}"));
        }
        args.extend(set.into_iter().flat_map(|s| ["--set".to_owned(), s]));
        args
    }

    /// The same for PyTorch, in its fastest variant.
    fn pytorch(&self, domain: DomainKind, scale: f64, steps: usize, more: &[&str]) -> (Other, Vec<String>) {
        let mut args = vec![domain.to_string()];
        args.extend((domain == Vision).then(|| "--channels-last".into()));
        args.push("--compile".into());
        let counts = [("--batch", self.batch(domain)), ("--threads", self.threads), ("--steps", steps)];
        args.extend(counts.into_iter().flat_map(|(name, value)| [name.to_owned(), value.to_string()]));
        if scale != 1.0 {
            args.extend(["--scale".into(), scale.to_string()]);
        }
        args.extend(more.iter().map(|m| (*m).to_owned()));
        (Other::PyTorch, args)
    }

    /// A step, or feature extraction, compared with PyTorch.
    fn beside(
        &self,
        section: Section,
        workload: &str,
        title: &str,
        domain: DomainKind,
        scale: f64,
        gim: &[&str],
        pytorch: &[&str],
    ) -> Item {
        let steps = self.steps(domain, scale != 1.0);
        let (flags, settings): (Vec<&str>, Vec<&str>) = gim.iter().partition(|a| a.starts_with("--"));
        let mut args = self.estimate(domain, scale, steps, &settings);
        args.extend(flags.into_iter().map(str::to_owned));
        let title = format!("{title}, batch {}", self.batch(domain));
        // PyTorch reports minimum, median and maximum: all three of three times.
        let other = self.pytorch(domain, scale, if self.quick { 1 } else { 3 }, pytorch);
        Item { section, workload: workload.into(), title, gim: args, threads: None, other: Some(other), x: None }
    }

    /// A low-memory step. PyTorch has no counterpart.
    fn low_memory(&self, section: Section, workload: &str, title: &str, domain: DomainKind, scale: f64) -> Item {
        let args = self.estimate(domain, scale, self.steps(domain, scale != 1.0), &["train.low_memory=true"]);
        self.alone(section, workload, &format!("{title}, batch {}", self.batch(domain)), args, None)
    }

    fn alone(&self, section: Section, workload: &str, title: &str, gim: Vec<String>, threads: Option<usize>) -> Item {
        Item { section, workload: workload.into(), title: title.into(), gim, threads, other: None, x: None }
    }
}

/// All items.
pub(super) fn items(quick: bool, threads: usize) -> Vec<Item> {
    let sizes = Sizes { quick, threads };
    let (paper, small) = if quick { (0.01, 0.01) } else { (1.0, 0.25) };
    let mut items = vec![
        sizes.beside(Step, "audio-gim", "Audio: GIM step", Audio, paper, &[], &[]),
        sizes.beside(Step, "audio-cpc", "Audio: CPC step", Audio, paper, &["network.kind=cpc"], &["--modules", "1"]),
        sizes.beside(Step, "vision-gim", "Images: GIM step", Vision, paper, &[], &[]),
        sizes.low_memory(Step, "audio-gim-low-memory", "Audio: GIM step, low memory", Audio, paper),
        sizes.low_memory(Step, "vision-gim-low-memory", "Images: GIM step, low memory", Vision, paper),
        sizes.beside(Features, "audio", "Audio: features", Audio, paper, &["--features"], &["--forward"]),
        sizes.beside(Features, "vision", "Images: features", Vision, paper, &["--features"], &["--forward"]),
        sizes.beside(Small, "audio", "Audio at ¼ width: GIM step", Audio, small, &[], &[]),
        sizes.beside(Small, "vision", "Images at ¼ width: GIM step", Vision, small, &[], &[]),
        probe(quick, threads),
    ];
    // One thread, all, one, all: other load on the machine affects both alike.
    let scaled = [
        ("audio-paper", "Audio: GIM step", Audio, paper, 3),
        ("vision-small", "Images at ¼ width: GIM step", Vision, small, 2),
    ];
    for (name, title, domain, scale, steps) in scaled {
        let args = sizes.estimate(domain, scale, if quick { 1 } else { steps }, &[]);
        let counts = if threads > 1 { vec![1, threads, 1, threads] } else { vec![1] };
        items.extend(counts.into_iter().map(|n| Item {
            x: Some(n as f64),
            ..sizes.alone(Scaling, &format!("{name}/{n}"), title, args.clone(), Some(n))
        }));
    }
    for axis in &AXES {
        let points = if quick { &axis.points[..2] } else { axis.points };
        for (x, settings) in points {
            let args = sizes.estimate(axis.domain, small, if quick { 1 } else { 3 }, settings);
            items.push(Item {
                x: Some(*x),
                ..sizes.alone(Growth, &format!("{}/{x}", axis.name), axis.title, args, None)
            });
        }
    }
    for (name, title, domain) in
        [("audio-paper", "Audio: GIM step", Audio), ("vision-paper", "Images: GIM step", Vision)]
    {
        // Of several steps, each task counts with its shortest time.
        let steps = match (quick, domain) {
            (true, _) => 1,
            (false, Vision) => 2,
            (false, _) => 4,
        };
        let mut args = sizes.estimate(domain, paper, steps, &[]);
        args.push("--profile".into());
        let title = format!("{title}, batch {}", sizes.batch(domain));
        items.push(sizes.alone(Chunks, name, &title, args, Some(1)));
    }
    items
}

/// The probe compared with scikit-learn's. The benchmark adds the folder of the data.
fn probe(quick: bool, threads: usize) -> Item {
    let (rows, dims, classes, l2) = if quick { (90, 8, 3, "1e-2") } else { (5000, 1024, 10, "1e-3") };
    let repeats = if quick { 1 } else { 3 }.to_string();
    let sizes = [("--rows", rows), ("--dims", dims), ("--classes", classes)];
    let mut gim: Vec<String> = vec!["bench-probe".into()];
    gim.extend(sizes.into_iter().flat_map(|(name, value)| [name.to_owned(), value.to_string()]));
    let both = ["--l2".to_owned(), l2.into(), "--repeats".into(), repeats];
    gim.extend(both.clone());
    let mut other = both.to_vec();
    other.extend(["--threads".into(), threads.to_string()]);
    Item {
        section: Probe,
        workload: "converged".into(),
        title: format!("Linear probe, {rows} × {dims}, {classes} classes, λ = {l2}"),
        gim,
        threads: None,
        other: Some((Other::ScikitLearn, other)),
        x: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::config::Config;

    #[test]
    fn every_configuration_can_be_built() {
        for quick in [true, false] {
            let items = items(quick, 2);
            for item in items.iter().filter(|i| i.gim[0] == "estimate") {
                let set: Vec<String> = item.gim.windows(2).filter(|w| w[0] == "--set").map(|w| w[1].clone()).collect();
                let config = Config::load(&item.gim[1], &set).unwrap();
                let input = config.domain.model().input(config.train.batch).unwrap();
                let stack = config.domain.model().build(None, &config.optimizer, 1, &gim_core::Pool::new()).unwrap();
                stack.layouts(input).unwrap_or_else(|e| panic!("{}: {e}", item.name()));
            }
            for axis in &AXES {
                let points = items.iter().filter(|i| i.section == Growth && i.workload.starts_with(axis.name));
                assert!(points.count() >= 2, "{}", axis.name);
            }
        }
    }

    #[test]
    fn settings_of_an_axis_replace_those_of_the_size() {
        let all = items(false, 2);
        let item = all.iter().find(|i| i.name() == "growth/audio-width/64").unwrap();
        assert_eq!(
            item.gim.iter().filter(|a| a.starts_with("network.width=")).collect::<Vec<_>>(),
            ["network.width=64"]
        );
        let small = all.iter().find(|i| i.name() == "small/vision").unwrap();
        assert!(small.gim.contains(&"network.widths=[16,32,64]".to_owned()));
        assert_eq!(
            small.other.as_ref().unwrap().1.join(" "),
            "vision --channels-last --compile --batch 16 --threads 2 --steps 3 --scale 0.25"
        );
    }
}
