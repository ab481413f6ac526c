//! MFCC against an independent computation (`tests/mfcc_golden.py`).

use gim_audio::geometry::label_frames;
use gim_audio::mfcc::{Mfcc, MfccConfig, Window};

/// Rows of the default configuration: 13 coefficients, Δ, ΔΔ.
#[rustfmt::skip]
const GOLDEN: &[(usize, &[f32])] = &[
    (0, &[5.92494, -16.4246, -2.00711, -1.90537, -1.30025, -1.95237, -0.86172, -0.484573, -0.555529, -1.01385, -0.279487, -0.928279, -0.927647, 1.74179, -0.630557, -0.370298, -0.0682528, 0.255817, 0.391949, -0.0515579, -0.11314, 0.237283, 0.227839, 0.108901, 0.557847, 0.525762, 0.147095, -0.00452039, -0.0419119, 0.0254921, -0.0218923, 0.0212124, 0.0452176, 0.0869573, 0.0602653, 0.077762, 0.0834365, 0.0664802, -0.0845491]),
    (3, &[14.7079, -18.5957, -3.61402, -1.60911, -0.251189, 0.235049, -0.966682, -0.343974, 0.396173, -0.768429, 0.353423, 2.52916, -0.0520568, -1.00989, -0.225788, -0.476502, -0.181715, -0.221802, -0.0388252, 0.340289, 0.373826, 0.507437, 0.885073, 0.364615, -0.153977, -0.230823, -1.42933, 0.220706, 0.102729, -0.0122007, -0.0801524, -0.185539, 0.0395968, 0.00905002, -0.0679295, -0.0266078, -0.103857, -0.315669, -0.0974801]),
    (6, &[6.11604, -18.4741, -4.08307, -1.75894, -0.433714, -0.313244, -0.28283, 0.141983, 1.10361, 0.676659, 0.619695, 1.72341, 0.232631, -1.62416, 0.230228, 0.184595, 0.182626, 0.101313, 0.145395, -0.0817672, -0.0647232, -0.16364, -0.439674, 0.022049, 0.490864, 0.0327132, 0.210707, 0.0549829, 0.121855, 0.0650035, 0.0449388, 0.075052, -0.0875775, -0.0714988, -0.107243, -0.229492, 0.0291179, 0.234368, 0.0375205]),
];

/// Frame 4 with Povey's window, 26 bands and liftering.
#[rustfmt::skip]
const GOLDEN_LIFTERED: &[f32] = &[14.786, -39.1594, -14.7319, -9.47181, -3.95847, -4.85089, -1.48013, 1.72144, 12.9574, 17.755, 8.01522, 7.47069, 5.71256];

fn signal() -> Vec<f32> {
    let noise = |i: i64| ((i * i * 7919 + i * 104_729) % 65_536 - 32_768) as f64 / 65_536.0;
    (0..1400i64).map(|i| (noise(i) * (1 + (i / 300) % 3) as f64 / 3.0) as f32).collect()
}

fn close(got: f32, want: f32, place: impl std::fmt::Debug) {
    assert!((got - want).abs() < 2e-4 * want.abs().max(1.0), "{place:?}: {got}, not {want}");
}

#[test]
fn agrees_with_numpy() {
    let got = Mfcc::new(MfccConfig::default()).unwrap().compute(&signal());
    assert_eq!(got.dim(), (7, 39));
    for (t, row) in GOLDEN {
        for (k, &want) in row.iter().enumerate() {
            close(got[[*t, k]], want, (t, k));
        }
    }
    let config = MfccConfig { window: Window::Povey, bands: 26, lifter: 22.0, deltas: false, ..Default::default() };
    let got = Mfcc::new(config).unwrap().compute(&signal());
    assert_eq!(got.dim(), (7, 13));
    for (k, &want) in GOLDEN_LIFTERED.iter().enumerate() {
        close(got[[4, k]], want, k);
    }
}

#[test]
fn frames_are_on_the_label_grid_and_silence_is_finite() {
    let mfcc = Mfcc::new(MfccConfig { center: true, ..Default::default() }).unwrap();
    for n in [0, 399, 400, 559, 560, 16_000] {
        let got = mfcc.compute(&vec![0.0; n]);
        assert_eq!(got.dim(), (label_frames(n), 39));
        assert!(got.iter().all(|x| x.is_finite()));
    }
    let got = mfcc.compute(&crate::common::noise(8000, 1));
    for column in got.columns() {
        assert!(column.sum().abs() < 1e-3);
    }
}

#[test]
fn configurations_that_make_no_sense_are_refused() {
    for bad in [
        MfccConfig { bands: 0, ..Default::default() },
        MfccConfig { coefficients: 41, ..Default::default() },
        MfccConfig { coefficients: 0, ..Default::default() },
        MfccConfig { low: 9000.0, ..Default::default() },
        MfccConfig { high: 9000.0, ..Default::default() },
        MfccConfig { low: f64::NAN, ..Default::default() },
        MfccConfig { bands: 400, ..Default::default() },
    ] {
        assert!(Mfcc::new(bad.clone()).is_err(), "{bad:?}");
    }
}
