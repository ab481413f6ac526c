//! What a run is made from: TOML, presets, and `key=value` overrides.

use std::path::Path;

use gim_core::kernels::memory::give_large_buffers_back;
use gim_core::optim::OptimizerConfig;
use gim_core::{Error, Pool, Result};
use serde::{Deserialize, Serialize};

use crate::experiment::domain::{AudioConfig, Domain, VisionConfig, section, text};

/// The presets by name.
pub const PRESETS: [(&str, &str); 6] = [
    ("audio-paper", include_str!("../../presets/audio-paper.toml")),
    ("audio-small", include_str!("../../presets/audio-small.toml")),
    ("audio-quick", include_str!("../../presets/audio-quick.toml")),
    ("vision-paper", include_str!("../../presets/vision-paper.toml")),
    ("vision-small", include_str!("../../presets/vision-small.toml")),
    ("vision-quick", include_str!("../../presets/vision-quick.toml")),
];

/// How long and in which order modules learn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// Crops of a step.
    pub batch: usize,
    /// Steps (of each module, when iterative); 0 to count epochs instead.
    pub steps: u64,
    /// Epochs, when `steps` is 0.
    pub epochs: u64,
    /// `simultaneous` or `iterative`.
    pub schedule: String,
    /// Seed of all randomness.
    pub seed: u64,
    /// Steps averaged in a row of train.csv.
    pub log_every: u64,
    /// Steps between checkpoints; a multiple of `log_every`.
    pub checkpoint_every: u64,
    /// Shares of all steps after which weights are kept for good, for figures of what training does; each is rounded to a row of
    /// train.csv.
    pub snapshots: Vec<f64>,
    /// Whether less memory is worth a longer step (pictures: little more than half of the memory, a tenth more time):
    /// little more is held than is in use, and outputs are computed once more instead of kept. Results may differ in their
    /// last bits.
    pub low_memory: bool,
}

impl TrainConfig {
    /// Whether modules learn one after the other.
    pub fn iterative(&self) -> bool {
        self.schedule == "iterative"
    }

    /// An empty pool for a stack and its batches.
    pub fn pool(&self) -> Pool<f32> {
        if self.low_memory {
            give_large_buffers_back();
            Pool::sparing()
        } else {
            Pool::new()
        }
    }

    /// Steps after which weights are kept for good, of `total` steps.
    pub fn snapshots(&self, total: u64) -> Vec<u64> {
        let row = |share: &f64| (share * total as f64 / self.log_every as f64).round().max(1.0) as u64 * self.log_every;
        let mut steps: Vec<u64> = self.snapshots.iter().map(row).filter(|step| *step < total).collect();
        steps.sort_unstable();
        steps.dedup();
        steps
    }

    /// Steps that each module learns for; `epoch_len` is asked for only when epochs are counted.
    ///
    /// # Errors
    /// When the length of an epoch cannot be told.
    pub fn steps_each(&self, epoch_len: impl FnOnce() -> Result<u64>) -> Result<u64> {
        if self.steps > 0 { Ok(self.steps) } else { Ok(self.epochs * epoch_len()?) }
    }
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            batch: 8,
            steps: 0,
            epochs: 1,
            schedule: "simultaneous".into(),
            seed: 1,
            log_every: 10,
            checkpoint_every: 200,
            snapshots: vec![0.03, 0.2],
            low_memory: false,
        }
    }
}

/// A run's whole configuration. Defaults are the paper's.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Config {
    /// Corpus, network and loss, which differ between sound and pictures.
    pub domain: Domain,
    /// The optimiser of every module.
    pub optimizer: OptimizerConfig,
    /// The schedule.
    pub train: TrainConfig,
}

impl Config {
    /// A preset or a file, with overrides.
    ///
    /// # Errors
    /// When neither exists, or a key or value is wrong.
    pub fn load(source: &str, overrides: &[String]) -> Result<Self> {
        let source_text = match PRESETS.iter().find(|p| p.0 == source) {
            Some(preset) => preset.1.to_owned(),
            None => std::fs::read_to_string(source).map_err(|e| {
                let names: Vec<_> = PRESETS.iter().map(|p| p.0).collect();
                Error::file(
                    source,
                    format_args!("is neither a preset nor a readable file: {e}"),
                    format_args!("presets are {}", names.join(", ")),
                )
            })?,
        };
        let wrong = |e: &dyn std::fmt::Display| {
            // The parser's message shows the place, over several lines.
            let what = e.to_string().trim_end().replace('\n', " ");
            Error::file(source, format_args!("is no valid configuration: {what}"), "mend the file")
        };
        let mut table: toml::Table = source_text.parse().map_err(|e| wrong(&e))?;
        for o in overrides {
            set(&mut table, o)?;
        }
        let name = match table.remove("domain") {
            None => "audio".to_owned(),
            Some(toml::Value::String(name)) => name,
            Some(other) => {
                return Err(Error::config("domain", format_args!("{other} is no name"), "use audio or vision"));
            }
        };
        let defaults = Self { domain: Domain::named(&name)?, ..Self::default() };
        let known = defaults.to_toml().parse().map_err(|e| wrong(&e))?;
        check_keys(&table, &known, "")?;
        let domain = match defaults.domain {
            Domain::Audio(_) => Domain::Audio(AudioConfig::take(&mut table)?),
            Domain::Vision(_) => Domain::Vision(VisionConfig::take(&mut table)?),
        };
        let config =
            Self { domain, optimizer: section(&mut table, "optimizer")?, train: section(&mut table, "train")? };
        config.check()?;
        Ok(config)
    }

    /// That of a run, from its folder.
    ///
    /// # Errors
    /// When the folder is no run, or its configuration is wrong.
    pub fn of_run(run: &Path) -> Result<Self> {
        let file = run.join("config.toml");
        if !file.is_file() {
            return Err(Error::file(
                run,
                "is not the folder of a run: it has no config.toml",
                "give the folder that gim train made",
            ));
        }
        Self::load(&file.to_string_lossy(), &[])
    }

    /// The configuration as TOML, every key written out.
    pub fn to_toml(&self) -> String {
        let experiment = self.domain.experiment();
        let [data, network, loss] = experiment.sections();
        let rest = [("optimizer", text(&self.optimizer)), ("train", text(&self.train))];
        let sections = [data, network, loss].into_iter().chain(rest);
        let body: Vec<String> = sections.map(|(name, text)| format!("[{name}]\n{text}")).collect();
        format!("domain = \"{}\"\n\n{}", experiment.name(), body.join("\n"))
    }

    /// What a checkpoint must agree with.
    pub fn fingerprint(&self) -> String {
        let [_, network, loss] = self.domain.experiment().sections();
        format!("{}{}{}", network.1, loss.1, text(&self.optimizer))
    }

    fn check(&self) -> Result<()> {
        let t = &self.train;
        if t.batch == 0
            || t.log_every == 0
            || t.checkpoint_every == 0
            || !t.checkpoint_every.is_multiple_of(t.log_every)
        {
            return Err(Error::config(
                "train",
                "batch, log_every and checkpoint_every must be above 0, and checkpoint_every a multiple of log_every",
                "for instance log_every = 10, checkpoint_every = 200",
            ));
        }
        if t.steps == 0 && t.epochs == 0 {
            return Err(Error::config("train", "steps and epochs are both 0", "give either"));
        }
        if let Some(share) = t.snapshots.iter().find(|share| !(**share > 0.0 && **share < 1.0)) {
            let what = format!("{share} is no share of the steps");
            return Err(Error::config("train.snapshots", what, "use numbers between 0 and 1, or none: []"));
        }
        if !["simultaneous", "iterative"].contains(&t.schedule.as_str()) {
            let what = format!("`{}` is not known", t.schedule);
            return Err(Error::config("train.schedule", what, "use simultaneous or iterative"));
        }
        Ok(())
    }
}

/// `section.key=value`; the value is TOML, or a bare word.
fn set(table: &mut toml::Table, text: &str) -> Result<()> {
    let bad = || {
        Error::config(format_args!("--set {text}"), "is not section.key=value", "for instance --set optimizer.lr=1e-3")
    };
    let (path, value) = text.split_once('=').ok_or_else(bad)?;
    let (section, key) = path.trim().split_once('.').ok_or_else(bad)?;
    let value = format!("v = {}", value.trim())
        .parse::<toml::Table>()
        .ok()
        .and_then(|mut t| t.remove("v"))
        .unwrap_or_else(|| toml::Value::String(value.trim().to_owned()));
    let section = table.entry(section).or_insert_with(|| toml::Table::new().into());
    section.as_table_mut().ok_or_else(bad)?.insert(key.to_owned(), value);
    Ok(())
}

fn check_keys(got: &toml::Table, known: &toml::Table, prefix: &str) -> Result<()> {
    for (key, value) in got {
        match (known.get(key), value) {
            (Some(toml::Value::Table(known)), toml::Value::Table(inner)) => {
                check_keys(inner, known, &format!("{key}."))?
            }
            (Some(_), _) => {}
            (None, _) => {
                let near =
                    known.keys().max_by(|a, b| strsim::jaro_winkler(a, key).total_cmp(&strsim::jaro_winkler(b, key)));
                let near = near.map_or(String::new(), |n| format!("did you mean `{prefix}{n}`?"));
                return Err(Error::config(format_args!("{prefix}{key}"), "there is no such key", near));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_load_and_the_paper_is_the_default() {
        for (name, _) in PRESETS {
            let config = Config::load(name, &[]).unwrap();
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("config.toml");
            std::fs::write(&file, config.to_toml()).unwrap();
            assert_eq!(config, Config::load(&file.to_string_lossy(), &[]).unwrap(), "{name}");
        }
        let paper = Config::load("audio-paper", &[]).unwrap();
        let Domain::Audio(audio) = paper.domain else { panic!("audio-paper is of sound") };
        let got = (audio.network.width, audio.network.context, audio.loss.ahead, paper.train.epochs);
        assert_eq!(got, (512, 256, 12, 1000));
        let paper = Config::load("vision-paper", &[]).unwrap();
        let Domain::Vision(vision) = paper.domain else { panic!("vision-paper is of pictures") };
        let got = (vision.network.blocks, vision.network.widths, vision.loss.ahead, paper.train.epochs);
        assert_eq!(got, (vec![3, 4, 6], vec![64, 128, 256], 5, 300));
    }

    #[test]
    fn snapshots_are_rows_of_the_log_before_the_end() {
        let train = TrainConfig { snapshots: vec![0.2, 0.001, 0.21, 0.99], log_every: 10, ..TrainConfig::default() };
        assert_eq!(train.snapshots(1000), [10, 200, 210, 990]);
        assert_eq!(train.snapshots(100), [10, 20]);
        assert_eq!(train.snapshots(5), [0; 0]);
        assert!(Config::load("audio-quick", &["train.snapshots=[1.5]".into()]).is_err());
    }

    #[test]
    fn wrong_keys_and_values_are_named() {
        let e = Config::load("audio-quick", &["optimizer.lrr=1".into()]).unwrap_err().to_string();
        assert!(e.contains("optimizer.lrr") && e.contains("`optimizer.lr`"), "{e}");
        assert!(Config::load("audio-quick", &["train.schedule=both".into()]).is_err());
        assert!(Config::load("nowhere.toml", &[]).unwrap_err().to_string().contains("audio-small"));
        let c = Config::load("audio-quick", &["loss.sampler=others".into(), "network.kernels=[10,8]".into()]).unwrap();
        let Domain::Audio(audio) = c.domain else { panic!("audio-quick is of sound") };
        assert_eq!((audio.loss.sampler.as_str(), audio.network.kernels.len()), ("others", 2));
        assert!(Config::load("vision-quick", &["loss.window=1".into()]).is_err());
        assert!(Config::load("audio-quick", &["data.short=both".into()]).is_err());
    }
}
