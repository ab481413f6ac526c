//! The program `gim`, as a library: commands, and the configuration of a run.
//!
//! Imports point down: `commands` → `report`, `planning`, `watch` → `comparison` (beside it `bench` and `datasets`) → `figures`,
//! `weights` → `experiment`, `template`, `output` → the domain crates and `gim-eval` → `gim-core`.
//!
//! ```
//! use gim_cli::Config;
//!
//! # fn main() -> gim_core::Result<()> {
//! let config = Config::load("audio-small", &["loss.negatives=20".into()])?;
//! assert!(config.to_toml().contains("negatives = 20"));
//! # Ok(())
//! # }
//! ```

// A closed pipe makes `println!` panic: `output` prints.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod bench;
pub mod commands;
mod comparison;
mod datasets;
mod experiment;
mod figures;
mod output;
mod planning;
mod report;
mod template;
mod watch;
mod weights;

pub use experiment::config::Config;
pub use experiment::progress::Mode;
pub use output::note_error;
