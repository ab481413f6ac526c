//! Windows of a convolution as rows of a matrix, gathered only when a matrix product reads them.

use std::ops::Range;

use gim_core::Scalar;
use gim_core::activations::Shape;
use gim_core::kernels::gemm::{Rows, prefetch};
use gim_core::kernels::vector::relu;

/// Where windows lie on an image; values outside the image are zeros.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Grid {
    /// Shape (N, H, W, C) of the image.
    pub shape: Shape,
    /// Rows and columns of a window.
    pub kernel_size: [usize; 2],
    /// Rows (and columns) from one window to the next.
    pub stride: usize,
    /// Rows of the first window that lie above the image.
    pub above: usize,
    /// Columns of the first window that lie left of the image.
    pub left: usize,
    /// Rows and columns of windows.
    pub windows: [usize; 2],
}

impl Grid {
    /// Values in a window: kh·kw·C.
    pub(crate) fn window(&self) -> usize {
        self.kernel_size[0] * self.kernel_size[1] * self.shape.channels
    }

    /// Number of windows of all items.
    pub(crate) fn count(&self) -> usize {
        self.shape.batch * self.windows[0] * self.windows[1]
    }

    /// Whether every window is one position, and every position one window.
    pub(crate) fn pointwise(&self) -> bool {
        self.kernel_size == [1, 1] && self.stride == 1 && self.windows == [self.shape.height, self.shape.width]
    }

    /// Visits the values `cols` of each of the windows `rows`, in runs that are contiguous in
    /// window and image. Calls `f(window, offset in cols, Some(offset in the image), length)` for
    /// each run, with `None` for runs of zeros.
    #[inline(always)]
    fn runs(&self, rows: Range<usize>, cols: &Range<usize>, mut f: impl FnMut(usize, usize, Option<usize>, usize)) {
        let Self { shape, kernel_size: [_, kw], stride, above, left, windows: [steps, across], .. } = *self;
        let channels = shape.channels;
        let (line, item) = (kw * channels, shape.height * shape.width * channels);
        let at = rows.start % (steps * across);
        let (mut base, mut row, mut col) = (rows.start / (steps * across) * item, at / across, at % across);
        for window in 0..rows.len() {
            let first = col * stride;
            let (skipped, first) = (left.saturating_sub(first).min(kw), first.saturating_sub(left));
            let inside = skipped * channels..(skipped + shape.width.saturating_sub(first).min(kw - skipped)) * channels;
            let mut at = cols.start;
            while at < cols.end {
                let tap = at / line;
                let (from, to) = (at - tap * line, line.min(cols.end - tap * line));
                let place = at - cols.start;
                match (row * stride + tap).checked_sub(above).filter(|r| *r < shape.height) {
                    None => f(window, place, None, to - from),
                    Some(r) => {
                        let (a, b) = (inside.start.clamp(from, to), inside.end.clamp(from, to));
                        let (a, b) = if a < b { (a, b) } else { (to, to) };
                        if from < a {
                            f(window, place, None, a - from);
                        }
                        if a < b {
                            let x = base + (r * shape.width + first) * channels + a - inside.start;
                            f(window, place + a - from, Some(x), b - a);
                        }
                        if b < to {
                            f(window, place + b - from, None, to - b);
                        }
                    }
                }
                at += to - from;
            }
            col += 1;
            if col == across {
                (row, col) = (row + 1, 0);
                if row == steps {
                    (base, row) = (base + item, 0);
                }
            }
        }
    }

    /// Adds windows `rows`, each (kh·kw·C), to the image at the positions that they cover.
    pub(crate) fn scatter<F: Scalar>(&self, windows: &[F], rows: Range<usize>, image: &mut [F]) {
        let len = self.window();
        self.runs(rows, &(0..len), |window, place, to, n| {
            if let Some(to) = to {
                let from = &windows[window * len + place..][..n];
                image[to..to + n].iter_mut().zip(from).for_each(|(p, w)| *p += *w);
            }
        });
    }
}

/// The windows of an image (N, H, W, C) without margins, or of max(0, image), as rows (windows,
/// kh·kw·C).
pub(crate) struct Im2col<'a, F> {
    pub grid: Grid,
    pub image: &'a [F],
    pub relu: bool,
}

#[inline(always)]
fn copy<F: Scalar>(to: &mut [F], from: &[F], through_relu: bool) {
    if through_relu {
        to.iter_mut().zip(from).for_each(|(t, f)| *t = relu(*f));
    } else {
        to.copy_from_slice(from);
    }
}

impl<F: Scalar> Rows<F> for Im2col<'_, F> {
    fn dim(&self) -> (usize, usize) {
        (self.grid.count(), self.grid.window())
    }

    fn copy(&self, rows: Range<usize>, cols: Range<usize>, out: &mut [F], stride: usize) {
        if self.grid.pointwise() {
            let channels = self.grid.shape.channels;
            for (row, to) in rows.zip(out.chunks_mut(stride)) {
                let from = &self.image[row * channels..][cols.clone()];
                copy(&mut to[..from.len()], from, self.relu);
            }
            return;
        }
        self.grid.runs(rows, &cols, |window, place, from, n| {
            let to = &mut out[window * stride + place..][..n];
            match from {
                Some(from) => copy(to, &self.image[from..from + n], self.relu),
                None => to.fill(F::zero()),
            }
        });
    }

    fn prefetch(&self, rows: Range<usize>, cols: Range<usize>) {
        // Windows of one position lie together. Others share almost all of their values with the
        // window before.
        if self.grid.pointwise() {
            let channels = self.grid.shape.channels;
            for row in rows {
                prefetch(&self.image[row * channels..][cols.clone()]);
            }
        }
    }
}
