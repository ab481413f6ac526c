//! TCL: time-contrastive learning (Hyvärinen & Morioka 2016).

use documented::DocumentedFields;
use serde::{Deserialize, Serialize};

use super::labels::cross_entropy_rows;
use super::mlp::Mlp;
use super::{LocalLoss, LossReport, LossRule, Place, Prediction, StepInfo, context_gradient};
use crate::activations::{Activations, Shape};
use crate::param::{Param, Params};
use crate::{Error, Key, Pool, Result, Scalar};

/// [`TimeContrastive`] by configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, DocumentedFields)]
#[serde(deny_unknown_fields, default)]
pub struct TimeContrastiveRule {
    /// Segments into which an item is cut along time, or along each of the height and the width of an
    /// image that `loss.directions` use.
    pub segments: usize,
}

impl Default for TimeContrastiveRule {
    fn default() -> Self {
        Self { segments: 4 }
    }
}

impl LossRule for TimeContrastiveRule {
    fn need(&self, _: &Prediction) -> usize {
        self.segments
    }

    fn build<F: Scalar>(&self, place: &Place, key: Key) -> Result<Box<dyn LocalLoss<F>>> {
        let ways = place.prediction.ways()?;
        let classes = ways.iter().filter(|used| **used).map(|_| self.segments).product();
        if classes < 2 {
            let what = format!("{} segment leaves nothing to tell apart", self.segments);
            return Err(Error::config("loss.time-contrastive.segments", what, "use 2 segments or more"));
        }
        Ok(Box::new(TimeContrastive {
            segments: self.segments,
            channels: place.context,
            ways,
            classes,
            classifier: Mlp::new("loss.segments", place.context, &[classes], key),
            labels: Vec::new(),
        }))
    }
}

/// `−log softmax(W h + b)_s` of the segment s in which a position lies, the mean over all positions:
/// multinomial logistic regression (Hyvärinen & Morioka 2016, section 2).
///
/// A segment is one of S nearly equal parts of an item, along the height H or the width: position y
/// lies in segment ⌊y·S/H⌋. Where `loss.directions` use both, an image has S² segments. Items are
/// crops, so a segment is a part of the crop. Classes are shared by all items: segment s of one is the
/// class of segment s of any other.
///
/// Differs from the source: it cuts one long series into hundreds of segments, which differ in the
/// distributions of their sources. A crop holds few, so the default is 4. The source takes absolute values in the last hidden layer; here the classifier reads the module's
/// features as they are.
pub struct TimeContrastive<F: Scalar> {
    segments: usize,
    channels: usize,
    /// Whether segments lie along the height, and along the width.
    ways: [bool; 2],
    classes: usize,
    classifier: Mlp<F>,
    /// Segments of the positions (H, W) of an item.
    labels: Vec<i32>,
}

impl<F: Scalar> TimeContrastive<F> {
    /// Segment of position `at` of `extent`, and the number of segments, along the height or the width.
    fn segment(&self, way: usize, at: usize, extent: usize) -> (usize, usize) {
        if self.ways[way] { (at * self.segments / extent, self.segments) } else { (0, 1) }
    }
}

impl<F: Scalar> Params<F> for TimeContrastive<F> {
    fn visit(&mut self, f: &mut dyn FnMut(&mut Param<F>)) {
        self.classifier.visit(f);
    }
}

impl<F: Scalar> LocalLoss<F> for TimeContrastive<F> {
    fn describe(&self) -> String {
        format!("time-contrastive, {} segments", self.classes)
    }

    fn check(&self, z: Shape, c: Option<Shape>) -> Result<()> {
        let z = c.unwrap_or(z);
        assert_eq!(z.channels, self.channels, "features do not fit the classifier");
        let cut = [z.height, z.width].into_iter().zip(self.ways).filter(|(_, used)| *used);
        let least = cut.map(|(extent, _)| extent).min().unwrap_or(0);
        if least < self.segments {
            let what = format!("{least} positions cannot be cut into {} segments", self.segments);
            let remedy = "use longer inputs, or fewer segments";
            return Err(Error::config("loss.time-contrastive.segments", what, remedy));
        }
        Ok(())
    }

    fn value_and_grad(
        &mut self,
        z: &Activations<F>,
        c: Option<&Activations<F>>,
        _: StepInfo<'_>,
        dz: Option<&mut Activations<F>>,
        dc: Option<&mut Activations<F>>,
        pool: &Pool<F>,
    ) -> LossReport {
        let features = c.unwrap_or(z);
        let Shape { batch, height, width, .. } = features.shape();
        self.labels.clear();
        for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
            let ((down, _), (across, n)) = (self.segment(0, y, height), self.segment(1, x, width));
            self.labels.push((down * n + across) as i32);
        }
        let (share, classes, labels) = (1.0 / batch as f64, self.classes, &self.labels);
        let mut mean = LossReport { loss: 0.0, accuracy: 0.0 };
        self.classifier.by_item(features, context_gradient(c, dz, dc), pool, |_, d| {
            let report = cross_entropy_rows(d, classes, labels);
            mean.loss += share * report.loss;
            mean.accuracy += share * report.accuracy;
            d.iter_mut().for_each(|d| *d *= F::of(share));
        });
        mean
    }

    fn multiply_adds(&self, z: Shape) -> u64 {
        (z.positions() * self.classifier.multiply_adds()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_nearly_equal_parts() {
        let loss = TimeContrastive::<f64> {
            segments: 4,
            channels: 1,
            ways: [true, false],
            classes: 4,
            classifier: Mlp::new("loss.segments", 1, &[4], Key::new(0, crate::Purpose::Init)),
            labels: Vec::new(),
        };
        let cut = |extent| (0..extent).map(|y| loss.segment(0, y, extent).0).collect::<Vec<_>>();
        assert_eq!(cut(10), [0, 0, 0, 1, 1, 2, 2, 2, 3, 3]);
        assert_eq!(cut(4), [0, 1, 2, 3]);
        assert_eq!(loss.segment(1, 3, 10), (0, 1), "a direction that is not used");
    }
}
