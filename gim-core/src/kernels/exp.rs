//! The exponential function in a form that compilers turn into vector instructions.

/// eˣ to 2 units in the last place, in a form that compilers vectorize (std's is a call per value).
///
/// Range reduction x = n·ln 2 + r, |r| ≤ ½ ln 2, then a polynomial of degree 6; below −87.3 it gives 0 and above 88.7 ∞.
#[inline(always)]
pub fn exp_f32(x: f32) -> f32 {
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // Adding 1.5·2²³ rounds to the nearest integer in the low bits of the mantissa.
    const ROUND: f32 = 12_582_912.0;
    let clamped = x.clamp(-87.3, 88.7);
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = clamped - n * LN2_HIGH - n * LN2_LOW;
    let mut p = 1.0 / 720.0;
    for c in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = p * r + c;
    }
    // 2ⁿ in two factors, since n = 128 has no single-precision power.
    let bits = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let half = bits >> 1;
    let power = |n: i32| f32::from_bits(((n + 127) << 23) as u32);
    let y = p * power(half) * power(bits - half);
    let y = if x > 88.7 { f32::INFINITY } else { y };
    let y = if x < -87.3 { 0.0 } else { y };
    if x.is_nan() { x } else { y }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_close_everywhere() {
        let mut x = -87.2f32;
        while x < 88.6 {
            let want = f64::from(x).exp();
            let error = (f64::from(exp_f32(x)) - want).abs() / want;
            assert!(error < 2.5e-7, "exp({x}): relative error {error:.1e}");
            x += 0.013;
        }
        assert_eq!(exp_f32(0.0), 1.0);
        assert_eq!((exp_f32(-200.0), exp_f32(200.0)), (0.0, f32::INFINITY));
        assert!(exp_f32(f32::NAN).is_nan());
    }
}
