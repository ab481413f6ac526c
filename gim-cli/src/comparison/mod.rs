//! Many runs: what they are, what came out, what it says.

pub(crate) mod check;
pub(crate) mod claims;
pub(crate) mod comparison_dir;
pub(crate) mod memory;
pub(crate) mod reproduce;
pub(crate) mod summary;
pub(crate) mod sweep;
