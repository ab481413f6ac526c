//! Intact and damaged audio files.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{Pcm, a_flac, big, noise, wav_bytes, write};
use gim_audio::dataset::decode::{decode, decode_range, info, len};
use proptest::prelude::*;

#[test]
fn wav_of_every_format_gives_the_same_samples() {
    let dir = tempfile::tempdir().unwrap();
    let x: Vec<f32> = (0..5000).map(|i| ((i * 37) % 256) as f32 / 128.0 - 1.0).collect();
    for pcm in [Pcm::U8, Pcm::S16, Pcm::S24, Pcm::S32, Pcm::F32] {
        let path = dir.path().join("x.wav");
        write(&path, wav_bytes(&x, 1, 16_000, pcm));
        assert_eq!(decode(&path).unwrap(), x);
        assert_eq!(info(&path).unwrap().len, Some(5000));
        let mut part = vec![0.0; 100];
        decode_range(&path, 4900, &mut part).unwrap();
        assert_eq!(part, x[4900..]);
    }
}

/// A WAV written to a pipe declares no length: it is counted, and its ranges still work.
#[test]
fn wav_without_a_length_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pipe.wav");
    let x = noise(9001, 4);
    let mut bytes = wav_bytes(&x, 1, 16_000, Pcm::S16);
    bytes[4..8].fill(0xff);
    bytes[40..44].fill(0xff);
    write(&path, bytes);
    assert_eq!(info(&path).unwrap().len, None);
    assert_eq!(len(&path).unwrap(), 9001);
    assert_eq!(decode(&path).unwrap(), x);
    let mut part = vec![0.0; 500];
    decode_range(&path, 8501, &mut part).unwrap();
    assert_eq!(part, x[8501..]);
    assert!(decode_range(&path, 8502, &mut part).is_err());
}

#[test]
fn channels_are_averaged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.wav");
    for channels in [2u16, 3, 6] {
        let x = noise(3000 * usize::from(channels), 1);
        write(&path, wav_bytes(&x, channels, 16_000, Pcm::F32));
        let got = decode(&path).unwrap();
        assert_eq!(got.len(), 3000);
        for (y, frame) in got.iter().zip(x.chunks(usize::from(channels))) {
            assert!((y - frame.iter().sum::<f32>() / f32::from(channels)).abs() < 1e-6);
        }
    }
}

#[test]
fn other_rates_are_resampled_and_ranges_agree() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.wav");
    for rate in [8_000u32, 11_025, 22_050, 44_100, 48_000] {
        let x = noise(rate as usize * 2 + 17, rate);
        write(&path, wav_bytes(&x, 1, rate, Pcm::S16));
        let whole = decode(&path).unwrap();
        assert_eq!(whole.len(), (x.len() * 16_000).div_ceil(rate as usize));
        assert_eq!(whole.len(), len(&path).unwrap());
        for (start, n) in [(0, 1), (0, whole.len()), (1, 700), (20_000, 5_000), (whole.len() - 9, 9)] {
            let mut part = vec![f32::NAN; n];
            decode_range(&path, start, &mut part).unwrap();
            assert_eq!(part, whole[start..start + n], "{rate} Hz, {start}..{}", start + n);
        }
    }
}

#[test]
fn flac_ranges_are_slices_of_the_whole() {
    let path = a_flac();
    let whole = decode(&path).unwrap();
    assert_eq!(info(&path).unwrap().len, Some(whole.len()));
    for start in (0..whole.len()).step_by(977).chain([whole.len() - 1]) {
        let mut part = vec![f32::NAN; 3000.min(whole.len() - start)];
        decode_range(&path, start, &mut part).unwrap();
        assert_eq!(part, whole[start..start + part.len()]);
    }
    let mut beyond = vec![0.0; 10];
    let e = decode_range(&path, whole.len() - 5, &mut beyond).unwrap_err().to_string();
    assert!(e.contains("were asked for"), "{e}");
}

/// What is wrong with each file, and its name, must be in the message.
#[test]
fn bad_files_are_named_and_explained() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bad.wav");
    let fails = |bytes: &[u8], says: &str| {
        write(&path, bytes);
        let e = decode(&path).unwrap_err().to_string();
        assert!(e.contains("bad.wav") && e.contains(says), "{e:?} should say {says:?}");
    };
    fails(b"", "empty");
    fails(b"hello", "neither FLAC nor WAV");
    fails(&[0u8; 5000], "neither FLAC nor WAV");
    fails(&wav_bytes(&[], 1, 16_000, Pcm::S16), "no samples");
    fails(&wav_bytes(&noise(100, 1), 0, 16_000, Pcm::S16), "");
    fails(&wav_bytes(&noise(100, 1), 1, 0, Pcm::S16), "");
    fails(&wav_bytes(&noise(100, 1), 1, 1000, Pcm::S16), "sample rate is 1000");
    fails(&wav_bytes(&noise(9000, 1), 1, 16_000, Pcm::S16)[..10_000], "of the 9000 samples its header declares");
    for bad in [f32::NAN, f32::INFINITY] {
        let mut x = noise(9000, 2);
        x[7001] = bad;
        fails(&wav_bytes(&x, 1, 16_000, Pcm::F32), "sample 7001 is");
    }
    let e = decode(&dir.path().join("none.flac")).unwrap_err().to_string();
    assert!(e.contains("none.flac") && e.contains("check the path"), "{e}");
    assert!(decode(dir.path()).is_err());
}

/// Cut anywhere, a file gives one error that names it.
#[test]
fn truncated_flac_is_an_error_at_every_length() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cut.flac");
    let bytes = std::fs::read(a_flac()).unwrap();
    let cuts = (0..bytes.len()).step_by(611).chain(0..100).chain(bytes.len() - 20..bytes.len());
    for cut in cuts {
        write(&path, &bytes[..cut]);
        let e = decode(&path).unwrap_err().to_string();
        assert!(e.contains("cut.flac"), "{e}");
        let mut part = vec![0.0; 4000];
        let _ = decode_range(&path, 12_000, &mut part);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// Flipped bits: an error that names the file, or (in metadata, which nobody needs) the right
    /// samples. Never a panic.
    #[test]
    fn flipped_bytes_are_found(flips in prop::collection::vec((0usize..1_000_000, 1u8..=255), 1..4), early in any::<bool>()) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("flipped.flac");
        let mut bytes = std::fs::read(a_flac()).unwrap();
        let (right, n) = (decode(&a_flac()).unwrap(), if early { 200 } else { bytes.len() });
        for (at, with) in flips {
            bytes[at % n] ^= with;
        }
        write(&path, &bytes);
        match decode(&path) {
            // Flipping the rate in the header gives other samples; flipping the MD5 sum to zeros
            // disables the check.
            Ok(x) => prop_assert!(x == right || early),
            Err(e) => prop_assert!(e.to_string().contains("flipped.flac"), "{}", e),
        }
        let mut part = vec![0.0; 4000];
        let _ = decode_range(&path, 12_000, &mut part);
    }

    #[test]
    fn damaged_wav_never_panics(cut in 0usize..3044, at in 0usize..60, with in any::<u8>()) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.wav");
        let mut bytes = wav_bytes(&noise(1500, 3), 1, 16_000, Pcm::S16);
        bytes[at] = with;
        write(&path, &bytes[..cut.max(at)]);
        if let Err(e) = decode(&path) {
            prop_assert!(e.to_string().contains("x.wav"), "{}", e);
        }
        let _ = info(&path);
    }
}

/// Seeking finds its place in real files of many block sizes.
#[test]
fn ranges_of_a_large_corpus() {
    for name in ["speech", "librispeech-sample"] {
        let Some(root) = big(name) else { continue };
        let options = gim_audio::dataset::corpus::CorpusOptions {
            missing: gim_audio::dataset::corpus::MissingPolicy::Ignore,
            ..Default::default()
        };
        let corpus = gim_audio::dataset::corpus::Corpus::open(&root, &options).unwrap();
        for u in (0..corpus.utterances().len()).step_by(if name == "speech" { 29 } else { 1 }) {
            let whole = corpus.decode(u).unwrap();
            for i in 0..8 {
                let start = (whole.len() - 2000) * i / 7;
                let mut part = vec![0.0; 2000];
                decode_range(&corpus.utterances()[u].path, start, &mut part).unwrap();
                assert!(part == whole[start..start + 2000], "{} at {start}", corpus.utterances()[u].id);
            }
        }
    }
}
