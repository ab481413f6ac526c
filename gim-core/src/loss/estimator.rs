//! Bounds on mutual information from the scores that InfoNCE computes.

use serde::{Deserialize, Serialize};

use crate::Scalar;
use crate::kernels::vector::{sigmoid, softplus};

/// What a loss makes of the scores s of a positive and of its N negatives. Each is the negative of an
/// estimate of mutual information, in nats but for [`Self::Jsd`].
///
/// InfoNCE compares a positive with its own negatives. The others treat positives as samples of the
/// joint distribution P and negatives as samples of the product of its marginals Q (Hjelm 2019,
/// section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Estimator {
    /// `−log softmax(s)_0` (van den Oord 2018, eq. 4).
    #[default]
    InfoNce,
    /// `E_P[softplus(−s)] + E_Q[softplus(s)]`, the bound on the Jensen–Shannon divergence
    /// (Hjelm 2019, eq. 4).
    Jsd,
    /// `−E_P[s] + log E_Q[eˢ]`, of Donsker and Varadhan (Hjelm 2019, eq. 2). E_Q is over all rows of a
    /// prediction distance.
    Dv,
    /// `−E_P[s] + E_Q[eˢ⁻¹]` (Nguyen, Wainwright, Jordan 2010).
    Nwj,
}

impl Estimator {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::InfoNce, Self::Jsd, Self::Dv, Self::Nwj];

    /// Name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::InfoNce => "InfoNCE",
            Self::Jsd => "JSD",
            Self::Dv => "DV",
            Self::Nwj => "NWJ",
        }
    }

    /// Turns the `scores` (1 + N) of a row, the positive first, into `scale`·∂L/∂score, and returns the
    /// row's loss. `log_mean` is log E_Q[eˢ], for [`Self::Dv`].
    ///
    /// # Panics
    /// For [`Self::InfoNce`], whose rows are normalized by themselves.
    pub(super) fn gradient<F: Scalar>(self, scores: &mut [F], log_mean: f64, scale: F) -> f64 {
        let positive = scores[0].f64();
        let share = scale / F::of((scores.len() - 1) as f64);
        let n = (scores.len() - 1) as f64;
        match self {
            Self::InfoNce => unreachable!("InfoNCE normalizes each row by itself"),
            Self::Jsd => {
                let loss = softplus(-positive) + scores[1..].iter().map(|s| softplus(s.f64())).sum::<f64>() / n;
                scores[0] = -scale * sigmoid(-scores[0]);
                scores[1..].iter_mut().for_each(|s| *s = share * sigmoid(*s));
                loss
            }
            Self::Dv => {
                scores[0] = -scale;
                scores[1..].iter_mut().for_each(|s| *s = share * (*s - F::of(log_mean)).fast_exp());
                log_mean - positive
            }
            Self::Nwj => {
                let raised = |s: F| (s - F::one()).fast_exp();
                let loss = scores[1..].iter().map(|s| raised(*s).f64()).sum::<f64>() / n - positive;
                scores[0] = -scale;
                scores[1..].iter_mut().for_each(|s| *s = share * raised(*s));
                loss
            }
        }
    }
}

/// log of the mean of eˢ over scores that come one by one, without overflow.
#[derive(Debug, Clone, Copy)]
pub(super) struct LogMean {
    max: f64,
    sum: f64,
    count: f64,
}

impl LogMean {
    pub(super) const NONE: Self = Self { max: f64::NEG_INFINITY, sum: 0.0, count: 0.0 };

    pub(super) fn add(&mut self, s: f64) {
        if s > self.max {
            self.sum *= (self.max - s).exp();
            self.max = s;
        }
        self.sum += (s - self.max).exp();
        self.count += 1.0;
    }

    pub(super) fn value(self) -> f64 {
        self.max + (self.sum / self.count).ln()
    }
}
