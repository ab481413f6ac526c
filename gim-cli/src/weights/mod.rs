//! Weights in and out: files of PyTorch, safetensors and ONNX.
//!
//! ```text
//! import: file ─► container ─► pickle ─► tensors ─► published names ─► configuration ─► run folder
//! export: run folder ─► stack ─► published names ─► torch, safetensors or ONNX
//! ```
//!
//! [`places`] says, in one table for both directions, where each value of our parameters lies in
//! the published tensors. So an export that is imported again has the same bits.

mod container;
mod convert;
mod export;
mod facts;
mod import;
mod infer;
mod names;
mod onnx;
mod pickle;
mod places;
mod torch_file;

use std::collections::BTreeMap;

pub(crate) use export::{Format, export};
pub(crate) use import::{Given, import};

/// A tensor of a published checkpoint, row-major.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tensor {
    /// Its shape.
    pub shape: Vec<usize>,
    /// The values.
    pub values: Vec<f32>,
}

/// Tensors by name.
pub(crate) type Tensors = BTreeMap<String, Tensor>;
