//! Runs the program and reads the results of a run.

use std::path::Path;
use std::process::{Command, Output};

pub(crate) fn gim(folder: &Path, args: &[&str]) -> Command {
    aloud(folder, &[&["--quiet"], args].concat())
}

/// The program with its notes.
pub(crate) fn aloud(folder: &Path, args: &[&str]) -> Command {
    let mut c = Command::new(env!("CARGO_BIN_EXE_gim"));
    c.current_dir(folder).args(args);
    for name in ["GIM_DATA", "TORCH_PYTHON", "TORCH_BENCH", "SKLEARN_PYTHON"] {
        c.env_remove(name);
    }
    c
}

/// The Python that `GIM_PYTHON` names, else `python3`; `None` where that lacks one of `modules`, which is said and skips the
/// test.
pub(crate) fn python(modules: &[&str]) -> Option<Command> {
    let python = std::env::var("GIM_PYTHON").unwrap_or_else(|_| "python3".into());
    let has = Command::new(&python).args(["-c", &format!("import {}", modules.join(", "))]).output();
    if !has.is_ok_and(|o| o.status.success()) {
        // Printed when the test is run with --nocapture.
        println!("skipped: {python} lacks one of {modules:?}");
        return None;
    }
    Some(Command::new(python))
}

/// What a script of `parity/` prints, where [`python`] has `modules`.
pub(crate) fn parity(folder: &Path, script: &str, args: &[&str], modules: &[&str]) -> Option<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../parity").join(script);
    let out = python(modules)?.current_dir(folder).arg(script).args(args).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success(), "{text}{}", String::from_utf8_lossy(&out.stderr));
    Some(text)
}

/// Trains a network of speech as small as they come; more settings follow.
pub(crate) const TINY_SPEECH: [&str; 8] =
    ["train", "audio-quick", "--set", "network.width=8", "--set", "network.context=8", "--set", "train.batch=6"];

/// Whether a text is one error: a line, and below it the place in a file, if there is one.
pub(crate) fn is_one_error(text: &str) -> bool {
    let is_place = |line: &str| line.trim_start().starts_with("-->") || line.contains('|');
    text.starts_with("gim: ") && text.trim_end().split('\n').skip(1).all(is_place)
}

pub(crate) fn ok(folder: &Path, args: &[&str]) -> Output {
    let out = gim(folder, args).output().unwrap();
    assert!(out.status.success(), "gim {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    out
}

/// The standard output of a command that succeeds.
pub(crate) fn printed(folder: &Path, args: &[&str]) -> String {
    String::from_utf8_lossy(&ok(folder, args).stdout).into_owned()
}

/// The error's text, with exit code 2: one line, and below it the place in a file, if there is one.
pub(crate) fn fails(folder: &Path, args: &[&str]) -> String {
    let out = gim(folder, args).output().unwrap();
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(2), "gim {args:?}: {text}");
    assert!(is_one_error(&text), "{text}");
    text
}

/// All checkpoints of the last step, as bytes, and the log without its times.
pub(crate) fn result(run: &Path) -> (Vec<Vec<u8>>, Vec<String>) {
    let mut steps: Vec<_> = std::fs::read_dir(run.join("checkpoints")).unwrap().map(|e| e.unwrap().path()).collect();
    steps.sort();
    let mut files: Vec<_> = std::fs::read_dir(steps.pop().unwrap()).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    let log = std::fs::read_to_string(run.join("train.csv")).unwrap();
    let log = log.lines().map(|l| l.rsplit_once(',').unwrap().0.to_owned()).collect();
    (files.iter().map(|f| std::fs::read(f).unwrap()).collect(), log)
}

/// A corpus of class folders, 20 images of 20 × 20 pixels in each of two classes, some of them damaged.
pub(crate) fn folders(root: &Path, bad: bool) {
    for (c, class) in ["bright", "dark"].iter().enumerate() {
        for part in ["train", "val"] {
            let folder = root.join(part).join(class);
            std::fs::create_dir_all(&folder).unwrap();
            for n in 0..20 {
                let image = png(20, |x, y| ((x * 7 + y * 3 + n * 11) % 64 + 190 * (1 - c)) as u8);
                std::fs::write(folder.join(format!("{n:02}.png")), image).unwrap();
            }
        }
    }
    if bad {
        std::fs::write(root.join("train/dark/broken.jpg"), b"this is no image").unwrap();
        std::fs::write(root.join("train/dark/one.png"), png(1, |_, _| 0)).unwrap();
    }
}

pub(crate) fn png(side: u32, pixel: impl Fn(usize, usize) -> u8) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, side, side);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Eight);
    let pixels: Vec<u8> = (0..(side * side) as usize).map(|i| pixel(i % side as usize, i / side as usize)).collect();
    encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
    out
}

/// A WAV file of one channel of 16-bit samples.
pub(crate) fn wav(rate: u32, samples: &[u8]) -> Vec<u8> {
    let bytes = samples.len() as u32;
    let mut wav = b"RIFF....WAVEfmt ".to_vec();
    wav[4..8].copy_from_slice(&(36 + bytes).to_le_bytes());
    for field in [16, 1 | 1 << 16, rate, 2 * rate, 2 | 16 << 16] {
        wav.extend_from_slice(&u32::to_le_bytes(field));
    }
    wav.extend_from_slice(b"data");
    wav.extend_from_slice(&bytes.to_le_bytes());
    wav.extend_from_slice(samples);
    wav
}
