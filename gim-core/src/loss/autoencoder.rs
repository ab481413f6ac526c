//! Greedy autoencoders: plain (Bengio, Lamblin, Popovici, Larochelle 2007) and denoising (Vincent,
//! Larochelle, Lajoie, Bengio, Manzagol 2010).

use documented::DocumentedFields;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::mlp::Mlp;
use super::{LocalLoss, LossReport, LossRule, Place, StepInfo, context_gradient};
use crate::activations::{Activations, Detached, Shape};
use crate::kernels::profile::Tasks;
use crate::param::{Param, Params};
use crate::{Error, Key, Pool, Result, Scalar};

/// [`Autoencoder`] by configuration.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, DocumentedFields)]
#[serde(deny_unknown_fields, default)]
pub struct AutoencoderRule {
    /// Share of the input's values that the encoder sees as zeros in training: 0 for the plain autoencoder,
    /// above 0 for the denoising one. What is handed on is computed from the whole input.
    pub corruption: f64,
}

impl LossRule for AutoencoderRule {
    fn build<F: Scalar>(&self, place: &Place, key: Key) -> Result<Box<dyn LocalLoss<F>>> {
        if !(0.0..1.0).contains(&self.corruption) {
            let what = format!("{} of the input's values cannot be left out", self.corruption);
            return Err(Error::config("loss.autoencoder.corruption", what, "use a share from 0 to below 1"));
        }
        let decoder = Mlp::new("loss.decoder", place.context, &[place.input.len()], key);
        Ok(Box::new(Autoencoder {
            corruption: self.corruption,
            channels: place.context,
            block: place.input,
            decoder,
            input: None,
            losses: Vec::new(),
        }))
    }
}

/// The part of a module's input that belongs to one position of its features: as many rows and columns
/// as the module's strides skip, or all of a patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InputBlock {
    /// Rows.
    pub height: usize,
    /// Columns; 1 for sequences.
    pub width: usize,
    /// Channels of the input.
    pub channels: usize,
}

impl InputBlock {
    /// Values of a block.
    pub fn len(&self) -> usize {
        self.height * self.width * self.channels
    }

    /// Whether it has no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// `mean (W h + b − x)²` over the values x of the module's input, decoded from the features h of each
/// position by a linear map of its own: h is trained to keep what rebuilds the input, module by module
/// (Bengio 2007). With [`AutoencoderRule::corruption`] ν, h is computed from an input of which
/// each value is zero with probability ν, and x stays whole: the denoising autoencoder with masking noise
/// (Vincent 2010). A value is left out or not by a draw of its own, so the number of zeros varies.
///
/// The target of a position is its block of the input (h, w, C). Where an item of the features is an item
/// of the input, the blocks of an item tile it without gaps, centered: if the H blocks of h rows do not
/// fill the X rows of the input, ⌊(X − H·h)/2⌋ rows before them belong to no position, and the rest after
/// them. Values of a block beyond the edge do not count. Where patches are the items of the input, the
/// block is the patch of the position.
///
/// Differs from the sources: the decoder is linear, its weights are not tied to the encoder's, and the
/// error is squared everywhere. Both sources use sigmoid units, and cross-entropy for inputs between 0 and 1.
pub struct Autoencoder<F: Scalar> {
    corruption: f64,
    channels: usize,
    block: InputBlock,
    decoder: Mlp<F>,
    input: Option<Detached<F>>,
    /// Sum of squares of each position of an item.
    losses: Vec<f64>,
}

/// Positions of a task: a constant, so that results do not depend on the number of threads.
const TASK_ROWS: usize = 16;

/// How the blocks of the features of an item tile an input.
#[derive(Debug, Clone, Copy)]
struct Tiling {
    /// Items of the input for each item of the features: 1, or its positions.
    items: usize,
    /// First row and column of the first block; negative where blocks reach beyond the edge.
    first: [isize; 2],
    /// Values of the input inside of the blocks of one item of the features.
    values: usize,
}

impl<F: Scalar> Autoencoder<F> {
    /// The tiling of an input `x` by features `z`; `None` where there is none.
    fn tiling(&self, x: Shape, z: Shape) -> Option<Tiling> {
        let (block, positions) = (self.block, z.height * z.width);
        if x.batch == z.batch {
            let along = |extent: usize, n: usize, size: usize| {
                let first = (extent as isize - (n * size) as isize).div_euclid(2);
                let end = (first + (n * size) as isize).min(extent as isize);
                (first, (end - first.max(0)).max(0) as usize)
            };
            let (top, rows) = along(x.height, z.height, block.height);
            let (left, columns) = along(x.width, z.width, block.width);
            let values = rows * columns * block.channels;
            return (values > 0).then_some(Tiling { items: 1, first: [top, left], values });
        }
        let whole = x.batch == z.batch * positions && (x.height, x.width) == (block.height, block.width);
        let tiling = Tiling { items: positions, first: [0, 0], values: positions * block.len() };
        (whole && tiling.values > 0).then_some(tiling)
    }
}

/// What decoded blocks are compared with.
struct Compared<'a, F: Scalar> {
    input: &'a Activations<F>,
    tiling: Tiling,
    block: InputBlock,
}

impl<F: Scalar> Compared<'_, F> {
    /// Turns what is decoded at position (y, x) of feature item `item` into `scale` times its difference
    /// from the block in the input, and returns the sum of squares. Values beyond the edge are 0.
    fn with(&self, (item, y, x, width): (usize, usize, usize, usize), decoded: &mut [F], scale: F) -> f64 {
        let Self { input, tiling, block } = *self;
        let shape = input.shape();
        let (item, y, x) = if tiling.items == 1 { (item, y, x) } else { (item * tiling.items + y * width + x, 0, 0) };
        let values = input.item(item);
        let top = tiling.first[0] + (y * block.height) as isize;
        let left = tiling.first[1] + (x * block.width) as isize;
        let inside = |at: isize, extent: usize| usize::try_from(at).ok().filter(|at| *at < extent);
        let mut sum = 0.0;
        for (i, decoded) in decoded.chunks_exact_mut(block.channels).enumerate() {
            let row = inside(top + (i / block.width) as isize, shape.height);
            let column = inside(left + (i % block.width) as isize, shape.width);
            let (Some(row), Some(column)) = (row, column) else {
                decoded.fill(F::zero());
                continue;
            };
            let target = &values[(row * shape.width + column) * block.channels..][..block.channels];
            for (decoded, target) in decoded.iter_mut().zip(target) {
                let apart = *decoded - *target;
                sum += (apart * apart).f64();
                *decoded = scale * apart;
            }
        }
        sum
    }
}

impl<F: Scalar> Params<F> for Autoencoder<F> {
    fn visit(&mut self, f: &mut dyn FnMut(&mut Param<F>)) {
        self.decoder.visit(f);
    }
}

impl<F: Scalar> LocalLoss<F> for Autoencoder<F> {
    fn describe(&self) -> String {
        let InputBlock { height, width, channels } = self.block;
        let kind = if self.corruption > 0.0 {
            format!("denoising autoencoder, {} zeroed", self.corruption)
        } else {
            "autoencoder".to_owned()
        };
        format!("{kind}, blocks of {height} × {width} × {channels}")
    }

    fn check(&self, z: Shape, c: Option<Shape>) -> Result<()> {
        assert_eq!(c.unwrap_or(z).channels, self.channels, "features do not fit the decoder");
        Ok(())
    }

    fn wants_input(&self) -> bool {
        true
    }

    fn check_input(&self, x: Shape, z: Shape) -> Result<()> {
        assert_eq!(x.channels, self.block.channels, "the input does not fit the decoder");
        if self.tiling(x, z).is_none() {
            let what = format!(
                "features ({}, {}, {}) have no blocks in an input ({}, {}, {})",
                z.batch, z.height, z.width, x.batch, x.height, x.width
            );
            return Err(Error::config("loss.kind", what, "use longer inputs, or another loss"));
        }
        Ok(())
    }

    fn set_input(&mut self, x: Option<&Detached<F>>) {
        self.input = x.cloned();
    }

    fn corruption(&self) -> f64 {
        self.corruption
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
        let block = self.block.len();
        let Some(input) = self.input.clone() else { panic!("an autoencoder has not been given its input") };
        let tiling = self.tiling(input.shape(), features.shape());
        let tiling = tiling.unwrap_or_else(|| panic!("shapes were not checked: {:?}", input.shape()));
        let values = (batch * tiling.values) as f64;
        let (compared, losses) = (Compared { input: &input, tiling, block: self.block }, &mut self.losses);
        losses.resize(height * width, 0.0);
        let mut loss = 0.0;
        self.decoder.by_item(features, context_gradient(c, dz, dc), pool, |item, d| {
            (d.par_chunks_mut(block), &mut *losses).into_par_iter().enumerate().with_min_len(TASK_ROWS).for_each_task(
                "reconstruction",
                |(row, (d, loss))| {
                    let place = (item, row / width, row % width, width);
                    *loss = compared.with(place, d, F::of(2.0 / values));
                },
            );
            loss += losses.iter().sum::<f64>();
        });
        LossReport { loss: loss / values, accuracy: f64::NAN }
    }

    fn multiply_adds(&self, z: Shape) -> u64 {
        (z.positions() * self.decoder.multiply_adds()) as u64
    }
}
