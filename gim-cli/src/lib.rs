//! The parts of the `gim` program that the command line only wires together: files, progress, environment and figures.

pub mod bench;
pub mod check;
pub mod chunks;
pub mod claims;
pub mod config;
pub mod domain;
pub mod draw;
pub mod environment;
pub mod estimate;
pub mod extract;
pub mod figures;
pub mod files;
mod latent;
pub mod memory;
pub mod pictures;
pub mod probes;
pub mod progress;
pub mod report;
pub mod reproduce;
pub mod run;
pub mod summary;
pub mod sweep;
