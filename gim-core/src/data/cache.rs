//! Decoded items kept in memory.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Decoded items kept in memory up to a limit, first come, first kept. Shared by the threads of a loader.
pub struct Cache<T> {
    slots: Vec<OnceLock<T>>,
    /// Bytes it may still take.
    free: AtomicUsize,
    held: AtomicUsize,
}

impl<T> Cache<T> {
    /// For items 0 .. n, of at most `bytes` together.
    pub fn new(n: usize, bytes: usize) -> Self {
        let slots = (0..n).map(|_| OnceLock::new()).collect();
        Self { slots, free: AtomicUsize::new(bytes), held: AtomicUsize::new(0) }
    }

    /// Item i, if it is kept.
    pub fn get(&self, i: usize) -> Option<&T> {
        self.slots[i].get()
    }

    /// Reserves `bytes` of what is free. Returns false if less is free.
    pub fn reserve(&self, bytes: usize) -> bool {
        self.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free| free.checked_sub(bytes)).is_ok()
    }

    /// Gives back what was reserved and not used.
    pub fn release(&self, bytes: usize) {
        self.free.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Keeps item i of `bytes` bytes, of which `reserved` are reserved already. The difference is reserved
    /// or released. The item is dropped if it is too large or another thread has stored it first.
    pub fn keep(&self, i: usize, item: T, reserved: usize, bytes: usize) {
        let fits = bytes <= reserved || self.reserve(bytes - reserved);
        let taken = if fits { reserved.max(bytes) } else { reserved };
        if fits && self.slots[i].set(item).is_ok() {
            self.held.fetch_add(bytes, Ordering::Relaxed);
            self.release(taken - bytes);
        } else {
            self.release(taken);
        }
    }

    /// Bytes of the items kept.
    pub fn bytes(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }
}

impl<T> fmt::Debug for Cache<T> {
    /// How full it is: the items themselves would fill screens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("slots", &self.slots.len()).field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn cache_keeps_to_its_limit() {
        let cache = Cache::new(4, 100);
        assert!(cache.reserve(60) && !cache.reserve(50));
        cache.keep(0, "a", 60, 50);
        assert_eq!((cache.get(0), cache.bytes()), (Some(&"a"), 50));
        assert!(cache.reserve(40));
        cache.keep(1, "larger than it said", 40, 70);
        assert_eq!((cache.get(1), cache.bytes()), (None, 50));
        assert!(cache.reserve(50));
        cache.keep(0, "again", 50, 50);
        assert_eq!((cache.get(0), cache.bytes()), (Some(&"a"), 50));
        assert!(cache.reserve(30));
        cache.keep(2, "grown", 30, 50);
        assert_eq!((cache.get(2), cache.bytes()), (Some(&"grown"), 100));
        assert!(!cache.reserve(1));
    }
}
