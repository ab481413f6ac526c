//! Many runs: what they are, what came out, what it says.

pub mod check;
pub mod claims;
pub mod comparison_dir;
pub mod memory;
pub mod reproduce;
pub mod summary;
pub mod sweep;
