//! Recycled buffers, so that a training step allocates nothing.
//!
//! A [`Buffer`] goes back to the [`Pool`] it came from when it is dropped, on whatever thread that happens. After the first
//! steps every request finds a buffer of its size; peak memory is what is alive at once, not the sum over modules.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use crate::Scalar;

#[derive(Debug, Default)]
struct Shelf<F> {
    /// Free vectors, sorted by capacity.
    free: Vec<Vec<F>>,
    /// Numbers held by all vectors ever made, free or out.
    held: usize,
    /// Vectors made since the pool began.
    made: usize,
}

/// A source of reusable buffers. Cloning gives another handle to the same pool.
#[derive(Debug, Clone, Default)]
pub struct Pool<F>(Arc<Mutex<Shelf<F>>>);

impl<F: Scalar> Pool<F> {
    /// An empty pool.
    pub fn new() -> Self {
        Self::default()
    }

    fn shelf(&self) -> std::sync::MutexGuard<'_, Shelf<F>> {
        // A panic while the lock is held leaves a valid shelf: at worst a buffer is missing from it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A buffer of `len` numbers with unspecified contents (whatever its last user left).
    pub fn take(&self, len: usize) -> Buffer<F> {
        let mut shelf = self.shelf();
        let at = shelf.free.partition_point(|v| v.capacity() < len);
        // A buffer more than twice too large is left for whoever needs its size.
        let fits = shelf.free.get(at).is_some_and(|v| v.capacity() / 2 <= len.max(32));
        let mut data = if fits {
            shelf.free.remove(at)
        } else {
            shelf.held += len;
            shelf.made += 1;
            Vec::with_capacity(len)
        };
        drop(shelf);
        data.resize(len, F::zero());
        Buffer { data, home: Some(self.clone()) }
    }

    /// A buffer of `len` zeros.
    pub fn zeros(&self, len: usize) -> Buffer<F> {
        let mut b = self.take(len);
        b.fill(F::zero());
        b
    }

    /// Buffers made so far; constant once a loop has warmed up.
    pub fn made(&self) -> usize {
        self.shelf().made
    }

    /// Bytes held by the pool and its outstanding buffers.
    pub fn bytes(&self) -> usize {
        self.shelf().held * F::BYTES
    }

    /// Frees the buffers nobody uses.
    pub fn trim(&self) {
        let mut shelf = self.shelf();
        let freed: usize = shelf.free.iter().map(Vec::capacity).sum();
        shelf.held = shelf.held.saturating_sub(freed);
        shelf.free.clear();
    }

    /// Overwrites all free buffers with NaN: what tests call to show that nobody relies on old contents.
    pub fn soil(&self) {
        for v in &mut self.shelf().free {
            let full = v.capacity();
            v.resize(full, F::nan());
            v.fill(F::nan());
        }
    }
}

/// Numbers on loan from a [`Pool`].
#[derive(Debug)]
pub struct Buffer<F: Scalar> {
    data: Vec<F>,
    home: Option<Pool<F>>,
}

impl<F: Scalar> Buffer<F> {
    /// A buffer that belongs to no pool.
    pub fn owned(data: Vec<F>) -> Self {
        Self { data, home: None }
    }
}

impl<F: Scalar> Default for Buffer<F> {
    fn default() -> Self {
        Self::owned(Vec::new())
    }
}

impl<F: Scalar> Deref for Buffer<F> {
    type Target = [F];
    fn deref(&self) -> &[F] {
        &self.data
    }
}

impl<F: Scalar> DerefMut for Buffer<F> {
    fn deref_mut(&mut self) -> &mut [F] {
        &mut self.data
    }
}

impl<F: Scalar> Drop for Buffer<F> {
    fn drop(&mut self) {
        if let Some(home) = self.home.take() {
            let data = std::mem::take(&mut self.data);
            let mut shelf = home.shelf();
            let at = shelf.free.partition_point(|v| v.capacity() < data.capacity());
            shelf.free.insert(at, data);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back_and_are_used_again() {
        let pool = Pool::<f32>::new();
        for _ in 0..5 {
            let (a, b) = (pool.take(100), pool.take(80));
            assert_eq!((a.len(), b.len()), (100, 80));
        }
        assert_eq!(pool.made(), 2);
        assert_eq!(pool.bytes(), 180 * 4);
        drop(pool.take(1000));
        assert_eq!(pool.made(), 3, "a small buffer cannot serve a large request");
        drop(pool.take(10));
        assert_eq!(pool.made(), 4, "a small request does not take a large buffer away");
        pool.trim();
        assert_eq!(pool.bytes(), 0);
    }

    #[test]
    fn zeros_are_zero_after_soiling() {
        let pool = Pool::<f64>::new();
        drop(pool.take(64));
        pool.soil();
        assert!(pool.take(64)[0].is_nan());
        assert!(pool.zeros(64).iter().all(|x| *x == 0.0));
        assert_eq!(pool.made(), 1);
    }
}
