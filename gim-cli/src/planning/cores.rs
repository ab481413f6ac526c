//! How a step spreads over the cores of a machine. Assumed, not measured.

use crate::experiment::domain::DomainKind;

/// How many times as fast a training step of the paper's network is on 64 cores as on one, at most:
/// simulated from the recorded tasks of a step (docs/performance.md).
pub(crate) fn speed_up_on_64(domain: DomainKind) -> f64 {
    match domain {
        DomainKind::Audio => 11.5,
        DomainKind::Vision => 8.1,
    }
}

/// How many times as fast as on one core a step is assumed to be: Amdahl's law through the value on 64.
pub(crate) fn speed_up(domain: DomainKind, cores: usize) -> f64 {
    // 1 / 64 = what is left of the step when everything is parallel.
    let ideal = 1.0 / 64.0;
    let serial = (1.0 / speed_up_on_64(domain) - ideal) / (1.0 - ideal);
    1.0 / (serial + (1.0 - serial) / cores as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speed_ups_go_through_what_is_known() {
        for domain in DomainKind::ALL {
            assert!((speed_up(domain, 1) - 1.0).abs() < 1e-12);
            assert!((speed_up(domain, 64) - speed_up_on_64(domain)).abs() < 1e-9);
            assert!((2..100).all(|n| speed_up(domain, n) > speed_up(domain, n - 1) && speed_up(domain, n) < n as f64));
        }
    }
}
