//! From files as published to a dataset that `gim` reads.

use std::fs;
use std::path::{Path, PathBuf};

use gim_audio::dataset::corpus::{PHONE_LABELS, PHONES, TEST_SPLIT, TRAIN_SPLIT};
use gim_audio::dataset::decode;
use gim_audio::geometry::label_frames;
use gim_core::files::create_folder;
use gim_core::{Error, Result};

use super::mat;
use super::registry::Layout;

/// Classes of Fashion-MNIST, as its README names them.
const CLOTHES: [&str; 10] =
    ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"];

const DIGITS: [&str; 10] = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];
/// Recordings of each digit and speaker that the publisher's test set has: the first ones.
const TEST_DIGITS: u32 = 5;

/// Images of flowers: names of the sets in `setid.mat`, and their folders.
const FLOWER_SETS: [(&str, &str); 3] = [("trnid", "train"), ("valid", "val"), ("tstid", "test")];

/// Moves what is in the folder `raw` into the folder `dataset`, which is empty.
///
/// # Errors
/// When a file that it needs is not there or not as published.
pub(super) fn arrange(layout: Layout, raw: &Path, dataset: &Path) -> Result<()> {
    match layout {
        Layout::AsPublished => rename(raw, dataset),
        Layout::FashionMnist => {
            rename(raw, dataset)?;
            write_lines(&dataset.join("classes.txt"), CLOTHES.map(str::to_owned))
        }
        Layout::SpokenDigits => spoken_digits(raw, dataset),
        Layout::Flowers102 => flowers(raw, dataset),
    }
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(|e| Error::io(from, "move", e))
}

fn write_lines(path: &Path, lines: impl IntoIterator<Item = String>) -> Result<()> {
    let text: String = lines.into_iter().map(|line| line + "\n").collect();
    fs::write(path, text).map_err(|e| Error::io(path, "write the file", e))
}

/// Files and folders in a folder, by name.
fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = |e| Error::io(folder, "list the folder", e);
    let entries = fs::read_dir(folder).map_err(failed)?;
    let mut paths: Vec<PathBuf> =
        entries.map(|e| e.map(|e| e.path())).collect::<std::io::Result<_>>().map_err(failed)?;
    paths.sort();
    Ok(paths)
}

fn unlike(path: &Path, what: &str) -> Error {
    Error::file(path, what, "the archive is not the published one; fetch it again without --any-checksum")
}

/// `*/recordings/DIGIT_SPEAKER_N.wav` → `recordings/SPEAKER-DIGIT-N.wav`, with splits and labels.
fn spoken_digits(raw: &Path, dataset: &Path) -> Result<()> {
    let top = list(raw)?.into_iter().find(|path| path.join("recordings").is_dir());
    let top = top.ok_or_else(|| unlike(raw, "there is no folder `recordings` in the archive"))?;
    let recordings = dataset.join("recordings");
    create_folder(&recordings)?;
    let (mut train, mut test, mut labels) = (Vec::new(), Vec::new(), Vec::new());
    for path in list(&top.join("recordings"))? {
        if path.extension().is_none_or(|e| e != "wav") {
            continue;
        }
        let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
        let parts = stem.split_once('_').and_then(|(digit, rest)| {
            let (speaker, n) = rest.rsplit_once('_')?;
            let digit = digit.parse().ok().filter(|&d: &usize| d < DIGITS.len())?;
            Some((digit, speaker, n.parse::<u32>().ok()?)).filter(|_| !speaker.is_empty() && !speaker.contains('-'))
        });
        let Some((digit, speaker, n)) = parts else {
            return Err(unlike(&path, "its name is not DIGIT_SPEAKER_NUMBER.wav"));
        };
        let id = format!("{speaker}-{digit}-{n}");
        let frames = label_frames(decode::len(&path)?);
        if frames > 0 {
            labels.push(format!("{id}{}", format!(" {digit}").repeat(frames)));
        }
        rename(&path, &recordings.join(format!("{id}.wav")))?;
        if n < TEST_DIGITS { test.push(id) } else { train.push(id) }
    }
    for path in ["README.md", "metadata.py"].map(|name| top.join(name)).iter().filter(|path| path.is_file()) {
        rename(path, &dataset.join(path.file_name().unwrap_or_default()))?;
    }
    write_lines(&dataset.join(TRAIN_SPLIT), train)?;
    write_lines(&dataset.join(TEST_SPLIT), test)?;
    write_lines(&dataset.join(PHONE_LABELS), labels)?;
    write_lines(&dataset.join(PHONES), DIGITS.iter().enumerate().map(|(id, name)| format!("{id} {name}")))
}

/// `jpg/image_00001.jpg …` → `train/001/image_00001.jpg …`, by the labels and sets in the MATLAB files.
fn flowers(raw: &Path, dataset: &Path) -> Result<()> {
    let labels_path = raw.join("imagelabels.mat");
    let labels = mat::read(&labels_path, "labels")?;
    if let Some(class) = labels.iter().find(|class| !(1..=999).contains(*class)) {
        return Err(unlike(&labels_path, &format!("class {class} is not one of 1 to 102")));
    }
    let sets_path = raw.join("setid.mat");
    let mut set_of = vec![None; labels.len()];
    for (name, folder) in FLOWER_SETS {
        for id in mat::read(&sets_path, name)? {
            let Some(set) = id.checked_sub(1).and_then(|i| set_of.get_mut(i)) else {
                let what = format!("{name} has image {id}, but there are {} labels", labels.len());
                return Err(unlike(&sets_path, &what));
            };
            if set.replace(folder).is_some() {
                return Err(unlike(&sets_path, &format!("image {id} is in two sets")));
            }
        }
    }
    for (i, (class, set)) in labels.iter().zip(set_of).enumerate() {
        let name = format!("image_{:05}.jpg", i + 1);
        let Some(set) = set else {
            return Err(unlike(&sets_path, &format!("image {} is in no set", i + 1)));
        };
        let folder = dataset.join(set).join(format!("{class:03}"));
        create_folder(&folder)?;
        rename(&raw.join("jpg").join(&name), &folder.join(&name))?;
    }
    for path in [labels_path, sets_path] {
        rename(&path, &dataset.join(path.file_name().unwrap_or_default()))?;
    }
    Ok(())
}
