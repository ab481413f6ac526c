//! The network of a run.

use gim_core::activations::Shape;
use gim_core::optim::OptimizerConfig;
use gim_core::stack::{LayoutPlans, Stack};
use gim_core::{Pool, Result};

use crate::experiment::config::Config;
use crate::experiment::dataset_record::DatasetRecord;

/// The stack of the whole network at its initial weights, whose modules train for `each` steps.
///
/// # Errors
/// When a setting cannot be used.
pub(super) fn initial_stack(
    config: &Config,
    record: &DatasetRecord,
    each: u64,
    pool: &Pool<f32>,
) -> Result<Stack<f32>> {
    let optimizer = OptimizerConfig { decay_steps: each, ..config.optimizer.clone() };
    let mut stack = config.domain.model().build(Some(record), &optimizer, config.train.seed, pool)?;
    stack.modules_mut().iter_mut().for_each(|m| m.measure_gradient(config.train.tensorboard));
    Ok(stack)
}

/// [`initial_stack`], and the layouts of inputs of these `shapes`. A run of fewer modules has these layouts,
/// too: margins decide last bits.
///
/// # Errors
/// When a setting cannot be used, or a step needs more memory than the machine has.
pub(crate) fn whole_network(
    config: &Config,
    record: &DatasetRecord,
    shapes: impl IntoIterator<Item = Shape>,
    each: u64,
    pool: &Pool<f32>,
) -> Result<(Stack<f32>, LayoutPlans)> {
    let stack = initial_stack(config, record, each, pool)?;
    let plans = stack.plan(shapes)?;
    config.domain.model().size_of(plans.largest()[0].shape)?.check()?;
    Ok((stack, plans))
}
