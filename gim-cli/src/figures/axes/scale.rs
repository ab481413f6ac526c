//! Axes: their range, their ticks, and where a value lies.

/// Whether positive values from `low` to `high` span more than a factor of ten: less needs no
/// logarithmic axis.
pub(crate) fn spans_a_decade(low: f64, high: f64) -> bool {
    high > 10.0 * low
}

/// An axis: its range and its ticks.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scale {
    low: f64,
    high: f64,
    log: bool,
    /// Values and their labels.
    pub(super) ticks: Vec<(f64, String)>,
    /// Values that have a grid line and no label.
    pub(super) minor: Vec<f64>,
}

impl Scale {
    /// A linear axis that covers `low..high`, with at most about `n_ticks` round ticks. With
    /// `to_ticks` it is widened until its ends are ticks.
    pub(crate) fn linear(low: f64, high: f64, n_ticks: usize, to_ticks: bool) -> Self {
        Self::stepped(low, high, round_step((high - low) / n_ticks.max(1) as f64), to_ticks)
    }

    /// A linear axis of whole numbers.
    pub(crate) fn counts(low: f64, high: f64, n_ticks: usize) -> Self {
        Self::stepped(low, high, round_step((high - low) / n_ticks.max(1) as f64).max(1.0), false)
    }

    fn stepped(mut low: f64, mut high: f64, step: f64, to_ticks: bool) -> Self {
        if high <= low {
            // A single value: it stands in the middle, and is the only tick.
            let step = if low.fract() == 0.0 { 1.0 } else { 0.01 };
            let ticks = vec![(low, number(low, step, low.abs()))];
            return Self { low: low - 1.0, high: low + 1.0, log: false, ticks, minor: Vec::new() };
        }
        if to_ticks {
            (low, high) = ((low / step + 1e-9).floor() * step, (high / step - 1e-9).ceil() * step);
        }
        let first = (low / step - 1e-9).ceil() as i64;
        let last = (high / step + 1e-9).floor() as i64;
        let largest = low.abs().max(high.abs());
        let ticks = (first..=last).map(|i| i as f64 * step).map(|v| (v, number(v, step, largest))).collect();
        Self { low, high, log: false, ticks, minor: Vec::new() }
    }

    /// A logarithmic axis that covers `low..high`, both positive. Ticks are at 1, 2 and 5 of a
    /// decade; over many decades at 1 only, over a factor below 5 at every digit.
    pub(crate) fn log(low: f64, high: f64) -> Self {
        let mut scale = Self { low, high, log: true, ticks: Vec::new(), minor: Vec::new() };
        let (dense, short) = ((high / low).log10() <= 2.6, high / low < 5.0);
        let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
        for exponent in first..=last {
            for digit in 1..10 {
                let value = f64::from(digit) * 10f64.powi(exponent);
                if value < low * (1.0 - 1e-9) || value > high * (1.0 + 1e-9) {
                    continue;
                }
                if digit == 1 || short || (dense && (digit == 2 || digit == 5)) {
                    scale.ticks.push((value, number(value, 10f64.powi(exponent), 1.0)));
                } else {
                    scale.minor.push(value);
                }
            }
        }
        scale
    }

    /// The axis of modules 1..=n.
    pub(crate) fn modules(n: usize) -> Self {
        let ticks = (1..=n).map(|m| (m as f64, m.to_string())).collect();
        Self { low: 0.5, high: n as f64 + 0.5, log: false, ticks, minor: Vec::new() }
    }

    /// An axis without ticks.
    pub(crate) fn bare(low: f64, high: f64) -> Self {
        Self { low, high, log: false, ticks: Vec::new(), minor: Vec::new() }
    }

    /// Where `value` lies: 0 at the low end, 1 at the high end; values outside go to the ends.
    pub(super) fn at(&self, value: f64) -> f64 {
        let part = |v: f64| if self.log { v.ln() } else { v };
        let t = (part(value) - part(self.low)) / (part(self.high) - part(self.low));
        if t.is_nan() { 0.0 } else { t.clamp(0.0, 1.0) }
    }

    /// Lower end of the axis.
    pub(crate) fn low(&self) -> f64 {
        self.low
    }

    /// Upper end of the axis.
    pub(crate) fn high(&self) -> f64 {
        self.high
    }
}

/// 1, 2 or 5 times a power of ten, not below `step`.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    let digit = [1.0, 2.0, 5.0].into_iter().find(|d| d * power >= step * (1.0 - 1e-9)).unwrap_or(10.0);
    digit * power
}

/// A tick's label with no more digits than the step asks for. On an axis that reaches 10 000, `k`
/// stands for thousands; on one that reaches ten million, `M` for millions.
fn number(value: f64, step: f64, largest: f64) -> String {
    let (unit, suffix) = match largest {
        l if l >= 1e7 => (1e6, "M"),
        l if l >= 1e4 => (1e3, "k"),
        _ => (1.0, ""),
    };
    if value.abs() < step * 1e-6 {
        return "0".into();
    }
    let digits = (-(step / unit).log10() - 1e-9).ceil().max(0.0) as usize;
    // A minus sign, not a hyphen.
    format!("{:.digits$}{suffix}", value / unit).replace('-', "\u{2212}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: &Scale) -> Vec<&str> {
        scale.ticks.iter().map(|(_, l)| l.as_str()).collect()
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(labels(&Scale::linear(0.0, 100.0, 5, true)), ["0", "20", "40", "60", "80", "100"]);
        assert_eq!(labels(&Scale::linear(1.93, 2.61, 4, false)), ["2.0", "2.2", "2.4", "2.6"]);
        assert_eq!(labels(&Scale::linear(0.0, 30_000.0, 3, false)), ["0", "10k", "20k", "30k"]);
        assert_eq!(labels(&Scale::linear(0.0, 2_500.0, 5, false)), ["0", "500", "1000", "1500", "2000", "2500"]);
        assert_eq!(labels(&Scale::linear(-1.0, 1.0, 2, false)), ["\u{2212}1", "0", "1"]);
        assert_eq!(labels(&Scale::linear(7.0, 7.0, 4, false)), ["7"]);
        assert_eq!(labels(&Scale::counts(0.0, 2.0, 4)), ["0", "1", "2"]);
        assert_eq!(labels(&Scale::log(0.5, 100.0)), ["0.5", "1", "2", "5", "10", "20", "50", "100"]);
        assert_eq!(labels(&Scale::log(35.0, 90.0)), ["40", "50", "60", "70", "80", "90"]);
        assert_eq!(labels(&Scale::log(0.004, 10.0)), ["0.01", "0.1", "1", "10"]);
    }

    #[test]
    fn values_outside_go_to_the_edge() {
        let scale = Scale::linear(0.0, 1.0, 2, true);
        assert_eq!([scale.at(-5.0), scale.at(0.5), scale.at(f64::INFINITY), scale.at(f64::NAN)], [0.0, 0.5, 1.0, 0.0]);
        assert!((Scale::log(1.0, 100.0).at(10.0) - 0.5).abs() < 1e-12);
    }
}
