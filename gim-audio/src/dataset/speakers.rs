//! Who speaks: read from names of files and folders.

use std::path::Path;

/// What the speaker of an utterance was told from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum From {
    /// `84-121123-0001`, LibriSpeech: the part of the id before its first '-'.
    Dash,
    /// `84_121123_000001_000000`, LibriTTS, or `p225_001`, VCTK: the part before its first '_'.
    Underscore,
    /// The first folder below the root.
    Folder,
    /// The id itself: one speaker an utterance.
    Id,
    /// A column of the manifest.
    Column,
}

impl From {
    /// In words, for notes.
    pub(super) fn rule(self) -> &'static str {
        match self {
            Self::Dash => "the part of the id before '-'",
            Self::Underscore => "the part of the id before '_'",
            Self::Folder => "the first folder",
            Self::Id => "the id, which has neither '-' nor '_' nor a folder",
            Self::Column => "the manifest",
        }
    }
}

/// The speaker of the utterance `id` at `path`: the part of the id before its first '-'; without
/// one, before its first '_'; without both, the first folder below `root`; else the id itself.
///
/// '-' comes first because names may hold '_': `anna_b-0001` is of `anna_b`.
pub(super) fn speaker_of(id: &str, path: &Path, root: &Path) -> (String, From) {
    for (mark, from) in [('-', From::Dash), ('_', From::Underscore)] {
        if let Some((speaker, _)) = id.split_once(mark).filter(|(speaker, _)| !speaker.is_empty()) {
            return (speaker.to_owned(), from);
        }
    }
    let inside = path.strip_prefix(root).unwrap_or(path);
    let mut parts = inside.components();
    match (parts.next(), parts.next()) {
        (Some(folder), Some(_)) => (folder.as_os_str().to_string_lossy().into_owned(), From::Folder),
        _ => (id.to_owned(), From::Id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_names() {
        let of = |id: &str, path: &str| speaker_of(id, &Path::new("root").join(path), Path::new("root"));
        for (id, path, want, from) in [
            ("84-121123-0001", "dev/84/121123/84-121123-0001.flac", "84", From::Dash),
            ("84_121123_000001_000000", "train-clean-100/84/84_121123_000001_000000.wav", "84", From::Underscore),
            ("p225_001", "wav48/p225/p225_001.wav", "p225", From::Underscore),
            ("p225_001_mic1", "p225_001_mic1.flac", "p225", From::Underscore),
            ("anna_b-0001", "x/anna_b-0001.wav", "anna_b", From::Dash),
            ("first", "ann/x/first.wav", "ann", From::Folder),
            ("first", "first.wav", "first", From::Id),
            ("_first", "ann/_first.wav", "ann", From::Folder),
        ] {
            assert_eq!(of(id, path), (want.to_owned(), from), "{id}");
        }
    }
}
