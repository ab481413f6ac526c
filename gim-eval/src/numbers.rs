//! Numbers in CSV files: accuracies are shares from 0 to 1, rounded to six decimals; times are
//! seconds, rounded to three.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A number, or one that may be missing.
pub trait Number: Copy {
    /// The same with another value.
    #[must_use]
    fn map(self, change: impl Fn(f64) -> f64) -> Self;
}

impl Number for f64 {
    fn map(self, change: impl Fn(f64) -> f64) -> Self {
        change(self)
    }
}

impl Number for Option<f64> {
    fn map(self, change: impl Fn(f64) -> f64) -> Self {
        Option::map(self, change)
    }
}

fn rounded(x: f64, decimals: i32) -> f64 {
    let unit = 10f64.powi(decimals);
    (x * unit).round() / unit
}

/// For `#[serde(serialize_with)]`: a share, rounded.
///
/// # Errors
/// Those of the serializer.
pub fn share<T: Number + Serialize, S: Serializer>(x: &T, to: S) -> Result<S::Ok, S::Error> {
    x.map(|x| rounded(x, 6)).serialize(to)
}

/// For `#[serde(serialize_with)]`: seconds, rounded.
///
/// # Errors
/// Those of the serializer.
pub fn seconds<T: Number + Serialize, S: Serializer>(x: &T, to: S) -> Result<S::Ok, S::Error> {
    x.map(|x| rounded(x, 3)).serialize(to)
}

/// For `#[serde(with)]`: percent in memory, a share in the file.
pub mod percent {
    use super::{Deserialize, Deserializer, Number, Serialize, Serializer, rounded, share};

    /// A share, in percent.
    pub fn of<T: Number>(share: T) -> T {
        // Without the digits that are only the binary fraction's: 0.273 is 27.3 %.
        share.map(|x| rounded(100.0 * x, 6))
    }

    /// Writes the share.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<T: Number + Serialize, S: Serializer>(x: &T, to: S) -> Result<S::Ok, S::Error> {
        share(&x.map(|x| x / 100.0), to)
    }

    /// Reads the share.
    ///
    /// # Errors
    /// When there is no number.
    pub fn deserialize<'de, T: Number + Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
        T::deserialize(from).map(of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Row {
        #[serde(serialize_with = "share")]
        share: f64,
        #[serde(with = "percent")]
        percent: f64,
        #[serde(with = "percent")]
        missing: Option<f64>,
        #[serde(serialize_with = "seconds")]
        seconds: f64,
    }

    #[test]
    fn files_hold_rounded_shares() {
        let row = Row { share: 1.0 / 3.0, percent: 27.3, missing: None, seconds: 2.00049 };
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.serialize(&row).unwrap();
        let text = String::from_utf8(writer.into_inner().unwrap()).unwrap();
        assert_eq!(text, "share,percent,missing,seconds\n0.333333,0.273,,2.0\n");
        let back: Row = csv::Reader::from_reader(text.as_bytes()).deserialize().next().unwrap().unwrap();
        assert_eq!(back, Row { share: 0.333333, percent: 27.3, missing: None, seconds: 2.0 });
    }
}
