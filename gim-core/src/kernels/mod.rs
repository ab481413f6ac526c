//! Free functions on slices, without state: what the layers and losses are made of.

pub mod exp;
pub(crate) mod four_rows;
pub mod gemm;
pub mod memory;
pub mod profile;
pub mod vector;
