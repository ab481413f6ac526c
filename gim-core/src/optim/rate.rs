//! How the learning rate changes during training.

use serde::{Deserialize, Serialize};

/// How the learning rate falls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decay {
    /// Not at all, as in the paper.
    #[default]
    None,
    /// To zero along half a cosine (Loshchilov & Hutter 2017, equation 5, one cycle).
    Cosine,
    /// To a tenth at each milestone.
    Milestones,
}

/// What is left of the rate after each milestone.
const AT_A_MILESTONE: f64 = 0.1;

/// The course of the learning rate over a training; by default it is constant.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RateSchedule {
    /// Steps over which the rate rises linearly to its full value (Goyal et al. 2017, section 2.2).
    pub warmup: u64,
    /// How it falls after them.
    pub decay: Decay,
    /// Shares of the training after which the rate falls, for [`Decay::Milestones`].
    pub milestones: Vec<f64>,
    /// Steps of the training; with 0, nothing decays.
    pub steps: u64,
}

impl RateSchedule {
    /// Share of the full rate for the step after `taken` steps.
    pub fn share(&self, taken: u64) -> f64 {
        if taken < self.warmup {
            return (taken + 1) as f64 / self.warmup as f64;
        }
        if self.steps == 0 {
            return 1.0;
        }
        match self.decay {
            Decay::None => 1.0,
            Decay::Cosine => {
                let (taken, over) = (taken - self.warmup, self.steps.saturating_sub(self.warmup).max(1));
                let done = (taken as f64 / over as f64).min(1.0);
                0.5 * (1.0 + (std::f64::consts::PI * done).cos())
            }
            Decay::Milestones => {
                let done = taken as f64 / self.steps as f64;
                let passed = self.milestones.iter().filter(|share| done >= **share).count();
                AT_A_MILESTONE.powi(passed as i32)
            }
        }
    }
}
