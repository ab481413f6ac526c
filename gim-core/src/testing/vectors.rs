//! Recorded test vectors: a safetensors file with its parameters as JSON in the key `gim` of its metadata.

use std::path::Path;

use safetensors::SafeTensors;
use serde_json::Value;

use crate::Scalar;

/// A file of test vectors.
pub struct Vectors {
    bytes: Vec<u8>,
    meta: Value,
}

impl Vectors {
    /// Reads a file.
    ///
    /// # Panics
    /// When it is not there or no such file: a test that needs it must stop.
    pub fn open(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let text = header.metadata().as_ref().and_then(|m| m.get("gim").cloned()).unwrap_or_default();
        let meta = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        Self { bytes, meta }
    }

    /// The case's parameters.
    pub fn meta(&self) -> &Value {
        &self.meta
    }

    /// A count among the parameters.
    ///
    /// # Panics
    /// When there is none of this name.
    pub fn n(&self, key: &str) -> usize {
        self.meta[key].as_u64().unwrap_or_else(|| panic!("no number {key}")) as usize
    }

    /// A list of counts among the parameters.
    ///
    /// # Panics
    /// When there is none of this name.
    pub fn list(&self, key: &str) -> Vec<usize> {
        let list = self.meta[key].as_array().unwrap_or_else(|| panic!("no list {key}"));
        list.iter().map(|v| v.as_u64().unwrap_or_else(|| panic!("{key} holds {v}")) as usize).collect()
    }

    /// Whether there is a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.read(name).is_some()
    }

    fn read(&self, name: &str) -> Option<(Vec<u8>, Vec<usize>)> {
        let file = SafeTensors::deserialize(&self.bytes).ok()?;
        let t = file.tensor(name).ok()?;
        Some((t.data().to_vec(), t.shape().to_vec()))
    }

    fn find(&self, name: &str) -> (Vec<u8>, Vec<usize>) {
        self.read(name).unwrap_or_else(|| panic!("no tensor {name}"))
    }

    /// Shape of a tensor.
    ///
    /// # Panics
    /// When there is none of this name.
    pub fn shape(&self, name: &str) -> Vec<usize> {
        self.find(name).1
    }

    /// Values of a tensor of f32.
    ///
    /// # Panics
    /// When there is none of this name.
    pub fn floats(&self, name: &str) -> Vec<f64> {
        self.find(name).0.as_chunks::<4>().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect()
    }

    /// Values of a tensor of i64.
    ///
    /// # Panics
    /// When there is none of this name.
    pub fn ints(&self, name: &str) -> Vec<u32> {
        self.find(name).0.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b) as u32).collect()
    }
}

/// Tolerances of (outputs and losses, gradients). Expected values are rounded to f32, which bounds what f64 can show.
pub fn tolerance<F: Scalar>() -> (f64, f64) {
    if F::BYTES == 4 { (1e-5, 1e-4) } else { (1e-6, 1e-6) }
}

/// Asserts |got − want| ≤ `relative` · max(1e-3, max |want|) for each value.
///
/// # Panics
/// When they differ by more.
pub fn close<F: Scalar>(what: &str, got: &[F], want: &[f64], relative: f64) {
    assert_eq!(got.len(), want.len(), "{what}");
    let scale = want.iter().fold(1e-3f64, |m, x| m.max(x.abs()));
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        // Each for itself: a maximum passes over NaN, this comparison does not.
        let off = (g.f64() - w).abs();
        assert!(off <= relative * scale, "{what}[{i}]: off by {off:.2e}, allowed {:.2e}", relative * scale);
    }
}

/// Largest |got − want|; NaN if a difference is NaN.
pub fn farthest<F: Scalar>(got: &[F], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    let larger = |most: f64, off: f64| if off > most || off.is_nan() { off } else { most };
    got.iter().zip(want).map(|(g, w)| (g.f64() - w).abs()).fold(0.0, larger)
}

/// Values rounded to a working precision.
pub fn of<F: Scalar>(x: &[f64]) -> Vec<F> {
    x.iter().map(|x| F::of(*x)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_takes_what_is_close() {
        close("values", &[1.0, 2.0 + 1e-7], &[1.0, 2.0], 1e-6);
    }

    #[test]
    #[should_panic(expected = "values[1]: off by")]
    fn close_refuses_what_is_off() {
        close("values", &[1.0, 2.1, 3.0], &[1.0, 2.0, 3.0], 1e-2);
    }

    #[test]
    #[should_panic(expected = "values[0]: off by NaN")]
    fn nan_is_not_close() {
        close("values", &[f64::NAN, 2.0], &[1.0, 2.0], 1.0);
    }

    #[test]
    fn nothing_is_farther_than_nan() {
        assert_eq!(farthest(&[1.0, 2.5, 3.0], &[1.0, 2.0, 3.1]), 0.5);
        for at in 0..3 {
            let mut got = [1.0; 3];
            got[at] = f64::NAN;
            assert!(farthest(&got, &[0.0, 9.0, 0.0]).is_nan());
        }
    }
}
