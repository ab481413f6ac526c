//! Times repeated fits of the linear probe on synthetic features, in a child process of the benchmark.

use std::path::{Path, PathBuf};

use gim_core::{Error, Key, Purpose, Result};
use gim_eval::{ConvergedProbe, Examples, Part, Probe, Split, synthetic};
use serde::{Deserialize, Serialize};

use crate::experiment::environment::peak_resident_bytes;
use gim_core::files::{create_folder, write_atomic_with};

/// Size and settings of the fits.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ProbeWork {
    /// Number of training rows.
    #[arg(long)]
    rows: usize,
    /// Dimensions of a feature vector.
    #[arg(long)]
    dims: usize,
    /// Number of classes.
    #[arg(long)]
    classes: usize,
    /// Penalty λ: the objective is mean cross-entropy + λ/2 ‖weights‖².
    #[arg(long)]
    l2: f64,
    /// Number of fits to time.
    #[arg(long, default_value_t = 3)]
    repeats: usize,
    /// Write the features (x.npy) and classes (y.npy) to this folder.
    #[arg(long, value_name = "DIR")]
    write: Option<PathBuf>,
}

/// Result of the fits. The scikit-learn script prints the same fields.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Fits {
    /// Seconds of each fit, including standardization.
    pub times: Vec<f64>,
    /// Mean cross-entropy + λ/2 ‖weights‖² at the solution, on standardized features.
    pub objective: f64,
    /// Iterations of a fit.
    pub iterations: usize,
    /// Peak resident memory of the process, MB.
    pub peak_mb: Option<f64>,
    /// Version of the program, if reported.
    #[serde(default)]
    pub version: Option<String>,
}

impl ProbeWork {
    /// Fits the probe to convergence `repeats` times.
    ///
    /// # Errors
    /// When a size is zero, the fit does not converge, or the features cannot be written.
    pub(crate) fn measure(&self) -> Result<Fits> {
        // Every tenth item is a test item.
        let items = self.rows + self.rows.saturating_sub(1) / 9;
        let all = synthetic::examples(items, 1, self.dims, self.classes, 0.35)?;
        let train = all.part(Split::Train);
        if let Some(folder) = &self.write {
            write(&all, &train, folder)?;
        }
        let probe = Probe::Converged(ConvergedProbe { l2: vec![self.l2], ..ConvergedProbe::default() });
        let fit = || probe.fit(&train, Key::new(1, Purpose::Probe));
        let fitted = fit()?;
        if !fitted.converged() {
            return Err(Error::config("--l2", "the fit did not converge", "use a larger penalty"));
        }
        let mut times = vec![fitted.seconds()];
        // The same seed gives the same solution; only the time differs.
        for _ in 1..self.repeats {
            times.push(fit()?.seconds());
        }
        let logits = fitted.logits(&train)?;
        let losses = logits.outer_iter().zip(train.labels()).map(|(z, y)| {
            let z: Vec<f64> = z.iter().map(|z| f64::from(*z)).collect();
            let top = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            z.iter().map(|z| (z - top).exp()).sum::<f64>().ln() + top - z[*y as usize]
        });
        let squares: f64 = fitted.weights().iter().map(|w| f64::from(*w).powi(2)).sum();
        let objective = losses.sum::<f64>() / train.n_rows() as f64 + self.l2 / 2.0 * squares;
        let iterations = fitted.iterations();
        let peak_mb = peak_resident_bytes().map(|b| b as f64 / 1e6);
        Ok(Fits { times, objective, iterations, peak_mb, version: None })
    }
}

fn write(all: &Examples, train: &Part<'_>, folder: &Path) -> Result<()> {
    create_folder(folder)?;
    let (n, d) = (train.n_rows(), train.dims());
    let features = all.features().unwrap_or_else(|| unreachable!("these are in memory"));
    let features = train.rows().iter().flat_map(|row| features.row(*row).to_vec()).map(f32::to_le_bytes);
    write_npy(&folder.join("x.npy"), "<f4", &format!("({n}, {d})"), features)?;
    write_npy(&folder.join("y.npy"), "<u4", &format!("({n},)"), train.labels().iter().map(|y| y.to_le_bytes()))
}

/// NumPy's format, version 1.0: magic, header length, header padded with spaces to 64 bytes, values.
fn write_npy(path: &Path, kind: &str, shape: &str, values: impl Iterator<Item = [u8; 4]>) -> Result<()> {
    const BEFORE: usize = 10;
    let header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}");
    let len = (BEFORE + header.len() + 1).next_multiple_of(64) - BEFORE;
    write_atomic_with(path, |out| {
        out.write_all(b"\x93NUMPY\x01\x00")?;
        out.write_all(&(len as u16).to_le_bytes())?;
        writeln!(out, "{header:width$}", width = len - 1)?;
        values.into_iter().try_for_each(|n| out.write_all(&n))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fits_and_leaves_its_data_as_numpy_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("data");
        let work = ProbeWork { rows: 90, dims: 8, classes: 3, l2: 1e-2, repeats: 2, write: Some(to.clone()) };
        let fits = work.measure().unwrap();
        assert_eq!(fits.times.len(), 2);
        assert!(fits.objective > 0.0 && fits.objective < 3f64.ln(), "{}", fits.objective);
        let x = std::fs::read(to.join("x.npy")).unwrap();
        let header = u16::from_le_bytes([x[8], x[9]]) as usize;
        assert_eq!((&x[..8], (10 + header) % 64), (&b"\x93NUMPY\x01\x00"[..], 0));
        assert_eq!(x.len(), 10 + header + 90 * 8 * 4);
        let text = String::from_utf8_lossy(&x[10..10 + header]).into_owned();
        assert!(text.contains("'<f4'") && text.contains("(90, 8)") && text.ends_with(" \n"), "{text}");
        assert_eq!(std::fs::read(to.join("y.npy")).unwrap().len() % 64, 90 * 4 % 64);
    }
}
