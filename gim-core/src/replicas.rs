//! Replicas: processes or threads that hold the same modules and share the arithmetic of a batch.
//!
//! Every replica has all weights and gets the whole batch. A layer that can be cut computes its own
//! part and takes the rest from the others, so that each has the whole output and the whole gradient.
//! What cannot be cut, every replica computes by itself, to the same bits. Parts follow from shapes;
//! sums are added in the order of one process. So the bits of all replicas are those of one process.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::Scalar;

/// How replicas hand values to each other. Between any two, values arrive in the order in which they
/// were sent.
///
/// A replica waits on a thread of the pool that it computes on. Replicas within one process need a pool
/// each: in a shared one, those that wait could take all threads, and none would ever go on.
pub trait Exchange<F: Scalar>: Send + Sync {
    /// Hands `values` to the replicas `to`. Does not wait for them.
    fn send(&self, to: &[usize], values: &[F]);

    /// Waits for the next values from replica `from`; `values` is overwritten.
    ///
    /// # Panics
    /// When another number of values arrives, or the other replica is gone.
    fn receive(&self, from: usize, values: &mut [F]);
}

/// What a layer knows of its replicas. By default it is alone and computes everything.
#[derive(Clone)]
pub struct Replicas<F: Scalar> {
    own: usize,
    count: usize,
    exchange: Option<Arc<dyn Exchange<F>>>,
}

impl<F: Scalar> Default for Replicas<F> {
    fn default() -> Self {
        Self { own: 0, count: 1, exchange: None }
    }
}

impl<F: Scalar> fmt::Debug for Replicas<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "replica {} of {}", self.own, self.count)
    }
}

impl<F: Scalar> Replicas<F> {
    /// Replica `own` (0-based) of `count`.
    ///
    /// # Panics
    /// When there is no such replica.
    pub fn new(own: usize, count: usize, exchange: Arc<dyn Exchange<F>>) -> Self {
        assert!(own < count, "replica {own} of {count}");
        Self { own, count, exchange: Some(exchange) }
    }

    /// The part of `len` indices that this replica computes. Parts begin at multiples of `unit`, follow
    /// one another, and may be empty.
    pub fn own_part(&self, len: usize, unit: usize) -> Range<usize> {
        self.part(self.own, len, unit)
    }

    fn part(&self, replica: usize, len: usize, unit: usize) -> Range<usize> {
        let cut = |replica: usize| len.min(len.div_ceil(unit) * replica / self.count * unit);
        cut(replica)..cut(replica + 1)
    }

    fn others(&self) -> Vec<usize> {
        (0..self.count).filter(|replica| *replica != self.own).collect()
    }

    /// Completes `values`, of which each replica has computed its part: those at `place` of its part
    /// of `len` indices ([`Self::own_part`]).
    pub fn gather(&self, values: &mut [F], len: usize, unit: usize, place: impl Fn(Range<usize>) -> Range<usize>) {
        let Some(exchange) = &self.exchange else { return };
        let of = |replica| place(self.part(replica, len, unit));
        let own = of(self.own);
        if !own.is_empty() {
            exchange.send(&self.others(), &values[own]);
        }
        for from in self.others() {
            let theirs = of(from);
            if !theirs.is_empty() {
                exchange.receive(from, &mut values[theirs]);
            }
        }
    }

    /// Lets the replicas add to `sum` one after the other: each goes on with what the one before has
    /// come to. Only the last has the whole sum then; [`Self::take_sum`] gives it to all.
    pub fn add_in_turn(&self, sum: &mut [F], add: impl FnOnce(&mut [F])) {
        let exchange = self.exchange.as_ref().filter(|_| !sum.is_empty());
        if let (Some(exchange), Some(before)) = (exchange, self.own.checked_sub(1)) {
            exchange.receive(before, sum);
        }
        add(sum);
        if let Some(exchange) = exchange.filter(|_| self.own + 1 < self.count) {
            exchange.send(&[self.own + 1], sum);
        }
    }

    /// The sum to which the last replica has come.
    pub fn take_sum(&self, sum: &mut [F]) {
        let Some(exchange) = self.exchange.as_ref().filter(|_| !sum.is_empty()) else { return };
        let last = self.count - 1;
        if self.own == last { exchange.send(&self.others(), sum) } else { exchange.receive(last, sum) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nobody;

    impl Exchange<f32> for Nobody {
        fn send(&self, _: &[usize], _: &[f32]) {}
        fn receive(&self, _: usize, _: &mut [f32]) {}
    }

    #[test]
    fn parts_are_whole_units_in_order() {
        for (len, unit, count) in [(10, 1, 3), (10, 2, 3), (7, 4, 3), (3, 8, 2), (0, 2, 2), (100, 2, 7)] {
            let mut end = 0;
            for own in 0..count {
                let part = Replicas::new(own, count, Arc::new(Nobody)).own_part(len, unit);
                assert_eq!(part.start, end, "{len} in units of {unit}");
                assert!(part.start % unit == 0 || part.start == len, "{part:?}");
                end = part.end;
            }
            assert_eq!(end, len, "{len} in units of {unit} for {count}");
        }
        assert_eq!(Replicas::<f32>::default().own_part(9, 4), 0..9);
    }
}
