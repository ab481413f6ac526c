//! Stacks on arrays of one's own: a training step, and features.

use ndarray::{Array4, ArrayView4};

use super::Stack;
use crate::activations::{Activations, Shape};
use crate::link::Packet;
use crate::module::Mode;
use crate::schedule::{ModuleReport, step_in_turn};
use crate::{Result, Scalar};

impl<F: Scalar> Stack<F> {
    /// One step of simultaneous training on `x` (N, H, W, C): each module learns from its own loss.
    /// Returns the report of each module, first module first.
    ///
    /// A sequence has its time as height, and width 1. `labels` are for supervised losses, and empty
    /// without one. `seed` and the number of the step name all random draws, so the same calls give
    /// the same bits.
    ///
    /// # Errors
    /// When `x` is too small for a module or its loss, or a module diverges.
    pub fn step(&mut self, x: ArrayView4<'_, F>, labels: &[i32], seed: u64, step: u64) -> Result<Vec<ModuleReport>> {
        let layouts = self.layouts(Shape::of(&x))?;
        let x = Activations::from_array(layouts[0], x, &self.inputs).detach();
        let packet = Packet { x, step, labels: labels.into(), layouts };
        let modes = vec![Mode::Train; self.modules.len()];
        let mut reports = Vec::with_capacity(modes.len());
        step_in_turn(self, packet, seed, &modes, &mut |report| reports.push(report))?;
        Ok(reports)
    }

    /// Features of `x` (N, H, W, C) in each module, first module first: arrays (N, H', W', C').
    ///
    /// # Errors
    /// When `x` is too small for a module. What losses need does not count.
    pub fn features(&mut self, x: ArrayView4<'_, F>) -> Result<Vec<Array4<F>>> {
        let layouts = self.eval_layouts(Shape::of(&x))?;
        let x = Activations::from_array(layouts[0], x, &self.inputs).detach();
        let mut features = Vec::with_capacity(self.modules.len());
        self.visit_features(x, &layouts, Mode::Eval, |view| features.push(view.features.view().to_owned()));
        Ok(features)
    }
}
