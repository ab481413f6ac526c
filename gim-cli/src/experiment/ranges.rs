//! The range of every setting. A value outside is an error before anything is read or allocated.

use std::num::IntErrorKind;

use gim_core::{Error, Result};
use toml::Value;

use crate::experiment::config::flat;
use crate::experiment::domain::DomainKind;
use crate::experiment::probe_config::MOST_CELLS;

/// Values that a setting may have.
#[derive(Debug, Clone, Copy)]
enum Range {
    /// Whole numbers, both ends included.
    Whole(i64, i64),
    /// A list of up to this many whole numbers.
    Wholes(usize, i64, i64),
    /// A whole number, or a list of up to this many.
    WholeOrWholes(usize, i64, i64),
    /// Numbers, both ends included.
    Real(f64, f64),
    /// Two such numbers: an interval.
    Interval(f64, f64),
    /// A number above 0, up to this.
    Positive(f64),
    /// A number from 0 up to this, or the name of a file.
    ShareOrFile(f64),
    /// A list of up to this many numbers between 0 and 1, both ends excluded.
    Shares(usize),
    /// A list of up to this many factors from 1 to 1000.
    Factors(usize),
}

use Range::{Factors, Interval, Positive, Real, ShareOrFile, Shares, Whole, WholeOrWholes, Wholes};

/// Largest β and momentum: below 1 by more than rounding.
const BELOW_ONE: f64 = 1.0 - 1e-9;
/// Layers of a projector, and their channels.
const PROJECTOR: Range = Wholes(8, 1, 16_384);
const MOST_PAIRS: i64 = 65_536;
const MOST_POSITIONS: i64 = 1 << 24;
const MOST_WEIGHT: f64 = 1e6;
const MOST_STEPS: i64 = 1_000_000_000_000;

/// Settings of both domains.
const COMMON: [(&str, Range); 68] = [
    ("data.cache_mb", Whole(0, 1 << 24)),
    ("data.validate", ShareOrFile(0.9)),
    ("data.views", Whole(1, 2)),
    ("loss.auxiliary.hidden", Whole(0, 100)),
    ("loss.auxiliary.pointwise", Whole(0, 100)),
    ("loss.autoencoder.corruption", Real(0.0, BELOW_ONE)),
    ("loss.barlow-twins.distance", Whole(1, MOST_POSITIONS)),
    ("loss.barlow-twins.pairs", Whole(2, MOST_PAIRS)),
    ("loss.barlow-twins.projector", PROJECTOR),
    ("loss.barlow-twins.redundancy", Real(0.0, MOST_WEIGHT)),
    ("loss.clapp.margin", Positive(MOST_WEIGHT)),
    ("loss.epsilon", Real(0.0, 1.0)),
    ("loss.infonce.negative_shares", Whole(1, 65_536)),
    ("loss.lpl.decorrelation", Real(0.0, MOST_WEIGHT)),
    ("loss.lpl.distance", Whole(1, MOST_POSITIONS)),
    ("loss.lpl.hebbian", Real(0.0, MOST_WEIGHT)),
    ("loss.lpl.pairs", Whole(2, MOST_PAIRS)),
    ("loss.lpl.projector", PROJECTOR),
    ("loss.nt-xent.distance", Whole(1, MOST_POSITIONS)),
    // Similarities of all pairs with all pairs.
    ("loss.nt-xent.pairs", Whole(2, 4_096)),
    ("loss.nt-xent.projector", PROJECTOR),
    ("loss.nt-xent.temperature", Positive(1_000.0)),
    ("loss.permutation-contrastive.distance", Whole(1, MOST_POSITIONS)),
    ("loss.permutation-contrastive.pairs", Whole(2, MOST_PAIRS)),
    ("loss.predsim.similarity", Real(0.0, 1.0)),
    ("loss.slow-features.decorrelation", Real(0.0, MOST_WEIGHT)),
    ("loss.slow-features.distance", Whole(1, MOST_POSITIONS)),
    ("loss.slow-features.pairs", Whole(2, MOST_PAIRS)),
    ("loss.slow-features.projector", PROJECTOR),
    // Classes: its square for images.
    ("loss.time-contrastive.segments", Whole(2, 256)),
    ("loss.vicreg.covariance", Real(0.0, MOST_WEIGHT)),
    ("loss.vicreg.distance", Whole(1, MOST_POSITIONS)),
    ("loss.vicreg.invariance", Real(0.0, MOST_WEIGHT)),
    ("loss.vicreg.pairs", Whole(2, MOST_PAIRS)),
    ("loss.vicreg.projector", PROJECTOR),
    ("loss.vicreg.variance", Real(0.0, MOST_WEIGHT)),
    ("loss.forward-forward.threshold", Real(0.0, MOST_WEIGHT)),
    ("loss.negatives", Whole(1, 10_000)),
    ("loss.prediction_steps", Whole(1, 1_000)),
    ("optimizer.beta1", Real(0.0, BELOW_ONE)),
    ("optimizer.beta2", Real(0.0, BELOW_ONE)),
    ("optimizer.eps", Positive(1.0)),
    ("optimizer.lr", Positive(100.0)),
    ("optimizer.milestones", Shares(100)),
    ("optimizer.momentum", Real(0.0, BELOW_ONE)),
    ("optimizer.warmup_steps", Whole(0, MOST_STEPS)),
    ("optimizer.weight_decay", Real(0.0, 1e6)),
    ("probe.memory_mb", Whole(0, 1 << 40)),
    ("probe.pooling", Whole(1, MOST_CELLS as i64)),
    ("train.batch", Whole(1, 65_536)),
    ("train.checkpoint_every", Whole(1, MOST_STEPS)),
    ("train.checkpoint_minutes", Real(0.0, 1e6)),
    ("train.epochs", Whole(0, 10_000_000)),
    ("train.link_depth", Whole(1, 1_000)),
    ("train.log_every", Whole(1, MOST_STEPS)),
    ("train.modules", Whole(0, 16_000)),
    ("train.probe_every", Whole(0, MOST_STEPS)),
    ("train.record_epochs", Whole(0, 10_000_000)),
    ("train.record_zstd", Whole(0, 22)),
    ("train.replicas", WholeOrWholes(16_000, 1, 16_000)),
    ("train.seed", Whole(0, 1 << 62)),
    ("train.slow", Factors(16_000)),
    ("train.snapshots", Shares(1_000)),
    ("train.stall_seconds", Whole(1, 86_400)),
    ("train.steps", Whole(0, MOST_STEPS)),
    ("train.validate_every", Whole(1, MOST_STEPS)),
    ("network.context_layers", Whole(0, 1_000)),
    ("network.modules_per_loss", Whole(1, 16_000)),
];

const AUDIO: [(&str, Range); 13] = [
    ("data.augment.gain", Real(0.0, 60.0)),
    ("data.augment.mask_samples", Whole(0, 1 << 24)),
    ("data.augment.masks", Whole(0, 1_000)),
    ("data.augment.noise", Real(0.0, 1.0)),
    ("data.augment.snr", Interval(-60.0, 120.0)),
    ("data.augment.tempo", Real(0.0, 0.5)),
    ("data.crop", Whole(1, 1 << 24)),
    ("loss.window", Whole(0, 1 << 24)),
    ("network.context", Whole(0, 16_384)),
    ("network.kernel_sizes", Wholes(64, 1, 65_536)),
    ("network.paddings", Wholes(64, 0, 65_536)),
    ("network.strides", Wholes(64, 1, 65_536)),
    ("network.width", Whole(1, 16_384)),
];

const VISION: [(&str, Range); 24] = [
    ("data.augment.blur", Real(0.0, 1.0)),
    ("data.augment.brightness", Real(0.0, 10.0)),
    ("data.augment.contrast", Real(0.0, 10.0)),
    ("data.augment.grayscale", Real(0.0, 1.0)),
    ("data.augment.hue", Real(0.0, 0.5)),
    ("data.augment.jitter", Real(0.0, 1.0)),
    ("data.augment.ratio", Interval(0.01, 100.0)),
    ("data.augment.saturation", Real(0.0, 10.0)),
    ("data.augment.scale", Interval(0.0, 1.0)),
    ("data.augment.sigma", Interval(0.01, 1_000.0)),
    ("data.augment.strength", Real(0.0, 10.0)),
    ("data.crop", Whole(1, 8_192)),
    ("data.pad", Whole(0, 8_192)),
    ("data.short_side", Whole(0, 8_192)),
    ("loss.skip", Whole(0, 1_000)),
    ("network.blocks", Wholes(16, 1, 1_000)),
    ("network.cuts", Wholes(16_000, 1, 16_000)),
    ("network.norm_groups", Whole(1, 16_384)),
    ("network.overlap", Whole(0, 8_191)),
    ("network.patch", Whole(1, 8_192)),
    ("network.pools", Wholes(16, 1, 16)),
    ("network.readout_side", Whole(0, 8_192)),
    ("network.stem", Whole(1, 255)),
    ("network.widths", Wholes(16, 1, 16_384)),
];

/// The range of `section.key` in a domain.
fn range(domain: DomainKind, key: &str) -> Option<Range> {
    let own: &[(&str, Range)] = match domain {
        DomainKind::Audio => &AUDIO,
        DomainKind::Vision => &VISION,
    };
    own.iter().chain(&COMMON).find(|r| r.0 == key).map(|r| r.1)
}

/// The range of `section.key` in words, for a setting that has one.
pub(crate) fn in_words(domain: DomainKind, key: &str) -> Option<String> {
    range(domain, key).map(Range::words)
}

/// Whether a text is a whole number that is too large for TOML.
pub(crate) fn is_too_large(text: &str) -> bool {
    let overflow = [IntErrorKind::PosOverflow, IntErrorKind::NegOverflow];
    text.parse::<i64>().is_err_and(|e| overflow.contains(e.kind()))
}

/// Checks settings that were given as whole numbers too large for TOML, which are texts by then.
///
/// # Errors
/// As [`check`].
pub(crate) fn check_texts(domain: DomainKind, settings: &toml::Table) -> Result<()> {
    for (name, value) in flat(settings) {
        if let (Some(range), Some(text)) = (range(domain, &name), value.as_str())
            && is_too_large(text)
            && !range.holds(&value)
        {
            return Err(range.refuses(&name, text));
        }
    }
    Ok(())
}

/// Checks every number of a configuration, given as TOML.
///
/// # Errors
/// Names the first setting that is out of its range, its value and the range.
pub(crate) fn check(domain: DomainKind, settings: &toml::Table) -> Result<()> {
    for (name, value) in flat(settings) {
        if let Some(range) = range(domain, &name)
            && !range.holds(&value)
        {
            return Err(range.refuses(&name, &value.to_string()));
        }
    }
    Ok(())
}

impl Range {
    fn holds(self, value: &Value) -> bool {
        let whole = |v: &Value, min, max| v.as_integer().is_some_and(|v| (min..=max).contains(&v));
        let number = |v: &Value| v.as_float().or_else(|| v.as_integer().map(|v| v as f64));
        let list = |most: usize, of: &dyn Fn(&Value) -> bool| {
            value.as_array().is_some_and(|list| list.len() <= most && list.iter().all(of))
        };
        match self {
            Whole(min, max) => whole(value, min, max),
            Wholes(most, min, max) => list(most, &|v| whole(v, min, max)),
            WholeOrWholes(most, min, max) => whole(value, min, max) || list(most, &|v| whole(v, min, max)),
            // NaN is in no range.
            Real(min, max) => number(value).is_some_and(|v| v >= min && v <= max),
            Interval(min, max) => {
                let inside = |v: &Value| number(v).is_some_and(|v| v >= min && v <= max);
                value.as_array().is_some_and(|both| both.len() == 2 && both.iter().all(inside))
            }
            ShareOrFile(max) => value.is_str() || number(value).is_some_and(|v| (0.0..=max).contains(&v)),
            Positive(max) => number(value).is_some_and(|v| v > 0.0 && v <= max),
            Shares(most) => list(most, &|v| number(v).is_some_and(|v| v > 0.0 && v < 1.0)),
            Factors(most) => list(most, &|v| number(v).is_some_and(|v| (1.0..=1000.0).contains(&v))),
        }
    }

    fn refuses(self, name: &str, value: &str) -> Error {
        let value: String = value.chars().take(60).collect();
        Error::config(name, format_args!("{value} is out of range"), format_args!("use {}", self.words()))
    }

    fn words(self) -> String {
        match self {
            Whole(min, max) => format!("{min} to {max}"),
            Wholes(most, min, max) => format!("up to {most} values, each from {min} to {max}"),
            WholeOrWholes(most, min, max) => format!("{min} to {max}, or a list of up to {most} such numbers"),
            Real(min, BELOW_ONE) => format!("{min} or more, and less than 1"),
            Real(min, max) => format!("{min} to {max}"),
            Interval(min, max) => format!("two numbers from {min} to {max}, the smaller one first"),
            ShareOrFile(max) => format!("a share from 0 to {max}, or the name of a file"),
            Positive(max) => format!("a number above 0, up to {max}"),
            Factors(most) => format!("up to {most} factors from 1 to 1000, or an empty list"),
            Shares(most) => format!("up to {most} values between 0 and 1, or an empty list"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::config::Config;
    use crate::experiment::domain::Domain;

    #[test]
    fn numbers_too_large_for_toml_are_out_of_range() {
        let of = |set: &str| Config::load("audio-quick", &[set.to_owned()]).map(drop).map_err(|e| e.to_string());
        for seed in ["9223372036854775808", "18446744073709551615", "99999999999999999999999"] {
            let said = of(&format!("train.seed={seed}")).unwrap_err();
            assert_eq!(said, format!("train.seed: {seed} is out of range (use 0 to 4611686018427387904)"));
        }
        assert!(of("train.seed=-9223372036854775809").unwrap_err().contains("out of range"));
        assert!(of("train.seed='7'").unwrap_err().contains("a whole number"));
        // Of digits, but the name of a file.
        assert_eq!(of("data.validate=99999999999999999999"), Ok(()));
    }

    /// A new number among the settings needs a line in a table above.
    #[test]
    fn every_number_has_a_range() {
        for domain in DomainKind::ALL {
            let config = Config { domain: Domain::from(domain), ..Config::default() };
            let settings = config.every_setting();
            check(domain, &settings).unwrap();
            for (name, value) in flat(&settings) {
                let number = |v: &Value| v.is_integer() || v.is_float();
                let is_number = number(&value) || value.as_array().is_some_and(|list| list.iter().all(number));
                assert_eq!(is_number, range(domain, &name).is_some(), "{domain}: {name}");
            }
        }
    }
}
