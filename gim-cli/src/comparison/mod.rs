//! Comparisons of many runs: the list of runs, their results, and the claims they support.

pub(crate) mod ablations;
pub(crate) mod check;
pub(crate) mod claims;
pub(crate) mod comparison_dir;
pub(crate) mod headline;
pub(crate) mod job;
pub(crate) mod memory;
pub(crate) mod paper;
pub(crate) mod printed;
pub(crate) mod reproduce;
mod seed_run;
pub(crate) mod summary;
pub(crate) mod sweep;
