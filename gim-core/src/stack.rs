//! Modules on top of each other.

use crate::activations::{Activations, Detached, Layout, Shape};
use crate::kernels::on_pool_thread;
use crate::module::{Mode, Module, ModuleShapes};
use crate::{Result, Scalar};

/// What [`Stack::visit_features`] shows: features of a module, or outputs of a layer inside one.
#[derive(Debug)]
pub struct FeatureView<'a, F: Scalar> {
    /// One-based number of the module.
    pub module: usize,
    /// Zero-based index of the layer within the module, and its description; `None` for [`Module::features`].
    pub layer: Option<(usize, String)>,
    /// The values.
    pub features: &'a Activations<F>,
}

/// Modules, each on the output of the one below.
pub struct Stack<F: Scalar> {
    modules: Vec<Box<dyn Module<F>>>,
}

impl<F: Scalar> Stack<F> {
    /// Modules, input side first.
    pub fn new(modules: Vec<Box<dyn Module<F>>>) -> Self {
        Self { modules }
    }

    /// Removes the modules above the first `n`.
    pub fn truncate(&mut self, n: usize) {
        self.modules.truncate(n);
    }

    /// Removes the first `n` modules. What remains is no network: its first module wants the output of
    /// the last one removed.
    pub fn remove_first(&mut self, n: usize) {
        self.modules.drain(..n);
    }

    /// The modules.
    pub fn modules(&self) -> &[Box<dyn Module<F>>] {
        &self.modules
    }

    /// The modules, to change.
    pub fn modules_mut(&mut self) -> &mut [Box<dyn Module<F>>] {
        &mut self.modules
    }

    /// Layouts of the input and of every module's output for an input of shape `x`. They have the margins
    /// that the layers need, so no layer has to copy.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) when an input is too small for its module or the loss.
    pub fn layouts(&self, x: Shape) -> Result<Vec<Layout>> {
        self.layouts_by(x, |m, x| m.shapes(x))
    }

    /// [`Stack::layouts`] to compute features by, which ask nothing of the losses.
    ///
    /// # Errors
    /// When what the one below gives is too small for a module.
    pub fn eval_layouts(&self, x: Shape) -> Result<Vec<Layout>> {
        self.layouts_by(x, |m, x| m.eval_shapes(x))
    }

    fn layouts_by(&self, x: Shape, of: impl Fn(&dyn Module<F>, Shape) -> Result<ModuleShapes>) -> Result<Vec<Layout>> {
        let mut shapes = vec![x];
        for m in &self.modules {
            shapes.push(of(&**m, shapes[shapes.len() - 1])?.output);
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

    /// Runs `x` through all modules and shows `visit` their features, first module first.
    ///
    /// With [`Mode::Eval`], `visit` is called once for each module, with [`Module::features`]. With [`Mode::Inspect`] it is
    /// called once for each of [`Module::layer_outputs`] of each module. `layouts` are [`Stack::layouts`] of `x`'s shape. A
    /// module's activations are freed after its visit.
    ///
    /// # Panics
    /// With [`Mode::Train`] and [`Mode::Validate`], which need labels and a training step.
    pub fn visit_features(
        &mut self,
        mut x: Detached<F>,
        layouts: &[Layout],
        mode: Mode,
        mut visit: impl FnMut(FeatureView<'_, F>),
    ) {
        assert!(matches!(mode, Mode::Eval | Mode::Inspect), "features are visited in Mode::Eval or Mode::Inspect");
        assert_eq!(layouts.len(), self.modules.len() + 1, "layouts of the input and of every module's output");
        for (i, module) in self.modules.iter_mut().enumerate() {
            on_pool_thread(|| module.forward(&x, layouts[i + 1], mode));
            if mode == Mode::Inspect {
                for (at, (name, features)) in module.layer_outputs().into_iter().enumerate() {
                    visit(FeatureView { module: i + 1, layer: Some((at, name)), features });
                }
            } else {
                visit(FeatureView { module: i + 1, layer: None, features: module.features() });
            }
            x = module.output();
            module.release();
        }
    }
}
