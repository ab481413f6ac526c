//! What losses that learn from labels share: means of bins, and cross-entropy of rows.

use rayon::prelude::*;

use super::{LossReport, bin};
use crate::activations::{Activations, Shape};
use crate::kernels::profile::Tasks;
use crate::kernels::vector::{add_scaled, log_softmax};
use crate::{Buffer, Error, Pool, Result, Scalar};

/// Contexts `c` (N, H, W, C) → means of S bins along the height (N·S, C).
pub(super) fn pool_bins<F: Scalar>(c: &Activations<F>, bins: usize, pool: &Pool<F>) -> Buffer<F> {
    let (shape, stride) = (c.shape(), c.layout().height_stride());
    let mut pooled = pool.zeros(shape.batch * bins * shape.channels);
    for (row, to) in pooled.chunks_exact_mut(shape.channels).enumerate() {
        let (from, until) = bin(row % bins, bins, shape.height);
        let rows = &c.item(row / bins)[from * stride..until * stride];
        let share = F::of(1.0 / ((until - from) * shape.width) as f64);
        rows.chunks_exact(shape.channels).for_each(|r| add_scaled(to, share, r));
    }
    pooled
}

/// Refuses features without a position, which have no mean.
pub(super) fn check_positions(z: Shape) -> Result<()> {
    if z.height == 0 {
        return Err(Error::config("input", "there are no positions to average", "use longer inputs"));
    }
    Ok(())
}

/// Labels of each item S: as configured, or as many as come with a batch of `items` items.
pub(super) fn labels_per_item(bins: Option<usize>, labels: &[i32], items: usize) -> usize {
    let bins = bins.unwrap_or(labels.len() / items);
    assert!(bins > 0 && labels.len() == items * bins, "{} labels of {items} items", labels.len());
    bins
}

/// ∂loss/∂means (N·S, C) → ∂loss/∂contexts, overwritten.
pub(super) fn pool_bins_backward<F: Scalar>(dpooled: &[F], bins: usize, into: &mut Activations<F>) {
    into.memory_mut().fill(F::zero());
    let (shape, stride) = (into.shape(), into.layout().height_stride());
    for (row, from) in dpooled.chunks_exact(shape.channels).enumerate() {
        let (first, until) = bin(row % bins, bins, shape.height);
        let share = F::of(1.0 / ((until - first) * shape.width) as f64);
        let rows = &mut into.item_mut(row / bins)[first * stride..until * stride];
        rows.chunks_exact_mut(shape.channels).for_each(|to| add_scaled(to, share, from));
    }
}

/// Mean cross-entropy in nats of logits `d` (rows, classes), which become its gradient. Rows whose label
/// is −1 are left out.
pub(super) fn cross_entropy_rows<F: Scalar>(d: &mut [F], classes: usize, labels: &[i32]) -> LossReport {
    assert_eq!(labels.len() * classes, d.len(), "{} labels are needed", d.len() / classes);
    let labeled = labels.iter().filter(|l| **l >= 0).count().max(1);
    let scale = F::of(1.0 / labeled as f64);
    let mut losses = vec![(0.0, false); labels.len()];
    (d.par_chunks_mut(classes), losses.par_iter_mut(), labels.par_iter())
        .into_par_iter()
        .with_min_len(32)
        .for_each_task("cross-entropy", |(d, loss, label)| {
            let Ok(label) = usize::try_from(*label) else {
                d.fill(F::zero());
                return;
            };
            assert!(label < classes, "label {label} of {classes} classes");
            let won = d.iter().enumerate().all(|(j, s)| j == label || *s < d[label]);
            log_softmax(d);
            *loss = (-d[label].f64(), won);
            d.iter_mut().for_each(|x| *x = x.exp() * scale);
            d[label] -= scale;
        });
    let n = labeled as f64;
    LossReport {
        loss: losses.iter().map(|l| l.0).sum::<f64>() / n,
        accuracy: losses.iter().filter(|l| l.1).count() as f64 / n,
    }
}
