//! Checkpoints by the clock, for runs whose steps are slow.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Tells when the last checkpoint is too long ago.
#[derive(Debug)]
pub(super) struct SaveClock {
    every: Option<Duration>,
    last: Mutex<Instant>,
}

impl SaveClock {
    /// A clock that starts now; 0 `minutes` are never over.
    pub(super) fn new(minutes: f64) -> Self {
        let every = (minutes > 0.0).then(|| Duration::from_secs_f64(60.0 * minutes));
        Self { every, last: Mutex::new(Instant::now()) }
    }

    /// Whether a checkpoint is saved now: it is `due`, or time is over, which starts anew.
    pub(super) fn saves(&self, due: bool) -> bool {
        let Some(every) = self.every else { return due };
        // A time is whole whatever has panicked meanwhile.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let saves = due || last.elapsed() >= every;
        if saves {
            *last = Instant::now();
        }
        saves
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_starts_anew_with_every_checkpoint() {
        let never = SaveClock::new(0.0);
        assert!(!never.saves(false) && never.saves(true));
        let always = SaveClock::new(1e-9);
        std::thread::sleep(Duration::from_millis(1));
        assert!(always.saves(false) && always.saves(true));
        let hour = SaveClock::new(60.0);
        assert!(!hour.saves(false));
        *hour.last.lock().unwrap() -= Duration::from_secs(3601);
        assert!(hour.saves(true) && !hour.saves(false));
        *hour.last.lock().unwrap() -= Duration::from_secs(3601);
        assert!(hour.saves(false) && !hour.saves(false));
    }
}
