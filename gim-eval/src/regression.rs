//! The regression check: measured values against a committed baseline.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::numbers::percent;

/// One value of a baseline file; read and write them with [`crate::table`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// What was measured.
    pub name: String,
    /// Its value, in percent; the file holds a share.
    #[serde(with = "percent")]
    pub value: f64,
    /// Standard deviation over seeds when the baseline was written; the tolerance derives from it.
    #[serde(with = "percent")]
    pub spread: f64,
    /// Largest accepted distance from `value`. Unexplained improvements count, too.
    #[serde(with = "percent")]
    pub tolerance: f64,
    /// Digest of the configuration and data the value belongs to; empty for any.
    pub digest: String,
}

/// What was measured now.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// The value.
    pub value: f64,
    /// Digest of the configuration and data it belongs to.
    pub digest: String,
}

/// A baseline value that is no longer met.
#[derive(Debug, Clone, PartialEq)]
pub enum Deviation {
    /// The value differs from the baseline by more than the tolerance.
    Moved {
        /// What was measured.
        name: String,
        /// The baseline's value.
        expected: f64,
        /// The value now.
        measured: f64,
        /// How far beyond the tolerance it lies (≥ 0; NaN when the value is not finite).
        beyond: f64,
    },
    /// The configuration or data differ from the baseline's, so values cannot be compared.
    OtherDigest {
        /// What was measured.
        name: String,
        /// The baseline's digest.
        expected: String,
        /// The digest now.
        measured: String,
    },
    /// A value of the baseline was not measured.
    Missing {
        /// What was to be measured.
        name: String,
    },
}

impl fmt::Display for Deviation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Moved { name, expected, measured, beyond } => {
                write!(f, "{name}: {measured} instead of {expected}, {beyond} beyond the tolerance")
            }
            Self::OtherDigest { name, expected, measured } => {
                write!(f, "{name}: measured on {measured}, the baseline on {expected}")
            }
            Self::Missing { name } => write!(f, "{name}: not measured"),
        }
    }
}

/// All deviations, in the order of the baseline. Values that the baseline lacks are ignored.
pub fn compare(measured: &BTreeMap<String, Measured>, baseline: &[Baseline]) -> Vec<Deviation> {
    let check = |b: &Baseline| {
        let name = b.name.clone();
        let Some(m) = measured.get(&b.name) else { return Some(Deviation::Missing { name }) };
        if !b.digest.is_empty() && b.digest != m.digest {
            return Some(Deviation::OtherDigest { name, expected: b.digest.clone(), measured: m.digest.clone() });
        }
        let distance = (m.value - b.value).abs();
        // A NaN, measured or in the baseline, does not hold either.
        let holds = distance <= b.tolerance;
        (!holds).then_some(Deviation::Moved {
            name,
            expected: b.value,
            measured: m.value,
            beyond: distance - b.tolerance,
        })
    };
    baseline.iter().filter_map(check).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{read_rows, write_rows};

    #[test]
    fn only_what_moved_is_listed() {
        let b = |name: &str, value, digest: &str| Baseline {
            name: name.into(),
            value,
            spread: 0.01,
            tolerance: 0.25,
            digest: digest.into(),
        };
        let baseline =
            [b("same", 1.0, "d"), b("up", 1.0, "d"), b("gone", 1.0, ""), b("other", 1.0, "e"), b("nan", 1.0, "")];
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("baseline.csv");
        write_rows(&path, &baseline).unwrap();
        let baseline: Vec<Baseline> = read_rows(&path).unwrap();
        let m = |value| Measured { value, digest: "d".into() };
        let measured = [("same", m(1.25)), ("up", m(1.5)), ("other", m(1.0)), ("new", m(9.0)), ("nan", m(f64::NAN))];
        let found = compare(&measured.map(|(n, m)| (n.to_owned(), m)).into(), &baseline);
        assert_eq!(found.len(), 4);
        assert_eq!(found[0], Deviation::Moved { name: "up".into(), expected: 1.0, measured: 1.5, beyond: 0.25 });
        assert_eq!(found[1], Deviation::Missing { name: "gone".into() });
        assert!(matches!(&found[2], Deviation::OtherDigest { name, .. } if name == "other"));
        assert!(matches!(&found[3], Deviation::Moved { name, beyond, .. } if name == "nan" && beyond.is_nan()));
        assert!(found[0].to_string().contains("up: 1.5"));
    }
}
