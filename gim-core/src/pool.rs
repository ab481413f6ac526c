//! Recycled buffers, so that a warm training step allocates none.
//!
//! A dropped [`Buffer`] returns to the [`Pool`] it came from, on whatever thread it is dropped. It then serves requests of
//! about its size. After the first training steps every request finds a buffer; only small lists are
//! still allocated.
//!
//! Modules with buffers of different sizes share few of them, so a pool holds more than is ever in use at
//! once. A low-memory pool frees idle buffers before it allocates another. That costs some percent of a
//! training step. Where batches differ in length, buffers do, too. So any pool frees idle buffers before
//! it would hold more than four times what was ever in use at once.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use crate::Scalar;

/// A low-memory pool may hold a sixteenth more than was ever in use at once, for buffers that come and
/// go within a training step.
const SLACK: usize = 16;

/// Other pools may hold so many times what was ever in use at once.
const MOST: usize = 4;

#[derive(Debug, Default)]
struct FreeList<F> {
    /// Idle vectors, sorted by capacity.
    idle: Vec<Vec<F>>,
    /// Values held by all vectors, idle or out.
    held: usize,
    /// Values held by the vectors that are out, and the most that ever were.
    out: usize,
    peak: usize,
    /// Vectors allocated since the pool began.
    allocated: usize,
    /// Whether idle vectors are freed to make room.
    low_memory: bool,
}

impl<F> FreeList<F> {
    /// An idle vector for `len` values. One that is far too large is left for requests of its size: more
    /// than twice as large, or with low memory more than a quarter larger.
    fn fitting(&mut self, len: usize) -> Option<Vec<F>> {
        let at = self.idle.partition_point(|v| v.capacity() < len);
        let most = if self.low_memory { len + len / 4 } else { 2 * len };
        let fits = self.idle.get(at).is_some_and(|v| v.capacity() <= most.max(64));
        fits.then(|| self.idle.remove(at))
    }

    /// Removes idle vectors until `len` more values may be allocated: the smallest that makes enough
    /// room, or else the largest and then others.
    fn make_room(&mut self, len: usize) -> Vec<Vec<F>> {
        let limit = if self.low_memory { self.peak + self.peak / SLACK } else { MOST * self.peak };
        let mut dropped = Vec::new();
        while self.held + len > limit && !self.idle.is_empty() {
            let excess = self.held + len - limit;
            let at = self.idle.partition_point(|v| v.capacity() < excess).min(self.idle.len() - 1);
            let v = self.idle.remove(at);
            self.held -= v.capacity();
            dropped.push(v);
        }
        dropped
    }
}

/// A source of reusable buffers. Cloning gives another handle to the same pool.
#[derive(Debug, Clone, Default)]
pub struct Pool<F>(Arc<Mutex<FreeList<F>>>);

impl<F: Scalar> Pool<F> {
    /// An empty pool.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty pool that trades speed for memory: idle buffers are freed, and layers recompute block outputs in the backward
    /// pass instead of keeping them.
    pub fn low_memory() -> Self {
        Self(Arc::new(Mutex::new(FreeList { low_memory: true, ..FreeList::default() })))
    }

    /// Whether this is a [`Pool::low_memory`] pool.
    pub fn is_low_memory(&self) -> bool {
        self.list().low_memory
    }

    fn list(&self) -> std::sync::MutexGuard<'_, FreeList<F>> {
        // A panic while the lock is held leaves a valid list: at worst a buffer is missing from it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A buffer of `len` values, which are unspecified: those of its last user.
    pub fn take(&self, len: usize) -> Buffer<F> {
        let mut list = self.list();
        let found = list.fitting(len);
        list.out += found.as_ref().map_or(len, Vec::capacity);
        list.peak = list.peak.max(list.out);
        if let Some(mut data) = found {
            drop(list);
            data.resize(len, F::zero());
            return Buffer { data, home: Some(self.clone()) };
        }
        let freed = list.make_room(len);
        list.held += len;
        list.allocated += 1;
        drop(list);
        // Memory is given back before more is asked for.
        drop(freed);
        Buffer { data: vec![F::zero(); len], home: Some(self.clone()) }
    }

    /// A buffer of `len` zeros.
    pub fn zeros(&self, len: usize) -> Buffer<F> {
        let mut b = self.take(len);
        b.fill(F::zero());
        b
    }

    /// Buffers allocated so far; constant once a loop has warmed up, unless the pool is a low-memory pool.
    pub fn allocated(&self) -> usize {
        self.list().allocated
    }

    /// Bytes of the most that was ever in use at once.
    pub fn peak_bytes(&self) -> usize {
        self.list().peak * F::BYTES
    }

    /// Bytes held by the pool and its outstanding buffers.
    pub fn bytes(&self) -> usize {
        self.list().held * F::BYTES
    }

    /// Frees the idle buffers.
    pub fn trim(&self) {
        let mut list = self.list();
        let freed: usize = list.idle.iter().map(Vec::capacity).sum();
        list.held -= freed;
        list.idle.clear();
    }

    /// Overwrites all idle buffers with NaN, so that a test shows whether old values are relied on.
    pub fn poison(&self) {
        for v in &mut self.list().idle {
            let full = v.capacity();
            v.resize(full, F::nan());
            v.fill(F::nan());
        }
    }
}

/// Values on loan from a [`Pool`].
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
            let mut list = home.list();
            list.out -= data.capacity();
            let at = list.idle.partition_point(|v| v.capacity() < data.capacity());
            list.idle.insert(at, data);
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
        assert_eq!(pool.allocated(), 2);
        assert_eq!((pool.bytes(), pool.peak_bytes()), (180 * 4, 180 * 4));
        drop(pool.take(1000));
        assert_eq!(pool.allocated(), 3, "a small buffer cannot serve a large request");
        drop(pool.take(10));
        assert_eq!(pool.allocated(), 4, "a small request does not take a large buffer away");
        pool.trim();
        assert_eq!(pool.bytes(), 0);
    }

    /// Two modules that take turns, one with a large buffer and one with many small ones.
    #[test]
    fn idle_buffers_of_a_low_memory_pool_make_room_for_others() {
        let pool = Pool::<f32>::low_memory();
        for _ in 0..3 {
            drop(pool.take(1000));
            let small: Vec<_> = (0..10).map(|_| pool.take(100)).collect();
            assert!(pool.bytes() <= 4 * (1000 + 1000 / 16), "{}", pool.bytes());
            drop(small);
        }
        assert_eq!(pool.peak_bytes(), 4000);
        drop((pool.take(600), pool.take(600)));
        assert_eq!(pool.peak_bytes(), 4800);
    }

    /// Each batch a little longer than the one before, whose buffers are then too small.
    #[test]
    fn what_a_pool_holds_is_bounded_when_lengths_vary() {
        let pool = Pool::<f32>::new();
        for len in 1000..2000 {
            drop((pool.take(len), pool.take(len / 2)));
            assert!(pool.bytes() <= MOST * pool.peak_bytes(), "{len}: {}", pool.bytes());
        }
        let before = pool.allocated();
        drop((pool.take(1999), pool.take(999)));
        assert_eq!(pool.allocated(), before, "the same length again");
    }

    #[test]
    fn zeros_are_zero_after_poisoning() {
        let pool = Pool::<f64>::new();
        drop(pool.take(64));
        pool.poison();
        assert!(pool.take(64)[0].is_nan());
        assert!(pool.zeros(64).iter().all(|x| *x == 0.0));
        assert_eq!(pool.allocated(), 1);
    }
}
