//! Makes a corpus of LibriSpeech's or STL-10's shape, to measure what a corpus of that size costs. What it holds is
//! noise that depends on the labels, so that probes have something to find.
//!
//! `cargo run --release -p gim-examples --example shaped_corpus -- speech FOLDER [SHARE]`
//!
//! SHARE is the part of the utterances or images, 1 if it is not given. `scripts/shaped.sh` compresses the sound.

use std::f32::consts::TAU;
use std::fs;
use std::io::{BufWriter, Result, Write};
use std::path::Path;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

const SPEAKERS: usize = 251;
const UTTERANCES: usize = 28_539;
const PHONES: usize = 41;
const RATE: usize = 16_000;
/// Samples of a label.
const HOP: usize = 160;
/// Shortest and longest utterance, in labels: 12.7 s in the mean, and 100.8 hours in all.
const LABELS: std::ops::Range<usize> = 141..2400;

/// Images of each file of STL-10, and whether they have labels.
const IMAGES: [(&str, usize, bool); 3] = [("train", 5_000, true), ("test", 8_000, true), ("unlabeled", 100_000, false)];
const SIDE: usize = 96;
const CLASSES: usize = 10;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (kind, folder) = match &args[..] {
        [kind, folder, ..] => (kind.as_str(), Path::new(folder)),
        _ => panic!("usage: shaped_corpus speech|images FOLDER [SHARE]"),
    };
    let share: f64 = args.get(2).map_or(1.0, |s| s.parse().expect("SHARE is a number"));
    let part = |n: usize| (n as f64 * share).round().max(2.0) as usize;
    match kind {
        "speech" => speech(folder, part(UTTERANCES)),
        "images" => IMAGES.iter().try_for_each(|(name, n, labels)| images(folder, name, part(*n), *labels)),
        _ => panic!("`{kind}` is neither speech nor images"),
    }
}

/// Speakers have folders of their own, as in train-clean-100: SPEAKER/CHAPTER/ID.wav. Every fifth utterance is to
/// test on.
fn speech(folder: &Path, utterances: usize) -> Result<()> {
    let mut lines: Vec<(String, String)> = (0..utterances)
        .into_par_iter()
        .map(|u| {
            let speaker = u % SPEAKERS;
            let (chapter, number) = (u / SPEAKERS / 50, u / SPEAKERS % 50);
            let id = format!("{}-{chapter}-{number:04}", speaker + 1);
            let mut rng = ChaCha8Rng::seed_from_u64(u as u64);
            let phones = phones(&mut rng);
            let to = folder.join(format!("train-clean-100/{}/{chapter}", speaker + 1));
            fs::create_dir_all(&to)?;
            fs::write(to.join(format!("{id}.wav")), wav(&sound(&phones, speaker, &mut rng)))?;
            let labels: Vec<String> = phones.iter().map(usize::to_string).collect();
            Ok((id, labels.join(" ")))
        })
        .collect::<Result<_>>()?;
    lines.sort();
    let file = |name: &str| fs::File::create(folder.join(name)).map(BufWriter::new);
    let (mut train, mut test) = (file("train_split.txt")?, file("test_split.txt")?);
    let mut labels = file("converted_aligned_phones.txt")?;
    for (i, (id, phones)) in lines.iter().enumerate() {
        writeln!(if i % 5 == 4 { &mut test } else { &mut train }, "{id}")?;
        writeln!(labels, "{id} {phones}")?;
    }
    [train, test, labels].iter_mut().try_for_each(Write::flush)
}

/// A label for every 10 ms; a phone lasts 50 to 150 ms.
fn phones(rng: &mut ChaCha8Rng) -> Vec<usize> {
    let len = rng.random_range(LABELS);
    let mut labels = Vec::with_capacity(len + 15);
    while labels.len() < len {
        let (phone, lasts) = (rng.random_range(0..PHONES), rng.random_range(5..15));
        labels.extend(std::iter::repeat_n(phone, lasts));
    }
    labels.truncate(len);
    labels
}

/// Noise through a resonance that the phone and the speaker decide. Phone 0 is silence.
fn sound(phones: &[usize], speaker: usize, rng: &mut ChaCha8Rng) -> Vec<i16> {
    // A window of 25 ms stands behind each label, so the last one needs 240 samples more.
    let samples = phones.len() * HOP + 240;
    let shift = 1.0 + 0.3 * speaker as f32 / SPEAKERS as f32;
    let (mut y1, mut y2) = (0.0f32, 0.0f32);
    (0..samples)
        .map(|i| {
            let phone = phones[(i / HOP).min(phones.len() - 1)];
            let loud = if phone == 0 { 20.0 } else { 600.0 };
            let angle = TAU * shift * (200.0 + 80.0 * phone as f32) / RATE as f32;
            let y = loud * (rng.random::<f32>() - 0.5) + 1.9 * angle.cos() * y1 - 0.9025 * y2;
            (y2, y1) = (y1, y);
            y.clamp(-32e3, 32e3) as i16
        })
        .collect()
}

/// 16 bits, one channel.
fn wav(samples: &[i16]) -> Vec<u8> {
    let len = 2 * samples.len() as u32;
    let mut out = Vec::with_capacity(44 + len as usize);
    out.extend(b"RIFF");
    out.extend((36 + len).to_le_bytes());
    out.extend(b"WAVEfmt ");
    out.extend(16u32.to_le_bytes());
    out.extend([1u16, 1].map(u16::to_le_bytes).concat());
    out.extend([RATE as u32, 2 * RATE as u32].map(u32::to_le_bytes).concat());
    out.extend([2u16, 16].map(u16::to_le_bytes).concat());
    out.extend(b"data");
    out.extend(len.to_le_bytes());
    out.extend(samples.iter().flat_map(|s| s.to_le_bytes()));
    out
}

/// NAME_X.bin and, for images with labels, NAME_y.bin: bytes by channel, column, row, and classes from 1.
fn images(folder: &Path, name: &str, n: usize, labels: bool) -> Result<()> {
    fs::create_dir_all(folder)?;
    let mut file = BufWriter::new(fs::File::create(folder.join(format!("{name}_X.bin")))?);
    for first in (0..n).step_by(1000) {
        let part: Vec<Vec<u8>> = (first..n.min(first + 1000)).into_par_iter().map(|i| image(name, i)).collect();
        part.iter().try_for_each(|image| file.write_all(image))?;
    }
    file.flush()?;
    if labels {
        let classes: Vec<u8> = (0..n).map(|i| (i % CLASSES) as u8 + 1).collect();
        fs::write(folder.join(format!("{name}_y.bin")), classes)?;
    }
    Ok(())
}

/// Stripes whose direction is the class, with a random width, phase and color, and noise.
fn image(name: &str, i: usize) -> Vec<u8> {
    let mut rng = ChaCha8Rng::seed_from_u64(((name.len() as u64) << 32) + i as u64);
    let angle = TAU / 2.0 * (i % CLASSES) as f32 / CLASSES as f32;
    let (frequency, phase) = (rng.random_range(0.1..0.4), rng.random_range(0.0..TAU));
    let color: [f32; 3] = std::array::from_fn(|_| rng.random_range(20.0..100.0));
    let mut out = Vec::with_capacity(3 * SIDE * SIDE);
    for amplitude in color {
        for (x, y) in (0..SIDE * SIDE).map(|p| ((p / SIDE) as f32, (p % SIDE) as f32)) {
            let wave = (frequency * (x * angle.cos() + y * angle.sin()) + phase).sin();
            out.push((128.0 + amplitude * wave + 40.0 * (rng.random::<f32>() - 0.5)).clamp(0.0, 255.0) as u8);
        }
    }
    out
}
