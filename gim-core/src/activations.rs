//! Channels-last activations, and the gradient block as a type.
//!
//! One shape serves every domain: (N, H, W, C) = batch, height, width, channels. A sequence has its
//! time as height and width 1.
//!
//! An item may be stored between margins of zeros along the height: `before` rows in front, `padded`
//! rows in all. A convolution over padded, channels-last rows is then a plain matrix product on
//! overlapping rows of the same memory.

use std::sync::Arc;

use ndarray::{ArrayView4, ShapeBuilder};

use serde::{Deserialize, Serialize};

use crate::{Buffer, Pool, Scalar};

/// Logical shape (N, H, W, C) of activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Shape {
    /// N: number of items (utterances, images or patches).
    pub batch: usize,
    /// H: time of a sequence, rows of an image.
    pub height: usize,
    /// W: columns of an image; 1 for sequences.
    pub width: usize,
    /// C: channels.
    pub channels: usize,
}

impl Shape {
    /// Sequences (batch, time, channels).
    pub fn sequence(batch: usize, time: usize, channels: usize) -> Self {
        Self { batch, height: time, width: 1, channels }
    }

    /// Shape of an array (N, H, W, C).
    pub fn of<F>(x: &ArrayView4<'_, F>) -> Self {
        let (batch, height, width, channels) = x.dim();
        Self { batch, height, width, channels }
    }

    /// Positions of the batch: N·H·W.
    pub fn positions(&self) -> usize {
        self.batch * self.height * self.width
    }

    /// Values in the batch: N·H·W·C.
    pub fn len(&self) -> usize {
        self.positions() * self.channels
    }

    /// Whether the batch has no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The same grid with another number of channels.
    pub fn with_channels(self, channels: usize) -> Self {
        Self { channels, ..self }
    }
}

/// A shape and where its values lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Logical shape, without margins.
    pub shape: Shape,
    /// Rows of zeros in front of each item, along the height.
    pub before: usize,
    /// Rows of an item in memory, margins included.
    pub padded: usize,
}

impl Layout {
    /// No margins.
    pub fn dense(shape: Shape) -> Self {
        Self { shape, before: 0, padded: shape.height }
    }

    /// With margins of `before` rows in front and `padded` rows in all.
    ///
    /// # Panics
    /// When `padded < before + H`.
    pub fn padded(shape: Shape, before: usize, padded: usize) -> Self {
        assert!(padded >= before + shape.height, "{padded} rows cannot hold {before} + {shape:?}");
        Self { shape, before, padded }
    }

    /// Values in memory, margins included.
    pub fn len(&self) -> usize {
        self.shape.batch * self.batch_stride()
    }

    /// Whether nothing is stored.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Values from one row along the height to the next: W·C.
    pub fn height_stride(&self) -> usize {
        self.shape.width * self.shape.channels
    }

    /// Values from one item to the next, margins included.
    pub fn batch_stride(&self) -> usize {
        self.padded * self.height_stride()
    }

    /// Memory row of the position (item, y, x). A memory row is the C values of one position.
    pub fn row(&self, item: usize, y: usize, x: usize) -> usize {
        (item * self.padded + self.before + y) * self.shape.width + x
    }

    /// Memory row of position number `index` = `(item · H + y) · W + x`.
    pub fn row_of(&self, index: usize) -> usize {
        let per_item = self.shape.height * self.shape.width;
        let (item, rest) = (index / per_item, index % per_item);
        item * self.padded * self.shape.width + self.before * self.shape.width + rest
    }
}

/// Activations (N, H, W, C) in a recycled buffer. Margins are zero whenever a layer is called.
#[derive(Debug)]
pub struct Activations<F: Scalar> {
    data: Buffer<F>,
    layout: Layout,
}

impl<F: Scalar> Activations<F> {
    /// Values unspecified, margins zero.
    pub fn new(layout: Layout, pool: &Pool<F>) -> Self {
        let mut a = Self { data: pool.take(layout.len()), layout };
        a.clear_margins();
        a
    }

    /// All zero.
    pub fn zeros(layout: Layout, pool: &Pool<F>) -> Self {
        Self { data: pool.zeros(layout.len()), layout }
    }

    /// A copy of `values` (N, H, W, C), dense.
    ///
    /// # Panics
    /// When there are more or fewer values than the shape has.
    pub fn from_slice(layout: Layout, values: &[F], pool: &Pool<F>) -> Self {
        let shape = layout.shape;
        assert_eq!(values.len(), shape.len(), "{shape:?} needs {} values", shape.len());
        let mut a = Self::new(layout, pool);
        let item = shape.len() / shape.batch.max(1);
        for (i, from) in values.chunks_exact(item.max(1)).enumerate() {
            a.item_mut(i).copy_from_slice(from);
        }
        a
    }

    /// A copy of an array (N, H, W, C), whatever its strides.
    ///
    /// # Panics
    /// When the array is not of the layout's shape.
    pub fn from_array(layout: Layout, values: ArrayView4<'_, F>, pool: &Pool<F>) -> Self {
        assert_eq!(Shape::of(&values), layout.shape, "an array of another shape");
        let mut a = Self::new(layout, pool);
        for (i, item) in values.outer_iter().enumerate() {
            a.item_mut(i).iter_mut().zip(item).for_each(|(to, from)| *to = *from);
        }
        a
    }

    /// A dense copy (N, H, W, C).
    pub fn to_vec(&self) -> Vec<F> {
        (0..self.layout.shape.batch).flat_map(|i| self.item(i).iter().copied()).collect()
    }

    /// Sets the margins to zero.
    pub fn clear_margins(&mut self) {
        let (item, row) = (self.layout.batch_stride(), self.layout.height_stride());
        let (from, to) = (self.layout.before * row, (self.layout.before + self.layout.shape.height) * row);
        if item > 0 && to - from < item {
            for chunk in self.data.chunks_exact_mut(item) {
                chunk[..from].fill(F::zero());
                chunk[to..].fill(F::zero());
            }
        }
    }

    /// Logical shape.
    pub fn shape(&self) -> Shape {
        self.layout.shape
    }

    /// Shape and margins.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// All memory, margins included.
    pub fn memory(&self) -> &[F] {
        &self.data
    }

    /// All memory, margins included. After writing to margins, call [`Self::clear_margins`].
    pub fn memory_mut(&mut self) -> &mut [F] {
        &mut self.data
    }

    /// The C values of a memory row (see [`Layout::row`]).
    pub fn at(&self, row: usize) -> &[F] {
        let c = self.layout.shape.channels;
        &self.data[row * c..][..c]
    }

    /// The C values of a memory row, to write.
    pub fn at_mut(&mut self, row: usize) -> &mut [F] {
        let c = self.layout.shape.channels;
        &mut self.data[row * c..][..c]
    }

    /// The values (H, W, C) of one item, without margins.
    pub fn item(&self, item: usize) -> &[F] {
        let l = self.layout;
        &self.data[item * l.batch_stride() + l.before * l.height_stride()..][..l.shape.height * l.height_stride()]
    }

    /// The values (H, W, C) of one item, to write.
    pub fn item_mut(&mut self, item: usize) -> &mut [F] {
        let l = self.layout;
        &mut self.data[item * l.batch_stride() + l.before * l.height_stride()..][..l.shape.height * l.height_stride()]
    }

    /// View (N, H, W, C) without margins.
    pub fn view(&self) -> ArrayView4<'_, F> {
        let (l, s) = (self.layout, self.layout.shape);
        let strides = (l.batch_stride(), l.height_stride(), s.channels, 1);
        let from = (l.before * l.height_stride()).min(self.data.len());
        ArrayView4::from_shape((s.batch, s.height, s.width, s.channels).strides(strides), &self.data[from..])
            .unwrap_or_else(|e| unreachable!("a layout always fits its memory: {e}"))
    }

    /// Puts these activations behind a gradient block. From here on they can only be read.
    pub fn detach(self) -> Detached<F> {
        Detached(Arc::new(self))
    }
}

/// Activations behind a gradient block.
///
/// What one module hands to the next. It can be read and shared. It cannot be written to, and it
/// carries no gradient, so the types leave no path from a module to those below it.
#[derive(Debug)]
pub struct Detached<F: Scalar>(Arc<Activations<F>>);

impl<F: Scalar> Clone for Detached<F> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<F: Scalar> std::ops::Deref for Detached<F> {
    type Target = Activations<F>;
    fn deref(&self) -> &Activations<F> {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn margins_are_zero_and_rows_are_found() {
        let pool = Pool::<f32>::new();
        drop(pool.take(2 * 8 * 3));
        pool.poison();
        let shape = Shape::sequence(2, 4, 3);
        let layout = Layout::padded(shape, 2, 8);
        let values: Vec<f32> = (0..24).map(|i| i as f32).collect();
        let a = Activations::from_slice(layout, &values, &pool);
        assert_eq!(a.to_vec(), values);
        let mut turned = a.view();
        turned.invert_axis(ndarray::Axis(1));
        let b = Activations::from_array(layout, turned, &pool);
        assert_eq!(b.at(layout.row(1, 0, 0)), a.at(layout.row(1, 3, 0)));
        assert_eq!(a.memory().iter().filter(|x| **x == 0.0).count(), 48 - 23);
        for item in 0..2 {
            for y in 0..4 {
                let row = layout.row(item, y, 0);
                assert_eq!(row, layout.row_of(item * 4 + y));
                assert_eq!(a.at(row)[1], (item * 12 + y * 3 + 1) as f32);
                assert_eq!(a.view()[[item, y, 0, 2]], a.at(row)[2]);
            }
        }
    }
}
