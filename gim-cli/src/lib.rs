//! The parts of the `gim` program that the command line only wires together: files, progress, environment and figures.

pub mod environment;
pub mod figures;
pub mod files;
pub mod progress;
