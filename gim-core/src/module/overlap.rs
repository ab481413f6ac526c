//! Modules that share losses: the gradient of a loss passes through several modules (Xiong et al. 2020, "LoCo:
//! Local contrastive representation learning").

use std::collections::BTreeSet;

use super::{Border, LocalModule, Module, Parts};
use crate::activations::{Activations, Detached};
use crate::collapse::spread;
use crate::kernels::vector::add_scaled;
use crate::layers::{InputGrad, Keep, Layer, ReadoutGrad};
use crate::loss::{LossReport, StepInfo};
use crate::{Error, Pool, Result, Scalar};

/// How many modules learn from each loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overlap {
    /// The module of the loss, and so many less one below it. 1 is Greedy InfoMax; with as many as there are
    /// modules, each loss trains everything below it.
    pub modules_per_loss: usize,
    /// Modules of the network.
    pub n_modules: usize,
}

impl Overlap {
    /// Module `number` (one-based) of a stack in which each loss trains as many modules as this says: an isolated one
    /// for 1.
    ///
    /// # Errors
    /// Those of [`Self::open`].
    pub fn module<F: Scalar>(self, number: usize, parts: Parts<F>, pool: Pool<F>) -> Result<Box<dyn Module<F>>> {
        if self.modules_per_loss <= 1 {
            return Ok(Box::new(LocalModule::new(number, parts, pool)));
        }
        Ok(Box::new(self.open(number, parts, pool)?))
    }

    /// Module `number` (one-based) of a stack, which gradients enter and leave even where each loss trains one module.
    ///
    /// # Errors
    /// [`Error::Config`] for a loss of corrupted inputs, whose features are not those that the modules above get.
    pub fn open<F: Scalar>(self, number: usize, parts: Parts<F>, pool: Pool<F>) -> Result<LocalModule<F, Self>> {
        if parts.loss.corruption() > 0.0 {
            let what = format!("is {}, but {} encodes another input", self.modules_per_loss, parts.loss.describe());
            let remedy = "use 1, or a loss that leaves its input as it is";
            return Err(Error::config("network.modules_per_loss", what, remedy));
        }
        Ok(LocalModule::with_border(number, parts, pool, self))
    }

    /// Lowest module (0-based) that the loss of module `index` (0-based) trains.
    fn lowest(self, index: usize) -> usize {
        (index + 1).saturating_sub(self.modules_per_loss.max(1))
    }

    /// Backward passes of the encoder of module `index` (0-based), and how many of them give an input gradient.
    pub(super) fn passes(self, index: usize) -> (u64, u64) {
        let above = self.n_modules.min(index + self.modules_per_loss.max(1));
        let ends: BTreeSet<usize> = (index..above).map(|loss| self.lowest(loss)).collect();
        (ends.len() as u64, ends.range(..index).count() as u64)
    }
}

/// Gradients of a module's output by the losses that all end at the same module: they go down as one.
#[derive(Debug)]
pub struct Errors<F: Scalar> {
    /// The lowest module (0-based) that they train.
    lowest: usize,
    /// Σ ∂loss/∂z (N, H, W, C).
    dz: Activations<F>,
}

/// A module in a chain of modules that share losses. A step: [`Module::forward`] of all, [`Self::score`] of all,
/// then, from the last to the first, [`Self::backward`] and [`Self::update`].
pub trait Overlapping<F: Scalar> {
    /// The loss on the batch of the last forward pass in [`Mode::Train`](super::Mode::Train), and the gradients of
    /// loss and context network.
    ///
    /// # Errors
    /// As [`Module::train`]. The gradients of other modules are then still attached.
    fn score(&mut self, x: &Detached<F>, step: StepInfo<'_>) -> Result<LossReport>;

    /// Adds the parameter gradients of the module's own loss and of those above it, whose errors are `from_above`.
    /// Gives the errors that train modules below.
    ///
    /// A pass through a module consumes what its layers kept. Errors that end at different modules need a pass
    /// each, so before all but the first the input is encoded once more.
    fn backward(&mut self, x: &Detached<F>, from_above: Vec<Errors<F>>) -> Vec<Errors<F>>;

    /// Updates all parameters, and releases their gradients.
    fn update(&mut self);
}

impl<F: Scalar> Border<F> for Overlap {
    fn overlap(&self) -> Option<Overlap> {
        Some(*self)
    }

    fn open(module: &mut LocalModule<F, Self>) -> Option<&mut dyn Overlapping<F>> {
        Some(module)
    }
}

/// Where an error enters a module.
enum Entry<F: Scalar> {
    /// At what the readout gives: the module's own loss.
    Readout(Activations<F>),
    /// At the output.
    Output(Activations<F>),
}

impl<F: Scalar> LocalModule<F, Overlap> {
    /// ∂loss/∂z from `dread`, ∂loss/∂(readout of `z`).
    fn of_output(&self, z: &Activations<F>, dread: Activations<F>) -> Activations<F> {
        match &self.learnable.readout {
            Some(readout) => ReadoutGrad { readout: &**readout, dy: &dread }.whole(z.layout(), &self.pool),
            None => dread,
        }
    }

    /// A backward pass of the encoder; ∂loss/∂x, if it is `wanted`.
    fn pass(&mut self, x: &Detached<F>, z: &Detached<F>, entry: Entry<F>, wanted: bool) -> Option<Activations<F>> {
        if self.learnable.encoder.is_empty() {
            let dz = match entry {
                Entry::Readout(dread) => self.of_output(z, dread),
                Entry::Output(dz) => dz,
            };
            return wanted.then_some(dz);
        }
        let mut dx = wanted.then(|| Activations::new(x.layout(), &self.pool));
        let into = dx.as_mut().map_or(InputGrad::Stop, InputGrad::Overwrite);
        match entry {
            Entry::Readout(dread) => self.backward_read(x, z, dread, into),
            Entry::Output(mut dz) => self.learnable.encoder.backward(x, z, &mut dz, into, &self.pool),
        }
        dx
    }

    /// Makes again what a backward pass needs.
    fn encode_again(&mut self, x: &Detached<F>, z: &Detached<F>) {
        let encoder = &mut self.learnable.encoder;
        if !encoder.is_empty() {
            encoder.forward(x, &mut Activations::new(z.layout(), &self.pool), Keep::ForBackward, &self.pool);
        }
    }
}

impl<F: Scalar> Overlapping<F> for LocalModule<F, Overlap> {
    fn score(&mut self, x: &Detached<F>, step: StepInfo<'_>) -> Result<LossReport> {
        let z = self.z().clone();
        self.spread = Some(spread(self.features(), &self.pool));
        let index = self.number - 1;
        let wanted = !self.learnable.encoder.is_empty() || self.border.lowest(index) < index;
        let (report, dread) = self.differentiate(x, &z, step, wanted)?;
        self.dread = dread;
        Ok(report)
    }

    fn backward(&mut self, x: &Detached<F>, from_above: Vec<Errors<F>>) -> Vec<Errors<F>> {
        let Some(z) = self.z.take() else { panic!("module {} learns before it has seen a batch", self.number) };
        let (index, own) = (self.number - 1, self.border.lowest(self.number - 1));
        let mut errors = from_above;
        let mut entries = Vec::with_capacity(errors.len() + 1);
        if let Some(dread) = self.dread.take() {
            match errors.iter_mut().find(|e| e.lowest == own) {
                Some(same) => add_scaled(same.dz.memory_mut(), F::one(), self.of_output(&z, dread).memory()),
                None => entries.push((own, Entry::Readout(dread))),
            }
        }
        entries.extend(errors.into_iter().map(|e| (e.lowest, Entry::Output(e.dz))));
        let mut below = Vec::with_capacity(entries.len());
        for (at, (lowest, entry)) in entries.into_iter().enumerate() {
            if at > 0 {
                self.encode_again(x, &z);
            }
            let dx = self.pass(x, &z, entry, lowest < index);
            below.extend(dx.map(|dz| Errors { lowest, dz }));
        }
        self.read = None;
        below
    }

    fn update(&mut self) {
        LocalModule::update(self);
    }
}
