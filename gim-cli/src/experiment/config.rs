//! The configuration of a run: TOML, presets, and `key=value` overrides.

use std::collections::BTreeMap;
use std::ops::Range;

use gim_core::credit::CreditAssignment;
use gim_core::optim::OptimizerConfig;
use gim_core::stack::Stack;
use gim_core::{Error, Pool, Result};

use crate::experiment::dataset_record::DatasetRecord;
use crate::experiment::domain::{Domain, DomainKind, section, text};
use crate::experiment::loss_text;
use crate::experiment::place::{Place, locate};
use crate::experiment::probe_config::ProbeConfig;
use crate::experiment::ranges;
use crate::experiment::settings::nearest;
use crate::experiment::train_config::{Schedule, TrainConfig};

/// The presets by name.
pub(crate) const PRESETS: [(&str, &str); 13] = [
    ("audio-paper", include_str!("../../presets/audio-paper.toml")),
    ("audio-small", include_str!("../../presets/audio-small.toml")),
    ("audio-local", include_str!("../../presets/audio-local.toml")),
    ("audio-demo", include_str!("../../presets/audio-demo.toml")),
    ("audio-quick", include_str!("../../presets/audio-quick.toml")),
    ("audio-two-views", include_str!("../../presets/audio-two-views.toml")),
    ("vision-paper", include_str!("../../presets/vision-paper.toml")),
    ("vision-small", include_str!("../../presets/vision-small.toml")),
    ("vision-local", include_str!("../../presets/vision-local.toml")),
    ("vision-vgg32", include_str!("../../presets/vision-vgg32.toml")),
    ("vision-vgg96", include_str!("../../presets/vision-vgg96.toml")),
    ("vision-quick", include_str!("../../presets/vision-quick.toml")),
    ("vision-two-views", include_str!("../../presets/vision-two-views.toml")),
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
    /// Memory of probes, and what features they see.
    pub probe: ProbeConfig,
}

impl Config {
    /// Loads a preset or a file, with overrides.
    ///
    /// # Errors
    /// When neither exists, or a key or value is wrong.
    pub fn load(source: &str, overrides: &[String]) -> Result<Self> {
        if let Some((name, text)) = PRESETS.iter().find(|p| p.0 == source) {
            return Self::parse(name, text, overrides);
        }
        let text = std::fs::read_to_string(source).map_err(|e| {
            let names = PRESETS.map(|p| p.0);
            let near = nearest(source, names).map_or(String::new(), |n| format!("did you mean `{n}`? "));
            Error::file(
                source,
                format_args!("is neither a preset nor a readable file: {e}"),
                format_args!("{near}presets are {}", names.join(", ")),
            )
            .caused_by(e)
        })?;
        Self::of_file(source, &text, overrides)
    }

    /// The configuration that the text of the file `source` holds, with overrides. Errors know their place in it.
    ///
    /// # Errors
    /// As [`Config::parse`].
    pub(crate) fn of_file(source: &str, text: &str, overrides: &[String]) -> Result<Self> {
        Self::parse(source, text, overrides).map_err(|e| {
            // What an override sets, the file does not say.
            let of_file = |key: &str| !overrides.iter().any(|o| o.split('=').next().is_some_and(|k| k.trim() == key));
            locate(e, source, text, of_file)
        })
    }

    /// The configuration that a text holds, with overrides; messages call it `source`.
    ///
    /// # Errors
    /// When a key or value is wrong.
    pub(crate) fn parse(source: &str, text: &str, overrides: &[String]) -> Result<Self> {
        let wrong = |e: toml::de::Error| {
            let what = format_args!("is no valid configuration: {}", e.message());
            let error = Error::file(source, what, "fix the file");
            match e.span() {
                Some(span) => error.caused_by(Place::new(source, text, span)),
                None => error.caused_by(e),
            }
        };
        let mut table = table_of(text).map_err(wrong)?;
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
        let known = defaults.every_setting();
        check_keys(&table, &known, "")?;
        ranges::check_texts(kind, &table)?;
        let config = Self {
            domain: Domain::take(kind, &mut table)?,
            optimizer: section(&mut table, "optimizer")?,
            train: section(&mut table, "train")?,
            probe: section(&mut table, "probe")?,
        };
        config.check()?;
        Ok(config)
    }

    /// The configuration as TOML, every key written out. Of the losses' own settings there are those of
    /// the loss that is used.
    pub fn to_toml(&self) -> String {
        let [data, network, loss] = self.domain.sections();
        let loss = loss_text::with_own_settings(loss, self.domain.model().loss_kind().ok());
        let data = loss_text::with_full_names(data);
        let sections = [data, network, loss].into_iter().chain(self.shared_sections());
        let body: Vec<String> = sections.map(|(name, text)| format!("[{name}]\n{text}")).collect();
        format!("domain = \"{}\"\n\n{}", self.domain.kind(), body.join("\n"))
    }

    /// [`Config::to_toml`], parsed.
    pub(crate) fn to_table(&self) -> toml::Table {
        self.to_toml().parse().unwrap_or_else(|e| unreachable!("a configuration is always TOML: {e}"))
    }

    /// Whether there is the setting of an override, or a table of its name.
    pub(crate) fn knows(&self, o: &str) -> bool {
        is_in(&self.every_setting(), o)
    }

    /// Notes on overrides that have no effect.
    pub(crate) fn unused(&self, overrides: &[String]) -> Vec<String> {
        let unused = overrides.iter().filter(|o| !self.uses(o));
        unused.map(|o| format!("note: --set {o} has no effect: it is of another loss than that of loss.kind")).collect()
    }

    /// Whether an override reaches a result. The settings of losses that are not used do not.
    pub(crate) fn uses(&self, o: &str) -> bool {
        is_in(&self.to_table(), o)
    }

    /// Name and TOML of the sections that both domains have.
    fn shared_sections(&self) -> [(&'static str, String); 3] {
        [("optimizer", text(&self.optimizer)), ("train", text(&self.train)), ("probe", text(&self.probe))]
    }

    /// Every setting there is, with its value.
    pub(crate) fn every_setting(&self) -> toml::Table {
        let value = |text: String| text.parse().unwrap_or_else(|e| unreachable!("this is TOML: {e}"));
        let sections = self.domain.sections().into_iter().chain(self.shared_sections());
        sections.map(|(name, text)| (name.to_owned(), toml::Value::Table(value(text)))).collect()
    }

    /// The run's stack at its initial weights: the first `train.modules` modules of the network. `record` is
    /// what the run keeps of its dataset.
    ///
    /// # Errors
    /// When a setting cannot be used, or the network has fewer modules.
    pub(crate) fn build(&self, record: Option<&DatasetRecord>, pool: &Pool<f32>) -> Result<Stack<f32>> {
        let mut stack = self.domain.model().build(record, &self.optimizer, self.train.seed, pool)?;
        self.truncate(&mut stack)?;
        Ok(stack)
    }

    /// Removes the modules above the first `train.modules` of the whole network's stack.
    ///
    /// # Errors
    /// When the network has fewer modules.
    pub(crate) fn truncate(&self, stack: &mut Stack<f32>) -> Result<()> {
        let (n, all) = (self.train.modules, stack.modules().len());
        if n > all {
            let what = format!("is {n}, but the network has {all} modules");
            return Err(Error::config("train.modules", what, format_args!("use 1 to {all}, or 0 for all")));
        }
        if n > 0 {
            stack.truncate(n);
        }
        Ok(())
    }

    fn check(&self) -> Result<()> {
        ranges::check(self.domain.kind(), &self.every_setting())?;
        self.domain.check_views()?;
        self.domain.model().loss_kind()?;
        if self.probe.pooling > 1 && self.domain.kind() == DomainKind::Audio {
            let what = format!("is {}, but features of audio have no maps", self.probe.pooling);
            return Err(Error::config("probe.pooling", what, "use 1"));
        }
        let t = &self.train;
        if !t.checkpoint_every.is_multiple_of(t.log_every) {
            let what = format!("{} is not a multiple of log_every, {}", t.checkpoint_every, t.log_every);
            return Err(Error::config(
                "train.checkpoint_every",
                what,
                "for instance log_every = 10, checkpoint_every = 200",
            ));
        }
        t.check_schedule(!self.domain.dataset().held_out().is_none())?;
        self.check_overlap()?;
        if t.steps == 0 && t.epochs == 0 {
            return Err(Error::config("train", "steps and epochs are both 0", "set one of them"));
        }
        Ok(())
    }
}

impl Config {
    /// Refuses losses that train several modules where modules do not learn together.
    fn check_overlap(&self) -> Result<()> {
        let n = self.domain.modules_per_loss();
        let (what, remedy) = if n <= 1 {
            return Ok(());
        } else if self.domain.model().is_end_to_end() {
            ("the network is one module, with one loss", "use 1, or another network.kind")
        } else if self.domain.credit() == CreditAssignment::DirectFeedbackAlignment {
            ("direct feedback carries no error from module to module", "use 1, or another network.credit")
        } else if self.train.schedule != Schedule::Simultaneous {
            ("this schedule never brings a gradient back", "use 1, or train.schedule = \"simultaneous\"")
        } else {
            return Ok(());
        };
        Err(Error::config("network.modules_per_loss", format_args!("is {n}, but {what}"), remedy))
    }
}

/// The settings of a configuration by `section.key`.
pub(crate) fn flat(table: &toml::Table) -> BTreeMap<String, toml::Value> {
    let mut out = BTreeMap::new();
    for (section, value) in table {
        match value {
            toml::Value::Table(keys) => out.extend(flat(keys).into_iter().map(|(k, v)| (format!("{section}.{k}"), v))),
            other => drop(out.insert(section.clone(), other.clone())),
        }
    }
    out
}

/// Whether a table has the key of an override.
fn is_in(table: &toml::Table, o: &str) -> bool {
    let key = o.split('=').next().unwrap_or_default().trim();
    let mut keys = key.split('.');
    let first = keys.next().and_then(|key| table.get(key));
    keys.try_fold(first, |at, key| at.map(|value| value.get(key))).flatten().is_some()
}

/// The table of a text. Whole numbers too large for TOML become texts, which [`ranges::check_texts`] refuses.
fn table_of(text: &str) -> std::result::Result<toml::Table, toml::de::Error> {
    let mut text = text.to_owned();
    loop {
        let e = match text.parse::<toml::Table>() {
            Ok(table) => return Ok(table),
            Err(e) => e,
        };
        let number = |span: &Range<usize>| text.get(span.clone()).is_some_and(ranges::is_too_large);
        let Some(span) = e.span().filter(number) else { return Err(e) };
        text.insert(span.end, '"');
        text.insert(span.start, '"');
    }
}

/// Sets `section.key=value`, or `section.table.key=value`; the value is TOML, or a bare word.
fn set(table: &mut toml::Table, text: &str) -> Result<()> {
    let bad = || {
        Error::config(format_args!("--set {text}"), "is not section.key=value", "for instance --set optimizer.lr=1e-3")
    };
    let (path, value) = text.split_once('=').ok_or_else(bad)?;
    let (sections, key) = path.trim().rsplit_once('.').ok_or_else(bad)?;
    let value = format!("v = {}", value.trim())
        .parse::<toml::Table>()
        .ok()
        .and_then(|mut t| t.remove("v"))
        .unwrap_or_else(|| toml::Value::String(value.trim().to_owned()));
    let mut at = table;
    for section in sections.split('.') {
        at = at.entry(section).or_insert_with(|| toml::Table::new().into()).as_table_mut().ok_or_else(bad)?;
    }
    at.insert(key.to_owned(), value);
    Ok(())
}

fn check_keys(got: &toml::Table, known: &toml::Table, prefix: &str) -> Result<()> {
    for (key, value) in got {
        match (known.get(key), value) {
            (Some(toml::Value::Table(known)), toml::Value::Table(inner)) => {
                check_keys(inner, known, &format!("{prefix}{key}."))?
            }
            (Some(_), _) => {}
            (None, _) => {
                let near = nearest(key, known.keys().map(String::as_str));
                let near = near
                    .map_or(format!("known are {}", known.keys().cloned().collect::<Vec<_>>().join(", ")), |n| {
                        format!("did you mean `{prefix}{n}`?")
                    });
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
        assert_eq!(audio.loss.epsilon, 0.0, "published: the exact log-softmax");
        let paper = Config::load("vision-paper", &[]).unwrap();
        let Domain::Vision(vision) = paper.domain else { panic!("vision-paper is of images") };
        let got = (vision.network.blocks, vision.network.widths, vision.loss.prediction_steps, paper.train.epochs);
        assert_eq!(got, (vec![3, 4, 6], vec![64, 128, 256], 5, 300));
        assert_eq!(vision.loss.epsilon, 1e-11, "published");
        let exact = Config::load("vision-paper", &["loss.epsilon=0".into()]);
        assert!(exact.is_ok(), "{exact:?}");
    }

    #[test]
    fn wrong_keys_and_values_are_named() {
        let e = Config::load("audio-quick", &["optimizer.lrr=1".into()]).unwrap_err().to_string();
        assert!(e.contains("optimizer.lrr") && e.contains("`optimizer.lr`"), "{e}");
        let unused = |set: &[&str]| {
            let set: Vec<String> = set.iter().map(|s| (*s).to_owned()).collect();
            Config::load("audio-quick", &set).unwrap().unused(&set)
        };
        let notes = unused(&["train.steps=2", "loss.clapp.update=scalar"]);
        assert!(notes.len() == 1 && notes[0].contains("loss.clapp.update"), "{notes:?}");
        assert!(unused(&["loss.kind=clapp", "loss.clapp.update=scalar"]).is_empty());
        let both = Config::load("audio-quick", &["train.schedule=both".into()]).unwrap_err().to_string();
        assert!(both.contains("schedule") && both.contains("simultaneous"), "{both}");
        assert!(Config::load("audio-quick", &["train.snapshots=[1.5]".into()]).is_err());
        let held_out = |set: &[&str]| {
            let set: Vec<String> = set.iter().map(|s| (*s).to_owned()).collect();
            Config::load("vision-quick", &set).map(drop).map_err(|e| e.to_string())
        };
        assert_eq!(held_out(&["data.validate=0.2"]), Ok(()));
        assert!(held_out(&["data.validate=1.5"]).unwrap_err().contains("0 to 0.9"));
        assert!(held_out(&["data.validate=[1]"]).unwrap_err().contains("a share"));
        for schedule in ["train.schedule=pipelined", "train.schedule=async"] {
            assert_eq!(held_out(&["data.validate=0.2", "train.probe_every=5", schedule]), Ok(()));
        }
        let recorded = ["train.record=true", "train.schedule=iterative"];
        assert_eq!(held_out(&recorded), Ok(()));
        assert!(held_out(&recorded[..1]).unwrap_err().contains("train.record"));
        for measured in ["data.validate=0.2", "train.probe_every=5"] {
            assert!(held_out(&[&recorded[..], &[measured]].concat()).unwrap_err().contains("not in memory"));
        }
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
