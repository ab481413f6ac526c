//! Names of kinds of labels that a dataset brings along.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Names that no column of labels may have: those of the built-in tasks, of their labels in feature
/// files, and of targets without labels.
pub const RESERVED: [&str; 7] = ["phones", "speakers", "classes", "phone", "speaker", "class", "future"];

/// Bytes of the longest name.
const LONGEST: usize = 64;

/// All names so far. They are few and short and live as long as the program.
static KNOWN: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());

/// The name of a column of labels: letters, digits and `_`, as feature files allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&'static str")]
pub struct LabelName(&'static str);

impl LabelName {
    /// The name itself.
    pub fn as_str(self) -> &'static str {
        self.0
    }
}

impl FromStr for LabelName {
    type Err = Error;

    /// # Errors
    /// When the name is [`RESERVED`], is empty or long, or holds anything but letters, digits and `_`.
    fn from_str(name: &str) -> Result<Self> {
        let refuse = |what: &str, remedy: &str| Err(Error::config(format_args!("column `{name}`"), what, remedy));
        if RESERVED.contains(&name) {
            return refuse("has the name of a built-in task", "rename the column");
        }
        let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !plain || name.is_empty() || name.len() > LONGEST {
            return refuse("cannot be a name of labels", "use up to 64 letters (a to z), digits and _");
        }
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.get(name) {
            return Ok(Self(found));
        }
        let kept: &'static str = Box::leak(name.to_owned().into_boxed_str());
        known.insert(kept);
        Ok(Self(kept))
    }
}

impl TryFrom<String> for LabelName {
    type Error = Error;

    fn try_from(name: String) -> Result<Self> {
        name.parse()
    }
}

impl From<LabelName> for &'static str {
    fn from(name: LabelName) -> Self {
        name.0
    }
}

impl fmt::Display for LabelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.0)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_kept_once() {
        let [one, two] = ["digit", "digit"].map(|n| n.parse::<LabelName>().unwrap());
        assert!(one == two && std::ptr::eq(one.as_str(), two.as_str()));
        assert!("emotion".parse::<LabelName>().unwrap() > one);
        let too_long = "x".repeat(65);
        for bad in ["", "two words", "größe", "a/b", "phones", "speaker", "future", too_long.as_str()] {
            assert!(bad.parse::<LabelName>().unwrap_err().to_string().contains("column"), "{bad}");
        }
    }
}
