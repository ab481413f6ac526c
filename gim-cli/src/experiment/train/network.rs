//! The network of a run.

use gim_core::activations::Layout;
use gim_core::optim::OptimizerConfig;
use gim_core::stack::Stack;
use gim_core::{Pool, Result};

use crate::experiment::config::Config;
use crate::experiment::dataset_record::DatasetRecord;

/// The stack of the whole network at its initial weights, and the layouts of its input and of every
/// module's output. A run of fewer modules has these layouts, too: margins decide last bits. `each`
/// are the training steps of a module.
///
/// # Errors
/// When a setting cannot be used.
pub(crate) fn whole_network(
    config: &Config,
    record: &DatasetRecord,
    each: u64,
    pool: &Pool<f32>,
) -> Result<(Stack<f32>, Vec<Layout>)> {
    let (model, train) = (config.domain.model(), &config.train);
    let optimizer = OptimizerConfig { decay_steps: each, ..config.optimizer.clone() };
    let stack = model.build(Some(record), &optimizer, train.seed, pool)?;
    let layouts = stack.layouts(model.input(train.batch)?)?;
    Ok((stack, layouts))
}
