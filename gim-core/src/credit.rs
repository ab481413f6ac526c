//! Credit assignment: how the error of a loss reaches the layers below it.

use serde::{Deserialize, Serialize};

use crate::layers::Sequential;
use crate::param::Params;
use crate::stack::Stack;
use crate::{Key, Purpose, Result, Scalar};

/// How errors go down within a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CreditAssignment {
    /// Through the transposed weights: the gradient.
    #[default]
    Backpropagation,
    /// Through fixed random weights (Lillicrap et al. 2016, "Random synaptic feedback weights support error
    /// backpropagation for deep learning").
    ///
    /// A layer y = f(W x) gets ∂W = δ xᵀ as in back-propagation and passes Bᵀ δ down instead of Wᵀ δ, δ = f′ ∂y.
    /// W learns, and in doing so turns towards B. All weights that errors go through have feedback weights,
    /// recurrent ones and those of losses included; see [`Param::transported`](crate::param::Param::transported).
    FeedbackAlignment,
    /// From the output of a module's encoder straight to the output of each of its layers, through a fixed random
    /// matrix (Nøkland 2016, "Direct feedback alignment provides learning in deep neural networks"). Loss,
    /// context network and readout pass their errors exactly.
    DirectFeedbackAlignment,
}

impl CreditAssignment {
    /// Gives the encoder of a module what this rule needs of its own, drawn by `key`, whose purpose does not count.
    pub fn prepare<F: Scalar>(self, encoder: &mut Sequential<F>, key: Key) {
        if self == Self::DirectFeedbackAlignment {
            encoder.set_direct_feedback(key.with_purpose(Purpose::Feedback));
        }
    }

    /// The stack that `draw` makes of [`Purpose::Init`], with feedback weights where this rule has them: the
    /// weights of a second stack, which `draw` makes of [`Purpose::Feedback`]. They follow from the seed and the
    /// layer's place, as initial weights do, and have the same distribution.
    ///
    /// # Errors
    /// Those of `draw`.
    pub fn build<F: Scalar>(self, draw: impl Fn(Purpose) -> Result<Stack<F>>) -> Result<Stack<F>> {
        let mut stack = draw(Purpose::Init)?;
        if self == Self::FeedbackAlignment {
            let mut twin = draw(Purpose::Feedback)?;
            for (module, twin) in stack.modules_mut().iter_mut().zip(twin.modules_mut()) {
                attach_feedback(module.params(), twin.params());
            }
        }
        Ok(stack)
    }
}

/// Gives all transported parameters the values of `twin`'s as feedback weights, which are taken from it.
///
/// # Panics
/// When `twin` has other parameters.
pub fn attach_feedback<F: Scalar>(params: &mut dyn Params<F>, twin: &mut dyn Params<F>) {
    let mut drawn = Vec::new();
    twin.visit(&mut |p| drawn.extend(p.is_transported().then(|| std::mem::take(&mut p.value))));
    let mut drawn = drawn.into_iter();
    params.visit(&mut |p| {
        if p.is_transported() {
            let Some(weights) = drawn.next() else { panic!("the twin has no weights for {}", p.name) };
            p.set_feedback(Some(weights));
        }
    });
    assert!(drawn.next().is_none(), "the twin has more weights");
}

/// The angle between a weight and its feedback weights, by [`crate::param::Param::feedback_angle`].
#[derive(Debug, Clone, PartialEq)]
pub struct Alignment {
    /// One-based number of the module.
    pub module: usize,
    /// Name of the parameter within its module.
    pub weight: String,
    /// The angle in degrees.
    pub degrees: f64,
}

/// The angles of all weights of a stack that have feedback weights, first module first.
///
/// Those of a module's first layer carry no error, since nothing below trains: their angle stays what chance
/// makes it, about 90 degrees.
pub fn alignments<F: Scalar>(stack: &mut Stack<F>) -> Vec<Alignment> {
    let mut all = Vec::new();
    for (module, own) in (1..).zip(stack.modules_mut()) {
        own.params().visit(&mut |p| {
            let angle = p.feedback_angle();
            all.extend(angle.map(|degrees| Alignment { module, weight: p.name.clone(), degrees }));
        });
    }
    all
}
