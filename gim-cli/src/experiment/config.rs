//! The configuration of a run: TOML, presets, and `key=value` overrides.

use gim_core::optim::OptimizerConfig;
use gim_core::{Error, Result};

use crate::experiment::domain::{Domain, DomainKind, section, text};
use crate::experiment::train_config::TrainConfig;

/// The presets by name.
pub(crate) const PRESETS: [(&str, &str); 6] = [
    ("audio-paper", include_str!("../../presets/audio-paper.toml")),
    ("audio-small", include_str!("../../presets/audio-small.toml")),
    ("audio-quick", include_str!("../../presets/audio-quick.toml")),
    ("vision-paper", include_str!("../../presets/vision-paper.toml")),
    ("vision-small", include_str!("../../presets/vision-small.toml")),
    ("vision-quick", include_str!("../../presets/vision-quick.toml")),
];

/// A run's whole configuration. Defaults are the paper's.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Config {
    /// Dataset, network and loss, which differ between audio and images.
    pub domain: Domain,
    /// The optimizer of every module.
    pub optimizer: OptimizerConfig,
    /// Length and schedule of training.
    pub train: TrainConfig,
}

impl Config {
    /// Loads a preset or a file, with overrides.
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
                .caused_by(e)
            })?,
        };
        let wrong = |e: toml::de::Error| {
            // The parser's message shows the place, over several lines.
            let what = e.to_string().trim_end().replace('\n', " ");
            Error::file(source, format_args!("is no valid configuration: {what}"), "fix the file").caused_by(e)
        };
        let mut table: toml::Table = source_text.parse().map_err(wrong)?;
        for o in overrides {
            set(&mut table, o)?;
        }
        let kind = match table.remove("domain") {
            None => DomainKind::default(),
            Some(value) => value.clone().try_into().map_err(|_| {
                let [audio, vision] = DomainKind::ALL;
                Error::config("domain", format_args!("unknown domain {value}"), format_args!("use {audio} or {vision}"))
            })?,
        };
        let defaults = Self { domain: kind.into(), ..Self::default() };
        let known = defaults.to_toml().parse().map_err(wrong)?;
        check_keys(&table, &known, "")?;
        let config = Self {
            domain: Domain::take(kind, &mut table)?,
            optimizer: section(&mut table, "optimizer")?,
            train: section(&mut table, "train")?,
        };
        config.check()?;
        Ok(config)
    }

    /// The configuration as TOML, every key written out.
    pub fn to_toml(&self) -> String {
        let [data, network, loss] = self.domain.sections();
        let rest = [("optimizer", text(&self.optimizer)), ("train", text(&self.train))];
        let sections = [data, network, loss].into_iter().chain(rest);
        let body: Vec<String> = sections.map(|(name, text)| format!("[{name}]\n{text}")).collect();
        format!("domain = \"{}\"\n\n{}", self.domain.kind(), body.join("\n"))
    }

    /// The settings that a checkpoint must have been made with.
    pub fn fingerprint(&self) -> String {
        let [_, network, loss] = self.domain.sections();
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
            return Err(Error::config("train", "steps and epochs are both 0", "set one of them"));
        }
        if let Some(factor) = t.slow.iter().find(|factor| !(**factor >= 1.0 && **factor <= 1000.0)) {
            let what = format!("{factor} is not a factor from 1 to 1000");
            return Err(Error::config("train.slow", what, "1 leaves a module as it is; use an empty list for all"));
        }
        if t.link_depth == 0 {
            return Err(Error::config("train.link_depth", "is 0", "use 1 or more"));
        }
        if let Some(share) = t.snapshots.iter().find(|share| !(**share > 0.0 && **share < 1.0)) {
            let what = format!("{share} is not a share of the steps");
            return Err(Error::config("train.snapshots", what, "use values between 0 and 1, or an empty list"));
        }
        Ok(())
    }
}

/// Sets `section.key=value`; the value is TOML, or a bare word.
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
                return Err(Error::config(format_args!("{prefix}{key}"), "unknown key", near));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use gim_core::sampler::SamplerKind;

    use super::*;
    use crate::experiment::train_config::Groups;

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
        let Domain::Audio(audio) = paper.domain else { panic!("audio-paper is of audio") };
        let got = (audio.network.width, audio.network.context, audio.loss.prediction_steps, paper.train.epochs);
        assert_eq!(got, (512, 256, 12, 1000));
        let paper = Config::load("vision-paper", &[]).unwrap();
        let Domain::Vision(vision) = paper.domain else { panic!("vision-paper is of images") };
        let got = (vision.network.blocks, vision.network.widths, vision.loss.prediction_steps, paper.train.epochs);
        assert_eq!(got, (vec![3, 4, 6], vec![64, 128, 256], 5, 300));
    }

    #[test]
    fn wrong_keys_and_values_are_named() {
        let e = Config::load("audio-quick", &["optimizer.lrr=1".into()]).unwrap_err().to_string();
        assert!(e.contains("optimizer.lrr") && e.contains("`optimizer.lr`"), "{e}");
        let both = Config::load("audio-quick", &["train.schedule=both".into()]).unwrap_err().to_string();
        assert!(both.contains("schedule") && both.contains("simultaneous"), "{both}");
        assert!(Config::load("audio-quick", &["train.snapshots=[1.5]".into()]).is_err());
        assert!(Config::load("audio-quick", &["train.link_depth=0".into()]).is_err());
        assert!(Config::load("audio-quick", &["train.slow=[1.0, 0.5]".into()]).is_err());
        let groups = |value: &str| Config::load("audio-quick", &[format!("train.groups={value}")]);
        assert_eq!(groups("[[1,2],[3]]").unwrap().train.groups, Groups::Lists(vec![vec![1, 2], vec![3]]));
        assert_eq!(groups("auto").unwrap(), Config::load("audio-quick", &[]).unwrap());
        let e = groups("even").unwrap_err().to_string();
        assert!(e.contains("auto") && e.contains("[[1, 2], [3]]"), "{e}");
        assert!(Config::load("nowhere.toml", &[]).unwrap_err().to_string().contains("audio-small"));
        let c =
            Config::load("audio-quick", &["loss.sampler=others".into(), "network.kernel_sizes=[10,8]".into()]).unwrap();
        let Domain::Audio(audio) = c.domain else { panic!("audio-quick is of audio") };
        assert_eq!((audio.loss.sampler, audio.network.kernel_sizes.len()), (SamplerKind::Others, 2));
        assert!(Config::load("vision-quick", &["loss.window=1".into()]).is_err());
        assert!(Config::load("audio-quick", &["data.short=both".into()]).is_err());
    }
}
