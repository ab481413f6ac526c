//! Which settings decide a result: what a checkpoint carries, and what a resumed run is compared with.

use std::collections::BTreeMap;

use gim_core::optim::Decay;

use crate::experiment::config::{Config, flat};
use crate::experiment::domain::text;
use crate::experiment::held_out::HeldOut;

/// Settings that may change when a run is resumed: they decide no weight. The dataset is known by its
/// digest, not by its path.
const MAY_CHANGE: [&str; 28] = [
    "data.path",
    // The run's record of its dataset knows files, splits and labels.
    "data.manifest",
    "data.labels",
    "data.train_split",
    "data.test_split",
    "data.phone_labels",
    "data.phones",
    "data.cache_mb",
    "probe.by_module",
    "probe.concatenate",
    "probe.memory_mb",
    "probe.pooling",
    "train.groups",
    "train.link_depth",
    "train.log_every",
    "train.checkpoint_every",
    "train.checkpoint_minutes",
    "train.keep_record",
    "train.probe_every",
    // What a record holds decides; that there is one does not.
    "train.record",
    "train.record_zstd",
    "train.replicas",
    "train.snapshots",
    "train.stall_seconds",
    "train.tensorboard",
    // Which batches modules have taken asynchronously is in the run's order.csv.
    "train.order",
    "train.slow",
    "train.validate_every",
];
/// The length of training may change, too, unless step sizes or turns of modules follow from it.
const LENGTH: [&str; 2] = ["train.steps", "train.epochs"];

/// Whether a setting, given as `section.key`, may change when a run is resumed.
pub(crate) fn may_change(key: &str) -> bool {
    MAY_CHANGE.contains(&key)
}

impl Config {
    /// Whether step sizes or turns of modules follow from the length of training, which may not change then.
    pub(crate) fn length_decides(&self) -> bool {
        self.train.iterative() || self.optimizer.decay != Decay::None
    }

    /// The settings that decide a result, as TOML: all but those that may change on resuming. A
    /// checkpoint carries them.
    pub fn fingerprint(&self) -> String {
        let same = Self { train: self.train.deciding(), ..self.clone() };
        let mut table = same.to_table();
        let length: &[&str] = if self.length_decides() { &[] } else { &LENGTH };
        for key in MAY_CHANGE.iter().chain(length) {
            if let Some((section, key)) = key.split_once('.')
                && let Some(section) = table.get_mut(section).and_then(toml::Value::as_table_mut)
            {
                section.remove(key);
            }
        }
        self.leave_out_newer(&mut table);
        // Fingerprints of older versions have no sections that decide nothing.
        table.retain(|_, section| section.as_table().is_none_or(|keys| !keys.is_empty()));
        // The run's record of its dataset knows the items.
        if let HeldOut::List(_) = self.domain.dataset().held_out()
            && let Some(data) = table.get_mut("data").and_then(toml::Value::as_table_mut)
        {
            data.insert("validate".into(), "a list".into());
        }
        text(&table)
    }
}

/// Settings, by section, that decide nothing at their defaults. Fingerprints of older versions have none of them.
const NEWER: [(&str, &[&str]); 2] = [("data", &["views", "augment"]), ("network", &["credit", "modules_per_loss"])];
/// The same of losses of pairs.
const COMPARE: &str = "compare";

impl Config {
    /// Removes newer settings that are at their defaults.
    fn leave_out_newer(&self, table: &mut toml::Table) {
        let defaults = Self { domain: self.domain.kind().into(), ..Self::default() }.every_setting();
        let default = |section: &str, key: &str| defaults.get(section).and_then(|s| s.get(key)).cloned();
        for (name, newer) in NEWER {
            if let Some(section) = table.get_mut(name).and_then(toml::Value::as_table_mut) {
                section.retain(|key, value| !newer.contains(&key) || default(name, key).as_ref() != Some(&*value));
            }
        }
        if let Some(loss) = table.get_mut("loss").and_then(toml::Value::as_table_mut) {
            for (kind, own) in loss.iter_mut() {
                if let Some(own) = own.as_table_mut()
                    && let Some(default) = default("loss", kind).as_ref().and_then(|d| d.get(COMPARE))
                    && own.get(COMPARE) == Some(default)
                {
                    own.remove(COMPARE);
                }
            }
        }
    }
}

/// The first setting in which two fingerprints differ, with both values; `None` when they agree.
pub(crate) fn difference(saved: &str, now: &str) -> Option<String> {
    if saved == now {
        return None;
    }
    let (Ok(saved), Ok(now)) = (saved.parse::<toml::Table>(), now.parse::<toml::Table>()) else {
        return Some("another version of the program wrote it".into());
    };
    let (saved, now) = (flat(&saved), flat(&now));
    let differs = |key: &&String| saved.get(*key) != now.get(*key);
    // The domain decides what other settings there are; a setting that only one of them has follows
    // from one that both have.
    let in_both = |key: &&String| saved.contains_key(*key) && now.contains_key(*key);
    let domain = now.keys().filter(|key| *key == "domain");
    let key = domain.chain(now.keys().filter(in_both)).chain(now.keys()).chain(saved.keys()).find(differs)?;
    let value = |t: &BTreeMap<String, toml::Value>| t.get(key).map_or("absent".into(), toml::Value::to_string);
    Some(format!("{key} was {}, now it is {}", value(&saved), value(&now)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_names_the_setting_that_differs() {
        let of = |set: &[&str]| {
            let set: Vec<String> = set.iter().map(|s| (*s).to_owned()).collect();
            Config::load("audio-quick", &set).unwrap().fingerprint()
        };
        let as_it_was = of(&[]);
        for set in [
            "train.steps=7",
            "train.log_every=1",
            "train.checkpoint_every=100",
            "train.snapshots=[]",
            "train.validate_every=7",
            "train.probe_every=7",
            "train.tensorboard=true",
            "train.replicas=2",
            "train.replicas=[1,2]",
            "data.validate=0",
            "data.path=elsewhere",
            "data.cache_mb=1",
            "probe.memory_mb=1",
            "probe.concatenate=true",
            "probe.by_module=true",
            "train.record_epochs=3",
            "train.record_type=float16",
        ] {
            assert_eq!(difference(&as_it_was, &of(&[set])), None, "{set}");
        }
        for (set, key) in [
            ("train.seed=2", "train.seed was 1, now it is 2"),
            ("train.batch=3", "train.batch"),
            ("train.low_memory=true", "train.low_memory"),
            ("train.schedule=iterative", "train.schedule"),
            ("data.crop=5120", "data.crop"),
            ("data.short=pad", "data.short"),
            ("data.validate=0.2", "data.validate was 0.0, now it is 0.2"),
            ("data.validate=some.txt", "data.validate was 0.0, now it is \"a list\""),
            ("loss.window=64", "loss.window"),
            ("optimizer.lr=0.5", "optimizer.lr"),
            ("optimizer.decay=cosine", "optimizer.decay"),
        ] {
            let what = difference(&as_it_was, &of(&[set])).unwrap();
            assert!(what.contains(key), "{set}: {what}");
        }
        let iterative = "train.schedule=iterative";
        let unrecorded = of(&[iterative]);
        for same in ["train.record_zstd=3", "train.keep_record=true", "train.record_type=float32"] {
            assert_eq!(of(&[iterative, "train.record=true", same]), unrecorded, "{same}");
        }
        for (set, key) in [("train.record_epochs=2", "train.record_epochs"), ("train.record_type=float16", "float16")] {
            let what = difference(&unrecorded, &of(&[iterative, "train.record=true", set])).unwrap();
            assert!(what.contains(key), "{set}: {what}");
        }
        assert!(!as_it_was.contains("credit") && !as_it_was.contains("modules_per_loss"));
        for set in ["network.credit=feedback-alignment", "network.modules_per_loss=2"] {
            assert!(difference(&as_it_was, &of(&[set])).unwrap().contains("was absent"), "{set}");
        }
        let pairs = of(&["loss.kind=nt-xent"]);
        assert!(!pairs.contains("compare") && !as_it_was.contains("views") && !as_it_was.contains("augment"));
        for (set, key) in [
            (&["data.views=2"][..], "data.views was absent, now it is 2"),
            (&["data.augment.gain=3"], "data.augment"),
            (&["data.views=2", "loss.nt-xent.compare=views"], "compare was absent, now it is \"views\""),
        ] {
            let what = difference(&pairs, &of(&[&["loss.kind=nt-xent"][..], set].concat())).unwrap();
            assert!(what.contains(key) || what.contains("data.views"), "{set:?}: {what}");
        }
        for counts in ["train.schedule=iterative", "optimizer.decay=cosine"] {
            let what = difference(&of(&[counts]), &of(&[counts, "train.steps=7"])).unwrap();
            assert!(what.contains("train.steps"), "{counts}: {what}");
        }
        let images = Config::load("vision-quick", &[]).unwrap().fingerprint();
        assert!(difference(&as_it_was, &images).is_some_and(|d| d.contains("vision")));
        assert!(difference("lr = 1\nlr = 2\n", &as_it_was).unwrap().contains("another version"));
    }
}
