//! Modules on top of each other.

use crate::activations::{Layout, Shape};
use crate::module::Module;
use crate::{Result, Scalar};

/// Modules, each on the output of the one below.
pub struct Stack<F: Scalar> {
    modules: Vec<Box<dyn Module<F>>>,
}

impl<F: Scalar> Stack<F> {
    /// Modules, input side first.
    pub fn new(modules: Vec<Box<dyn Module<F>>>) -> Self {
        Self { modules }
    }

    /// The modules.
    pub fn modules(&self) -> &[Box<dyn Module<F>>] {
        &self.modules
    }

    /// The modules, to change.
    pub fn modules_mut(&mut self) -> &mut [Box<dyn Module<F>>] {
        &mut self.modules
    }

    /// Layouts of the input and of every module's output for an input of shape `x`, so that no layer has to copy.
    ///
    /// # Errors
    /// When what the one below gives is too small for a module, or for its loss.
    pub fn layouts(&self, x: Shape) -> Result<Vec<Layout>> {
        let mut shapes = vec![x];
        for m in &self.modules {
            shapes.push(m.shapes(shapes[shapes.len() - 1])?.output);
        }
        let top = shapes[shapes.len() - 1];
        let wanted = self.modules.iter().rev().find_map(|m| m.output_layout(top));
        let mut layouts = vec![wanted.unwrap_or(Layout::dense(top))];
        for (m, shape) in self.modules.iter().zip(&shapes).rev() {
            layouts.push(m.input_layout(*shape, layouts[layouts.len() - 1]));
        }
        layouts.reverse();
        Ok(layouts)
    }
}
