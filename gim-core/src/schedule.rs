//! How modules take turns. All schedules are the same loop over links; only the links and the modes differ.
//!
//! A module's turn is: receive, forward, send on, learn. Since nothing ever comes back, sending before learning is exact,
//! and every schedule that shows every batch to every module in order gives the same bits.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};

use crate::activations::{Detached, Layout, Shape};
use crate::kernels::on_pool_thread;
use crate::loss::{LossReport, StepInfo};
use crate::module::{Mode, Module};
use crate::{Result, Scalar};

/// A batch on its way up.
#[derive(Debug)]
pub struct Packet<F: Scalar> {
    /// Activations of the module below, or the input.
    pub x: Detached<F>,
    /// Step of the run.
    pub step: u64,
    /// Labels for supervised losses; empty otherwise.
    pub labels: Arc<[i32]>,
}

/// Where a module's batches come from.
pub trait Source<F: Scalar> {
    /// The next batch; `None` when there are no more.
    fn recv(&mut self) -> Option<Packet<F>>;
}

/// Where a module's output goes.
pub trait Sink<F: Scalar> {
    /// Hands a batch on.
    fn send(&mut self, packet: Packet<F>);
}

/// A link within a thread: holds one batch.
#[derive(Debug, Default)]
pub struct Slot<F: Scalar>(Option<Packet<F>>);

impl<F: Scalar> Slot<F> {
    /// A slot with a batch in it, or an empty one.
    pub fn new(packet: Option<Packet<F>>) -> Self {
        Self(packet)
    }
}

impl<F: Scalar> Source<F> for Slot<F> {
    fn recv(&mut self) -> Option<Packet<F>> {
        self.0.take()
    }
}

impl<F: Scalar> Sink<F> for Slot<F> {
    fn send(&mut self, packet: Packet<F>) {
        self.0 = Some(packet);
    }
}

impl<F: Scalar> Source<F> for Receiver<Packet<F>> {
    fn recv(&mut self) -> Option<Packet<F>> {
        Receiver::recv(self).ok()
    }
}

impl<F: Scalar> Sink<F> for SyncSender<Packet<F>> {
    fn send(&mut self, packet: Packet<F>) {
        // When the module above has stopped, its share of the batch is nobody's business any more.
        let _ = SyncSender::send(self, packet);
    }
}

/// What a module reports of a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ModuleReport {
    /// One-based module number.
    pub module: usize,
    /// Step of the run.
    pub step: u64,
    /// Its loss.
    pub loss: LossReport,
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

/// What a module's turns have in common, besides its batches.
#[derive(Debug, Clone, Copy)]
pub struct Turn {
    /// Seed of the run.
    pub seed: u64,
    /// One-based number of the module.
    pub module: usize,
    /// What it is to do.
    pub mode: Mode,
    /// How its output is stored.
    pub output: Layout,
}

/// Serves all batches of `source`: the one loop behind every schedule.
///
/// # Errors
/// When the module diverges; the batches after that are not received.
pub fn run_module<F: Scalar>(
    module: &mut dyn Module<F>,
    source: &mut dyn Source<F>,
    sink: &mut dyn Sink<F>,
    turn: Turn,
    observe: &mut dyn FnMut(ModuleReport),
) -> Result<()> {
    while let Some(Packet { x, step, labels }) = source.recv() {
        module.forward(&x, turn.output, turn.mode);
        sink.send(Packet { x: module.output(), step, labels: Arc::clone(&labels) });
        if turn.mode == Mode::Learn {
            let info = StepInfo { seed: turn.seed, step, module: turn.module as u32, labels: &labels };
            let loss = module.learn(&x, info)?;
            observe(ModuleReport { module: turn.module, step, loss });
        }
        module.release();
    }
    Ok(())
}

/// One batch through the modules, in turn. `modes` says who learns; modules beyond it do not run.
///
/// With all of them learning this is *simultaneous* training; with one learning above frozen ones it is a step of *iterative*
/// training.
///
/// # Errors
/// When a module diverges.
pub fn step_in_turn<F: Scalar>(
    stack: &mut Stack<F>,
    layouts: &[Layout],
    packet: Packet<F>,
    seed: u64,
    modes: &[Mode],
    observe: &mut (dyn FnMut(ModuleReport) + Send),
) -> Result<()> {
    on_pool_thread(|| {
        let mut source = Slot::new(Some(packet));
        for (i, (module, mode)) in stack.modules_mut().iter_mut().zip(modes).enumerate() {
            let mut sink = Slot::default();
            let turn = Turn { seed, module: i + 1, mode: *mode, output: layouts[i + 1] };
            run_module(&mut **module, &mut source, &mut sink, turn, observe)?;
            source = sink;
        }
        Ok(())
    })
}

/// Which modules run and learn at a step of iterative training, where each module in turn learns for `steps_each` steps.
pub fn iterative_modes(step: u64, steps_each: u64, modules: usize) -> Vec<Mode> {
    let learning = ((step / steps_each.max(1)) as usize).min(modules.saturating_sub(1));
    (0..=learning).map(|m| if m == learning { Mode::Learn } else { Mode::Frozen }).collect()
}
