//! Modules on top of each other.

mod arrays;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::activations::{Activations, Detached, Layout, Shape};
use crate::kernels::on_pool_thread;
use crate::link::Packet;
use crate::module::{Mode, Module, ModuleShapes};
use crate::{Pool, Result, Scalar};

/// What [`Stack::visit_features`] shows: features of a module, or outputs of a layer inside one.
#[derive(Debug)]
pub struct FeatureView<'a, F: Scalar> {
    /// One-based number of the module.
    pub module: usize,
    /// Zero-based index of the layer within the module, and its description; `None` for [`Module::features`].
    pub layer: Option<(usize, String)>,
    /// The values.
    pub features: &'a Activations<F>,
    /// [`Module::output`]: that of the encoder, before readout and context network.
    pub output: &'a Activations<F>,
}

/// Layouts for batches of several shapes: full and short batches, utterances of any length.
///
/// They are made before training, because a stack whose modules are on threads cannot be asked, and
/// so that an input that does not suit the network is found before any work is done.
#[derive(Debug, Clone)]
pub struct LayoutPlans(BTreeMap<Shape, Arc<[Layout]>>);

impl LayoutPlans {
    /// Those of inputs of shape `x`.
    ///
    /// # Panics
    /// When that shape was not planned.
    pub fn of(&self, x: Shape) -> &Arc<[Layout]> {
        self.0.get(&x).unwrap_or_else(|| panic!("no layouts were planned for {x:?}"))
    }

    /// A batch `x` of a training step, with its layouts.
    ///
    /// # Panics
    /// As [`Self::of`].
    pub fn packet<F: Scalar>(&self, x: Activations<F>, step: u64, labels: Arc<[i32]>) -> Packet<F> {
        let layouts = Arc::clone(self.of(x.shape()));
        Packet { x: x.detach(), step, labels, layouts }
    }

    /// Those of a batch that is of shape `x` where module number `module` (0-based) gets it.
    ///
    /// # Panics
    /// When no such batch was planned.
    pub fn at(&self, module: usize, x: Shape) -> &Arc<[Layout]> {
        let plan = self.0.values().find(|layouts| layouts[module].shape == x);
        plan.unwrap_or_else(|| panic!("no layouts were planned for {x:?} at module {module}"))
    }

    /// How batches may be stored where module number `module` (0-based) gets them.
    pub fn inputs_of(&self, module: usize) -> Vec<Layout> {
        self.0.values().map(|layouts| layouts[module]).collect()
    }

    /// Those of the largest input.
    ///
    /// # Panics
    /// When nothing was planned.
    pub fn largest(&self) -> &Arc<[Layout]> {
        let largest = self.0.iter().max_by_key(|(x, _)| x.len());
        largest.unwrap_or_else(|| panic!("no layouts were planned")).1
    }
}

/// Modules, each on the output of the one below.
pub struct Stack<F: Scalar> {
    modules: Vec<Box<dyn Module<F>>>,
    /// Copies of arrays given to [`Stack::step`] and [`Stack::features`].
    inputs: Pool<F>,
}

impl<F: Scalar> Stack<F> {
    /// Modules, input side first.
    pub fn new(modules: Vec<Box<dyn Module<F>>>) -> Self {
        Self { modules, inputs: Pool::new() }
    }

    /// Removes the modules above the first `n`.
    pub fn truncate(&mut self, n: usize) {
        self.modules.truncate(n);
    }

    /// Removes all modules but these. What remains is no network if the first of them wants the output of one
    /// removed.
    ///
    /// # Panics
    /// When there are no such modules.
    pub fn keep(&mut self, modules: Range<usize>) {
        self.modules.truncate(modules.end);
        self.modules.drain(..modules.start);
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
    pub fn layouts(&self, x: Shape) -> Result<Arc<[Layout]>> {
        Ok(self.layouts_by(x, |m, x| m.shapes(x))?.into())
    }

    /// [`Stack::layouts`] of inputs of all these shapes.
    ///
    /// # Errors
    /// As [`Stack::layouts`] of one of them.
    pub fn plan(&self, shapes: impl IntoIterator<Item = Shape>) -> Result<LayoutPlans> {
        shapes.into_iter().map(|x| Ok((x, self.layouts(x)?))).collect::<Result<_>>().map(LayoutPlans)
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
            let output = module.output();
            if mode == Mode::Inspect {
                for (at, (name, features)) in module.layer_outputs().into_iter().enumerate() {
                    visit(FeatureView { module: i + 1, layer: Some((at, name)), features, output: &output });
                }
            } else {
                visit(FeatureView { module: i + 1, layer: None, features: module.features(), output: &output });
            }
            x = output;
            module.release();
        }
    }
}
