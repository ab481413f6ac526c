//! The registry of losses: their names, their settings, and how one is built at its place in a network.
//!
//! A new loss is a file beside this one, whose settings implement [`LossRule`], and one line in the
//! table below.

use std::fmt;

use documented::DocumentedFields;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{
    AutoencoderRule, AuxiliaryRule, BarlowTwinsRule, ClappRule, CrossEntropyRule, ForwardForwardRule, InfoNceRule,
    InputBlock, LocalLoss, LplRule, NtXentRule, PermutationContrastiveRule, PredsimRule, SlowFeaturesRule, Supervision,
    TimeContrastiveRule, VicRegRule,
};
use crate::sampler::{Direction, SamplerKind};
use crate::{Error, Key, Result, Scalar};

/// What losses that predict a grid have in common; settings of the domain.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// Number of prediction distances K.
    pub prediction_steps: usize,
    /// Negatives N for each positive.
    pub negatives: usize,
    /// Negative sampler.
    pub sampler: SamplerKind,
    /// Positions skipped before the first prediction, because neighboring patches overlap.
    pub skip: usize,
    /// Length of the random window that is scored, in positions; `None` scores the whole grid.
    pub window: Option<usize>,
    /// ε inside the published logarithm; `None` for the exact log-softmax.
    pub epsilon: Option<f64>,
    /// Directions in which a grid is predicted; `None` for sequences, which have one.
    pub directions: Option<Vec<Direction>>,
}

impl Prediction {
    /// The directions, each once; those of sequences are [`Direction::Down`] alone.
    ///
    /// # Errors
    /// [`Error::Config`] when none is named, or one twice.
    pub fn distinct_directions(&self) -> Result<&[Direction]> {
        let Some(ways) = &self.directions else { return Ok(&[Direction::Down]) };
        if ways.is_empty() || (1..ways.len()).any(|i| ways[..i].contains(&ways[i])) {
            let what =
                format!("[{}] names none, or one twice", ways.iter().map(|d| d.name()).collect::<Vec<_>>().join(", "));
            let names = Direction::ALL.map(Direction::name).join(", ");
            return Err(Error::config("loss.directions", what, format_args!("use some of {names}")));
        }
        Ok(ways)
    }

    /// Whether a direction runs along the height, and whether one runs along the width.
    ///
    /// # Errors
    /// As [`Self::distinct_directions`].
    pub fn ways(&self) -> Result<[bool; 2]> {
        let directions = self.distinct_directions()?;
        Ok([false, true].map(|sideways| directions.iter().any(|d| d.sideways() == sideways)))
    }

    /// Positions along a direction that all prediction distances need.
    pub fn need(&self) -> usize {
        self.prediction_steps + self.skip + 1
    }
}

/// Where a loss stands: what it is given by its module and its domain.
#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    /// Channels C of the features z.
    pub channels: usize,
    /// Channels D of the contexts c; C where there is no context network.
    pub context: usize,
    /// The part of the module's input that belongs to a position of the features.
    pub input: InputBlock,
    /// What is predicted of a grid.
    pub prediction: Prediction,
    /// Classes and labels, for losses that learn from them.
    pub supervision: Option<Supervision>,
}

impl Place {
    /// Classes and labels.
    ///
    /// # Panics
    /// When there are none: [`LossChoice::kind`] pairs losses with labels.
    pub fn supervision(&self) -> Supervision {
        self.supervision.unwrap_or_else(|| panic!("a loss that learns from labels has none"))
    }
}

/// The settings of a loss; their default is their source's.
pub trait LossRule: Default + Clone + PartialEq + fmt::Debug + Serialize + DeserializeOwned + DocumentedFields {
    /// Whether it learns from labels.
    const LABELS: bool = false;

    /// Positions along the grid that it needs at least.
    fn need(&self, _prediction: &Prediction) -> usize {
        1
    }

    /// Items that a batch must hold at least.
    fn least_items(&self) -> usize {
        if self.needs_views() { 2 } else { 1 }
    }

    /// Whether a batch must hold two views of each item, as [`Compare`](super::Compare) orders them.
    fn needs_views(&self) -> bool {
        false
    }

    /// The loss at its place. Initial weights are drawn from `key`.
    ///
    /// # Errors
    /// [`Error::Config`] when a setting cannot be used.
    fn build<F: Scalar>(&self, place: &Place, key: Key) -> Result<Box<dyn LocalLoss<F>>>;
}

macro_rules! registry {
    ($($(#[$doc:meta])* $kind:ident = $name:literal, $field:ident: $rule:ty;)*) => {
        /// The losses that a configuration can name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum LossKind {
            $($(#[$doc])* $kind,)*
        }

        impl LossKind {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$kind),*];

            /// Name in configuration and tables, and of the table of its settings.
            pub fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }

            /// Whether it learns from labels.
            pub fn needs_labels(self) -> bool {
                match self { $(Self::$kind => <$rule as LossRule>::LABELS,)* }
            }
        }

        /// The settings of every loss, each a table under the loss's name.
        #[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
        #[serde(default)]
        pub struct LossSettings {
            $($(#[$doc])* #[serde(rename = $name)] pub $field: $rule,)*
        }

        impl LossSettings {
            /// What each setting of a loss is for: its name and its documentation.
            pub fn docs(kind: LossKind) -> (&'static [&'static str], &'static [&'static str]) {
                match kind { $(LossKind::$kind => (<$rule>::FIELD_NAMES, <$rule>::FIELD_DOCS),)* }
            }

            /// Positions along the grid that loss `kind` needs at least.
            pub fn need(&self, kind: LossKind, prediction: &Prediction) -> usize {
                match kind { $(LossKind::$kind => self.$field.need(prediction),)* }
            }

            /// Items that a batch must hold at least for loss `kind`.
            pub fn least_items(&self, kind: LossKind) -> usize {
                match kind { $(LossKind::$kind => self.$field.least_items(),)* }
            }

            /// Whether loss `kind` needs batches with two views of each item, as
            /// [`Compare`](super::Compare) orders them.
            pub fn needs_views(&self, kind: LossKind) -> bool {
                match kind { $(LossKind::$kind => self.$field.needs_views(),)* }
            }

            /// Loss `kind` at its place. Initial weights are drawn from `key`.
            ///
            /// # Errors
            /// [`Error::Config`] when a setting cannot be used.
            pub fn build<F: Scalar>(&self, kind: LossKind, place: &Place, key: Key) -> Result<Box<dyn LocalLoss<F>>> {
                match kind { $(LossKind::$kind => self.$field.build(place, key),)* }
            }
        }
    };
}

registry! {
    /// [`InfoNce`](super::InfoNce), and other bounds on the same scores.
    InfoNce = "infonce", infonce: InfoNceRule;
    /// [`CrossEntropy`](super::CrossEntropy) of a linear classifier.
    CrossEntropy = "cross-entropy", cross_entropy: CrossEntropyRule;
    /// [`Clapp`](super::Clapp): a hinge on predictions.
    Clapp = "clapp", clapp: ClappRule;
    /// [`VicReg`](super::VicReg) on pairs.
    VicReg = "vicreg", vicreg: VicRegRule;
    /// [`BarlowTwins`](super::BarlowTwins) on pairs.
    BarlowTwins = "barlow-twins", barlow_twins: BarlowTwinsRule;
    /// [`NtXent`](super::NtXent), SimCLR's loss, on pairs.
    NtXent = "nt-xent", nt_xent: NtXentRule;
    /// [`SlowFeatures`](super::SlowFeatures) of pairs.
    SlowFeatures = "slow-features", slow_features: SlowFeaturesRule;
    /// [`Lpl`](super::Lpl) on neighbors: prediction, variance and decorrelation.
    Lpl = "lpl", lpl: LplRule;
    /// [`TimeContrastive`](super::TimeContrastive): which segment a position lies in.
    TimeContrastive = "time-contrastive", time_contrastive: TimeContrastiveRule;
    /// [`PermutationContrastive`](super::PermutationContrastive): real pairs against permuted ones.
    PermutationContrastive = "permutation-contrastive", permutation_contrastive: PermutationContrastiveRule;
    /// [`Autoencoder`](super::Autoencoder), plain or denoising: the module's input from its features.
    Autoencoder = "autoencoder", autoencoder: AutoencoderRule;
    /// [`Auxiliary`](super::Auxiliary): cross-entropy through a head of several layers.
    Auxiliary = "auxiliary", auxiliary: AuxiliaryRule;
    /// [`Predsim`](super::Predsim): cross-entropy and similarity matching.
    Predsim = "predsim", predsim: PredsimRule;
    /// [`ForwardForward`](super::ForwardForward): goodness of each class's channels.
    ForwardForward = "forward-forward", forward_forward: ForwardForwardRule;
}

impl fmt::Display for LossKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The setting `loss.kind`: a loss, or `auto`, which is InfoNCE without labels and cross-entropy with
/// them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LossChoice(pub Option<LossKind>);

/// Name of the choice that follows from labels.
const AUTO: &str = "auto";

impl LossChoice {
    /// The loss, for a target with or without labels.
    ///
    /// # Errors
    /// [`Error::Config`] when the loss named needs labels and there are none, or the other way round.
    pub fn kind(self, labels: bool) -> Result<LossKind> {
        let auto = if labels { LossKind::CrossEntropy } else { LossKind::InfoNce };
        match self.0 {
            None => Ok(auto),
            Some(kind) if kind.needs_labels() == labels => Ok(kind),
            Some(kind) => {
                let (what, remedy) = if labels {
                    (
                        format!("{kind} learns without labels, but loss.target names some"),
                        "use loss.target = \"future\"",
                    )
                } else {
                    (format!("{kind} learns from labels, but loss.target names none"), "name labels in loss.target")
                };
                Err(Error::config("loss.kind", what, remedy))
            }
        }
    }
}

impl From<LossChoice> for String {
    fn from(choice: LossChoice) -> Self {
        choice.0.map_or(AUTO, LossKind::name).to_owned()
    }
}

impl TryFrom<String> for LossChoice {
    type Error = String;

    fn try_from(name: String) -> std::result::Result<Self, String> {
        if name == AUTO {
            return Ok(Self(None));
        }
        let found = LossKind::ALL.iter().copied().find(|kind| kind.name() == name);
        found.map(|kind| Self(Some(kind))).ok_or_else(|| {
            let names: Vec<_> = LossKind::ALL.iter().map(|kind| format!("`{}`", kind.name())).collect();
            format!("unknown variant `{name}`, expected one of `{AUTO}`, {}", names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_fits_its_labels() {
        for kind in LossKind::ALL {
            let choice = LossChoice::try_from(kind.name().to_owned()).unwrap();
            assert_eq!(choice.kind(kind.needs_labels()).unwrap(), *kind);
            assert!(choice.kind(!kind.needs_labels()).unwrap_err().to_string().contains("labels"));
            assert_eq!(String::from(choice), kind.name());
        }
        let auto = LossChoice::default();
        assert_eq!([true, false].map(|l| auto.kind(l).unwrap()), [LossKind::CrossEntropy, LossKind::InfoNce]);
        assert!(LossChoice::try_from("infonse".to_owned()).unwrap_err().contains("infonce"));
    }
}
