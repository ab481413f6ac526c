//! What a run is made from: TOML, presets, and `key=value` overrides.

use std::path::{Path, PathBuf};

use gim_audio::network::{LossConfig, NetworkConfig};
use gim_core::optim::OptimizerConfig;
use gim_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// The presets by name.
pub const PRESETS: [(&str, &str); 3] = [
    ("audio-paper", include_str!("../presets/audio-paper.toml")),
    ("audio-small", include_str!("../presets/audio-small.toml")),
    ("audio-quick", include_str!("../presets/audio-quick.toml")),
];

/// Where the sound comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataConfig {
    /// Folder of the corpus; empty for `GIM_DATA`, then the embedded corpus.
    pub path: String,
    /// Samples of a crop.
    pub crop: usize,
    /// Utterances shorter than a crop: `skip` or `pad`.
    pub short: String,
    /// Split files that name absent utterances: `error` or `ignore`.
    pub missing: String,
    /// Decoded sound kept in memory, MB.
    pub cache_mb: usize,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self { path: String::new(), crop: 20_480, short: "skip".into(), missing: "error".into(), cache_mb: 512 }
    }
}

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
        }
    }
}

/// A run's whole configuration. Defaults are the paper's.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The corpus.
    pub data: DataConfig,
    /// The network.
    pub network: NetworkConfig,
    /// The loss of every module.
    pub loss: LossConfig,
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
        let text = match PRESETS.iter().find(|p| p.0 == source) {
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
            Error::file(source, format_args!("is no valid configuration: {e}"), "mend the file")
        };
        let mut table: toml::Table = text.parse().map_err(|e| wrong(&e))?;
        let known = toml::Table::try_from(Self::default()).map_err(|e| wrong(&e))?;
        for o in overrides {
            set(&mut table, o)?;
        }
        check_keys(&table, &known, "")?;
        let config: Self = table.try_into().map_err(|e| Error::config(source, e, "mend the value"))?;
        config.check()?;
        Ok(config)
    }

    /// The configuration as TOML, every key written out.
    pub fn to_toml(&self) -> String {
        text(self)
    }

    /// What a checkpoint must agree with.
    pub fn fingerprint(&self) -> String {
        format!("{}{}{}", text(&self.network), text(&self.loss), text(&self.optimizer))
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
        let choices = [
            ("train.schedule", &t.schedule, ["simultaneous", "iterative"]),
            ("data.short", &self.data.short, ["skip", "pad"]),
            ("data.missing", &self.data.missing, ["error", "ignore"]),
        ];
        for (key, value, allowed) in choices {
            if !allowed.contains(&value.as_str()) {
                return Err(Error::config(
                    key,
                    format_args!("`{value}` is not known"),
                    format_args!("use {}", allowed.join(" or ")),
                ));
            }
        }
        Ok(())
    }
}

/// Any part of a configuration as TOML.
fn text(part: &impl Serialize) -> String {
    toml::to_string(part).unwrap_or_else(|e| unreachable!("a configuration is always TOML: {e}"))
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

/// The corpus folder: as configured, else `GIM_DATA`, else the embedded one.
///
/// # Errors
/// When none of them exists.
pub fn corpus_folder(config: &DataConfig) -> Result<PathBuf> {
    if !config.path.is_empty() {
        return Ok(PathBuf::from(&config.path));
    }
    if let Some(folder) = std::env::var_os("GIM_DATA") {
        let folder = PathBuf::from(folder);
        let speech = folder.join("speech");
        return Ok(if speech.is_dir() { speech } else { folder });
    }
    let embedded =
        [Path::new("data/speech-mini").to_owned(), Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/speech-mini")];
    embedded.into_iter().find(|p| p.is_dir()).ok_or_else(|| {
        Error::config("data.path", "no corpus is given and the embedded one is not here", "set data.path or GIM_DATA")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_load_and_the_paper_is_the_default() {
        for (name, _) in PRESETS {
            let config = Config::load(name, &[]).unwrap();
            let again: Config = toml::from_str(&config.to_toml()).unwrap();
            assert_eq!(config, again);
        }
        let paper = Config::load("audio-paper", &[]).unwrap();
        assert_eq!(
            (paper.network.width, paper.network.context, paper.loss.ahead, paper.train.epochs),
            (512, 256, 12, 1000)
        );
    }

    #[test]
    fn wrong_keys_and_values_are_named() {
        let e = Config::load("audio-quick", &["optimizer.lrr=1".into()]).unwrap_err().to_string();
        assert!(e.contains("optimizer.lrr") && e.contains("`optimizer.lr`"), "{e}");
        assert!(Config::load("audio-quick", &["train.schedule=both".into()]).is_err());
        assert!(Config::load("nowhere.toml", &[]).unwrap_err().to_string().contains("audio-small"));
        let c = Config::load("audio-quick", &["loss.sampler=others".into(), "network.kernels=[10,8]".into()]).unwrap();
        assert_eq!((c.loss.sampler.as_str(), c.network.kernels.len()), ("others", 2));
    }
}
