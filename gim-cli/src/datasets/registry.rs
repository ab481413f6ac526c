//! What is known of each dataset: a table. Another dataset is a variant of [`Known`] and an entry
//! here; where its files are not yet as `gim` reads them, also a [`Layout`].

mod entries;

use std::fmt::{self, Display};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::experiment::domain::DomainKind;

/// A dataset that can be fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Known {
    /// 100 hours of read English, 251 speakers.
    #[value(name = "librispeech-100")]
    #[serde(rename = "librispeech-100")]
    Librispeech100,
    /// Spoken digits of 5 speakers.
    SpokenDigits,
    /// Photographs of 10 classes, and 100,000 without labels.
    #[value(name = "stl10")]
    Stl10,
    /// Small photographs of 10 classes.
    #[value(name = "cifar10")]
    Cifar10,
    /// Small photographs of 100 classes.
    #[value(name = "cifar100")]
    Cifar100,
    /// Gray images of 10 classes of clothes.
    FashionMnist,
    /// Photographs of 10 classes of ImageNet, shorter side 160.
    #[value(name = "imagenette-160")]
    #[serde(rename = "imagenette-160")]
    Imagenette160,
    /// Photographs of 10 classes of ImageNet, shorter side 320.
    #[value(name = "imagenette-320")]
    #[serde(rename = "imagenette-320")]
    Imagenette320,
    /// Photographs of 102 kinds of flowers.
    #[value(name = "flowers102")]
    Flowers102,
}

impl Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        f.write_str(value.as_ref().map_or("", |v| v.get_name()))
    }
}

/// A published file.
#[derive(Debug, Serialize)]
pub(crate) struct Source {
    /// Name of the file. A mirror has it under this name.
    pub(crate) name: &'static str,
    /// Where it is, the first choice first.
    pub(crate) addresses: &'static [&'static str],
    /// Length in bytes.
    pub(crate) bytes: u64,
    /// Checksums, all of which the file must have.
    pub(crate) checksums: &'static [Checksum],
    /// Whether it is a tar archive to unpack.
    pub(crate) archive: bool,
}

/// A checksum and who says so.
#[derive(Debug, Serialize)]
pub(crate) struct Checksum {
    pub(crate) algorithm: Algorithm,
    /// Hexadecimal.
    pub(crate) digest: &'static str,
    pub(crate) by: Authority,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum Algorithm {
    #[serde(rename = "MD5")]
    Md5,
    #[serde(rename = "SHA-256")]
    Sha256,
}

impl Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
        })
    }
}

/// Who gives a checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum Authority {
    /// The publisher of the dataset.
    #[serde(rename = "the publisher")]
    Publisher,
    /// The publisher gives none; torchvision has it.
    #[serde(rename = "torchvision")]
    Torchvision,
    /// The publisher gives none of this kind; TensorFlow Datasets has it.
    #[serde(rename = "TensorFlow Datasets")]
    TensorflowDatasets,
}

impl Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Publisher => "the publisher",
            Self::Torchvision => "torchvision",
            Self::TensorflowDatasets => "TensorFlow Datasets",
        })
    }
}

/// Under which terms a dataset is given.
#[derive(Debug, Serialize)]
pub(crate) struct License {
    /// Its name in a few words.
    pub(crate) name: &'static str,
    /// What it asks, and where it stands.
    pub(crate) terms: &'static str,
}

/// How the files that are unpacked become a dataset that `gim` reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Layout {
    /// As they are.
    AsPublished,
    /// Names of the classes are added.
    FashionMnist,
    /// Recordings are named after their speakers; splits and labels become files.
    SpokenDigits,
    /// Images are moved to class folders by the labels and splits in the MATLAB files.
    Flowers102,
}

/// All that is known of a dataset.
#[derive(Debug, Serialize)]
pub(crate) struct Dataset {
    pub(crate) name: Known,
    pub(crate) title: &'static str,
    pub(crate) domain: DomainKind,
    pub(crate) about: &'static str,
    pub(crate) homepage: &'static str,
    pub(crate) license: License,
    pub(crate) files: &'static [Source],
    /// Bytes on disk, unpacked.
    pub(crate) unpacked_bytes: u64,
    /// Files, unpacked, about.
    pub(crate) unpacked_files: u64,
    pub(crate) layout: Layout,
    /// What `gim` makes of it, and what is missing.
    pub(crate) notes: &'static [&'static str],
    /// What of all this was not checked against the publisher or a second source.
    pub(crate) not_checked: &'static [&'static str],
    /// A preset to begin with, and settings for it besides the folder.
    pub(crate) train: &'static [&'static str],
}

impl Dataset {
    /// The entry of a dataset.
    pub(crate) fn of(name: Known) -> &'static Self {
        match name {
            Known::Librispeech100 => &entries::LIBRISPEECH_100,
            Known::SpokenDigits => &entries::SPOKEN_DIGITS,
            Known::Stl10 => &entries::STL10,
            Known::Cifar10 => &entries::CIFAR10,
            Known::Cifar100 => &entries::CIFAR100,
            Known::FashionMnist => &entries::FASHION_MNIST,
            Known::Imagenette160 => &entries::IMAGENETTE_160,
            Known::Imagenette320 => &entries::IMAGENETTE_320,
            Known::Flowers102 => &entries::FLOWERS102,
        }
    }

    /// All entries, in the order of [`Known`].
    pub(crate) fn all() -> impl Iterator<Item = &'static Self> {
        Known::value_variants().iter().map(|name| Self::of(*name))
    }

    /// Bytes to download.
    pub(crate) fn download_bytes(&self) -> u64 {
        self.files.iter().map(|f| f.bytes).sum()
    }

    /// Its folder unless another is given.
    pub(crate) fn usual_folder(&self) -> PathBuf {
        Path::new("datasets").join(self.name.to_string())
    }

    /// The command that trains on it in a folder.
    pub(crate) fn command(&self, folder: &Path) -> String {
        let (preset, more) = self.train.split_first().unwrap_or((&"PRESET", &[]));
        let more: String = more.iter().map(|setting| format!(" --set {setting}")).collect();
        let path = folder.display().to_string();
        let plain = path.chars().all(|c| c.is_alphanumeric() || "/._-+".contains(c));
        let path = if plain { path } else { format!("'{}'", path.replace('\'', r"'\''")) };
        format!("gim train {preset} --set data.path={path}{more}")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::experiment::config::Config;

    #[test]
    fn every_entry_is_complete() {
        let mut digests = HashSet::new();
        for dataset in Dataset::all() {
            let name = dataset.name.to_string();
            assert_eq!(serde_json::to_value(dataset.name).unwrap(), name, "names of the prompt and of manifests");
            assert!(dataset.unpacked_bytes > 0 && dataset.unpacked_files > 0 && !dataset.license.terms.is_empty());
            for file in dataset.files {
                assert!(file.bytes > 0 && !file.addresses.is_empty() && !file.checksums.is_empty(), "{name}");
                for address in file.addresses {
                    assert!(address.starts_with("https://") || address.starts_with("http://"), "{address}");
                }
                for sum in file.checksums {
                    let length = if sum.algorithm == Algorithm::Md5 { 32 } else { 64 };
                    let hex =
                        sum.digest.len() == length && sum.digest.bytes().all(|c| b"0123456789abcdef".contains(&c));
                    assert!(hex && digests.insert(sum.digest), "{name}: {}", sum.digest);
                }
                // MD5 alone is no protection against files that are made to have it.
                assert!(file.checksums.iter().any(|sum| sum.algorithm == Algorithm::Sha256), "{name}");
            }
        }
    }

    #[test]
    fn the_command_is_one_that_gim_takes() {
        for dataset in Dataset::all() {
            let command = dataset.command(Path::new("datasets/it's here"));
            assert!(command.contains(r"data.path='datasets/it'\''s here'"), "{command}");
            let settings: Vec<String> = dataset.train[1..].iter().map(ToString::to_string).collect();
            let config = Config::load(dataset.train[0], &settings).unwrap();
            assert_eq!(config.domain.kind(), dataset.domain);
        }
        assert_eq!(entries::STL10.command(Path::new("/d/stl10")), "gim train vision-small --set data.path=/d/stl10");
    }
}
