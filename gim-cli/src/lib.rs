//! The parts of the `gim` program that the command line only wires together.

pub mod bench;
pub mod comparison;
pub mod experiment;
pub mod figures;
pub mod report;
