//! Builds a graph node by node.

use super::proto::{Attribute, Constant, FLOAT, Graph, INT64, Node, Size, ValueInfo};
use crate::weights::{Tensor, Tensors};

/// A graph under construction, with the weights it may use.
pub(super) struct Builder<'a> {
    pub graph: Graph,
    tensors: &'a Tensors,
}

impl<'a> Builder<'a> {
    pub(super) fn new(name: &str, tensors: &'a Tensors) -> Self {
        Self { graph: Graph { name: name.into(), ..Graph::default() }, tensors }
    }

    /// Whether there is a published tensor of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Shape of a published tensor; empty when there is none.
    pub(super) fn shape(&self, name: &str) -> &'a [usize] {
        self.tensors.get(name).map_or(&[], |t| &t.shape)
    }

    /// Values of a published tensor; empty when there is none.
    pub(super) fn values(&self, name: &str) -> &'a [f32] {
        self.tensors.get(name).map_or(&[], |t| &t.values)
    }

    /// A node with one output, whose name this gives.
    pub(super) fn node(&mut self, op: &str, inputs: &[&str], attributes: Vec<Attribute>) -> String {
        let name = format!("{}_{}", op.to_lowercase(), self.graph.node.len() + 1);
        self.graph.node.push(Node {
            input: inputs.iter().map(|i| (*i).to_owned()).collect(),
            output: vec![name.clone()],
            name: name.clone(),
            op_type: op.into(),
            attribute: attributes,
        });
        name
    }

    /// An array of 32-bit numbers.
    pub(super) fn floats(&mut self, name: &str, shape: &[usize], values: &[f32]) -> String {
        self.constant(name, FLOAT, shape, values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    /// An array of whole numbers.
    pub(super) fn whole(&mut self, name: &str, shape: &[usize], values: &[i64]) -> String {
        self.constant(name, INT64, shape, values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    fn constant(&mut self, name: &str, data_type: i32, shape: &[usize], raw_data: Vec<u8>) -> String {
        let dims = shape.iter().map(|n| *n as i64).collect();
        self.graph.initializer.push(Constant { dims, data_type, name: name.into(), raw_data });
        name.to_owned()
    }

    /// A convolution with the published weight and bias of `layer`.
    pub(super) fn conv(&mut self, layer: &str, x: &str, stride: usize, padding: usize) -> String {
        let names = ["weight", "bias"].map(|kind| format!("{layer}.{kind}"));
        for name in &names {
            if let Some(Tensor { shape, values }) = self.tensors.get(name) {
                self.floats(name, shape, values);
            }
        }
        let sides = self.shape(&names[0]).len().saturating_sub(2);
        let attributes = vec![
            Attribute::ints("kernel_shape", &self.shape(&names[0])[2..].iter().map(|n| *n as i64).collect::<Vec<_>>()),
            Attribute::ints("strides", &vec![stride as i64; sides]),
            Attribute::ints("pads", &vec![padding as i64; 2 * sides]),
        ];
        self.node("Conv", &[x, &names[0], &names[1]], attributes)
    }

    /// Subtracts `mean` and divides by `std`, arrays of this shape.
    pub(super) fn standardize(&mut self, x: &str, mean: &[f64], std: &[f64], shape: &[usize]) -> String {
        let mean = self.floats("mean", shape, &mean.iter().map(|m| *m as f32).collect::<Vec<_>>());
        let std = self.floats("std", shape, &std.iter().map(|s| *s as f32).collect::<Vec<_>>());
        let centered = self.node("Sub", &[x, &mean], Vec::new());
        self.node("Div", &[&centered, &std], Vec::new())
    }

    /// Declares `value` as the output `name`.
    pub(super) fn output(&mut self, name: &str, value: &str, sizes: Vec<Size>) {
        self.graph.node.push(Node {
            input: vec![value.into()],
            output: vec![name.into()],
            name: name.into(),
            op_type: "Identity".into(),
            attribute: Vec::new(),
        });
        self.graph.output.push(ValueInfo::floats(name, sizes));
    }
}
