//! Settings of probes. They decide no result.

use documented::DocumentedFields;
use gim_eval::Budget;
use serde::{Deserialize, Serialize};

/// Settings of probes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, DocumentedFields)]
#[serde(deny_unknown_fields, default)]
pub struct ProbeConfig {
    /// Most memory for the features of a module while it is probed, in MB: features, their standardized
    /// copy and scores. Larger features are read from their file in blocks, which takes longer.
    pub memory_mb: u64,
}

impl Default for ProbeConfig {
    fn default() -> Self {
        Self { memory_mb: 4096 }
    }
}

impl ProbeConfig {
    /// The same for the probes of `gim-eval`.
    pub(crate) fn budget(&self) -> Budget {
        Budget { bytes: self.memory_mb.saturating_mul(1_000_000) }
    }
}
