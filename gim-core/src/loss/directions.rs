//! InfoNCE in several directions at once.

use super::{InfoNce, InfoNceConfig, LocalLoss, LossReport, StepInfo};
use crate::activations::{Activations, Shape};
use crate::kernels::vector::add_scaled;
use crate::param::{Param, Params};
use crate::sampler::{Direction, NegativeSampler};
use crate::{Key, Pool, Result, Scalar};

/// The mean of InfoNCE losses in different directions, each with a predictor of its own.
pub struct Directions<F: Scalar> {
    losses: Vec<InfoNce<F>>,
}

impl<F: Scalar> Directions<F> {
    /// One loss per direction, otherwise as `config` says. `sampler` makes a sampler for each.
    ///
    /// # Errors
    /// As [`InfoNce::new`].
    pub fn new(
        config: &InfoNceConfig,
        directions: &[Direction],
        sampler: impl Fn() -> Box<dyn NegativeSampler>,
        key: Key,
    ) -> Result<Self> {
        assert!(!directions.is_empty(), "a loss needs a direction");
        let make = |direction: &Direction| {
            let config = InfoNceConfig {
                direction: *direction,
                weight: config.weight / directions.len() as f64,
                ..config.clone()
            };
            let mut loss = InfoNce::new(config, sampler(), key.with_item(key.item + *direction as u32))?;
            loss.visit(&mut |p| p.name = p.name.replace("predictor", &format!("predictor.{}", direction.name())));
            Ok(loss)
        };
        Ok(Self { losses: directions.iter().map(make).collect::<Result<_>>()? })
    }
}

impl<F: Scalar> Params<F> for Directions<F> {
    fn visit(&mut self, f: &mut dyn FnMut(&mut Param<F>)) {
        self.losses.iter_mut().for_each(|l| l.visit(f));
    }
}

impl<F: Scalar> LocalLoss<F> for Directions<F> {
    fn describe(&self) -> String {
        match self.losses.len() {
            1 => self.losses[0].describe(),
            n => format!("{}, {n} directions", self.losses[0].describe()),
        }
    }

    fn check(&self, z: Shape, c: Option<Shape>) -> Result<()> {
        self.losses.iter().try_for_each(|l| l.check(z, c))
    }

    fn value_and_grad(
        &mut self,
        z: &Activations<F>,
        c: Option<&Activations<F>>,
        step: StepInfo<'_>,
        mut dz: Option<&mut Activations<F>>,
        mut dc: Option<&mut Activations<F>>,
        pool: &Pool<F>,
    ) -> LossReport {
        let n = self.losses.len() as f64;
        let mut mean = LossReport { loss: 0.0, accuracy: 0.0 };
        for (i, loss) in self.losses.iter_mut().enumerate() {
            let report = if i == 0 {
                loss.value_and_grad(z, c, step, dz.as_deref_mut(), dc.as_deref_mut(), pool)
            } else {
                let mut own_z = dz.as_ref().map(|a| Activations::new(a.layout(), pool));
                let mut own_c = dc.as_ref().map(|a| Activations::new(a.layout(), pool));
                let report = loss.value_and_grad(z, c, step, own_z.as_mut(), own_c.as_mut(), pool);
                for (sum, own) in [(dz.as_deref_mut(), own_z), (dc.as_deref_mut(), own_c)] {
                    if let (Some(sum), Some(own)) = (sum, own) {
                        add_scaled(sum.memory_mut(), F::one(), own.memory());
                    }
                }
                report
            };
            mean.loss += report.loss / n;
            mean.accuracy += report.accuracy / n;
        }
        mean
    }

    fn multiply_adds(&self, z: Shape) -> u64 {
        self.losses.iter().map(|l| l.multiply_adds(z)).sum()
    }
}
