//! The parts of the `gim` program that the command line only wires together.
//!
//! Imports point down: `commands` → `report` → `comparison` (beside it `bench`) → `figures`, `experiment`.

pub mod bench;
pub mod commands;
pub mod comparison;
pub mod experiment;
pub mod figures;
pub mod report;
