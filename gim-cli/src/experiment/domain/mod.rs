//! What differs between audio and vision: dataset, model and figures.

mod audio;
mod columns;
mod dataset;
mod figures;
mod model;
mod size;
mod vision;

use std::fmt::{self, Display};
use std::path::{Path, PathBuf};

use documented::DocumentedFields;
use gim_core::credit::CreditAssignment;
use gim_core::{Error, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::experiment::embedded::Embedded;
use crate::experiment::settings::{SectionDocs, docs, plain};

pub(crate) use audio::AudioConfig;
use columns::column_specs;
pub(crate) use columns::{check_task, no_such_labels};
pub(crate) use dataset::{BatchSource, DatasetSpec, Extracted, Extractor};
pub(crate) use figures::{FigureSpec, MethodKind};
pub(crate) use model::{Compared, ModelSpec};
pub(crate) use vision::VisionConfig;

/// Which domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum DomainKind {
    /// Speech.
    #[default]
    Audio,
    /// Images.
    Vision,
}

impl DomainKind {
    /// All domains, in the order of tables and figures.
    pub const ALL: [Self; 2] = [Self::Audio, Self::Vision];
}

impl Display for DomainKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Audio => "audio",
            Self::Vision => "vision",
        })
    }
}

/// A domain's part of a configuration.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sections<D, N, L> {
    /// The dataset, and how it is cut.
    pub data: D,
    /// The network.
    pub network: N,
    /// The loss of every module.
    pub loss: L,
}

impl<D, N, L> Sections<D, N, L>
where
    D: Serialize + DeserializeOwned + Default + DocumentedFields,
    N: Serialize + DeserializeOwned + Default + DocumentedFields,
    L: Serialize + DeserializeOwned + Default + DocumentedFields,
{
    /// The sections, taken out of a configuration's table.
    ///
    /// # Errors
    /// When a value is wrong.
    pub(crate) fn take(table: &mut toml::Table) -> Result<Self> {
        Ok(Self { data: section(table, "data")?, network: section(table, "network")?, loss: section(table, "loss")? })
    }

    /// Name and TOML of each.
    fn to_toml(&self) -> [(&'static str, String); 3] {
        [("data", text(&self.data)), ("network", text(&self.network)), ("loss", text(&self.loss))]
    }

    fn docs(&self) -> [SectionDocs; 3] {
        [docs::<D>("data"), docs::<N>("network"), docs::<L>("loss")]
    }
}

/// A section, taken out of the table; its defaults when it is not there.
pub(crate) fn section<T: DeserializeOwned + Default>(table: &mut toml::Table, name: &str) -> Result<T> {
    let Some(value) = table.remove(name) else { return Ok(T::default()) };
    value.clone().try_into().map_err(|e: toml::de::Error| {
        let error = |key: String, e: &toml::de::Error| {
            let (what, remedy) = plain(e.message());
            Error::config(key, what, remedy)
        };
        // Every setting has a default: the first that is no section by itself is the wrong one.
        let alone = |(key, value): (&String, &toml::Value)| {
            let section = toml::Table::from_iter([(key.clone(), value.clone())]);
            section.try_into::<T>().err().map(|e| error(format!("{name}.{key}"), &e))
        };
        value.as_table().and_then(|keys| keys.iter().find_map(alone)).unwrap_or_else(|| error(name.into(), &e))
    })
}

/// Any part of a configuration as TOML.
pub(crate) fn text(part: &impl Serialize) -> String {
    toml::to_string(part).unwrap_or_else(|e| unreachable!("a configuration is always TOML: {e}"))
}

/// The configuration of one domain.
#[derive(Debug, Clone, PartialEq)]
pub enum Domain {
    /// Speech.
    Audio(AudioConfig),
    /// Images.
    Vision(VisionConfig),
}

impl Default for Domain {
    fn default() -> Self {
        DomainKind::default().into()
    }
}

impl From<DomainKind> for Domain {
    /// The default configuration of a domain: the paper's.
    fn from(kind: DomainKind) -> Self {
        match kind {
            DomainKind::Audio => Self::Audio(AudioConfig::default()),
            DomainKind::Vision => Self::Vision(VisionConfig::default()),
        }
    }
}

impl Domain {
    /// The sections of a domain, taken out of a configuration's table.
    ///
    /// # Errors
    /// When a value is wrong.
    pub(crate) fn take(kind: DomainKind, table: &mut toml::Table) -> Result<Self> {
        Ok(match kind {
            DomainKind::Audio => Self::Audio(AudioConfig::take(table)?),
            DomainKind::Vision => Self::Vision(VisionConfig::take(table)?),
        })
    }

    /// Which domain it is.
    pub fn kind(&self) -> DomainKind {
        match self {
            Self::Audio(_) => DomainKind::Audio,
            Self::Vision(_) => DomainKind::Vision,
        }
    }

    /// The dataset.
    pub fn dataset(&self) -> &dyn DatasetSpec {
        match self {
            Self::Audio(a) => a,
            Self::Vision(v) => v,
        }
    }

    /// The network and the loss of every module.
    pub fn model(&self) -> &dyn ModelSpec {
        match self {
            Self::Audio(a) => a,
            Self::Vision(v) => v,
        }
    }

    /// How errors go down within a module.
    pub(crate) fn credit(&self) -> CreditAssignment {
        match self {
            Self::Audio(a) => a.network.credit,
            Self::Vision(v) => v.network.credit,
        }
    }

    /// Modules that learn from each loss.
    pub(crate) fn modules_per_loss(&self) -> usize {
        match self {
            Self::Audio(a) => a.network.modules_per_loss,
            Self::Vision(v) => v.network.modules_per_loss,
        }
    }

    /// Captions and images for figures.
    pub fn figures(&self) -> &dyn FigureSpec {
        match self {
            Self::Audio(a) => a,
            Self::Vision(v) => v,
        }
    }

    /// Name and TOML of the sections `data`, `network` and `loss`.
    pub fn sections(&self) -> [(&'static str, String); 3] {
        match self {
            Self::Audio(a) => a.to_toml(),
            Self::Vision(v) => v.to_toml(),
        }
    }

    /// Documentation of the settings in the same sections.
    pub(crate) fn docs(&self) -> [SectionDocs; 4] {
        const AUGMENT: &str = "data.augment";
        let ([data, network, loss], augment) = match self {
            Self::Audio(a) => (a.docs(), docs::<gim_audio::dataset::augment::Augment>(AUGMENT)),
            Self::Vision(v) => (v.docs(), docs::<gim_vision::dataset::augment::Augment>(AUGMENT)),
        };
        [data, augment, network, loss]
    }

    /// Checks that batches hold what the loss compares.
    ///
    /// # Errors
    /// Names the setting that does not fit, and what to set.
    pub(crate) fn check_views(&self) -> Result<()> {
        self.dataset().check_views()?;
        let (model, views) = (self.model(), self.dataset().views());
        if model.needs_views()? && views != 2 {
            let key = format!("loss.{}.compare", model.loss_kind()?);
            let what = format!("compares two views of each item, but a batch holds {views} of each");
            return Err(Error::config(key, what, "set data.views = 2, or compare = \"neighbors\""));
        }
        Ok(())
    }
}

/// The file that a setting names; none where it is empty.
pub(crate) fn given(file: &str) -> Option<PathBuf> {
    (!file.is_empty()).then(|| PathBuf::from(file))
}

/// The folder of a dataset: that of `data.path`; without one, or where a preset names an embedded dataset, the folder
/// of its manifest, if it has one.
pub(crate) fn folder_of(path: &str, manifest: &str, name: &str, embedded: &[Embedded], what: &str) -> Result<PathBuf> {
    let own = !path.is_empty() && path.split(':').next() != Some(EMBEDDED);
    match given(manifest).filter(|_| !own) {
        Some(manifest) => {
            let folder = manifest.parent().filter(|folder| !folder.as_os_str().is_empty());
            Ok(folder.unwrap_or(Path::new(".")).to_owned())
        }
        None => folder(path, name, embedded, what),
    }
}

/// How `data.path` begins for a dataset within the program, whether or not `GIM_DATA` is set.
const EMBEDDED: &str = "embedded";

/// The folder that a setting gives, or an embedded dataset when it says so (`embedded` is the first of
/// them, `embedded:NAME` any); else `GIM_DATA`, or its subfolder `name` when it has one. `what` says
/// what belongs there.
fn folder(path: &str, name: &str, embedded: &[Embedded], what: &str) -> Result<PathBuf> {
    let (source, dataset) = path.split_once(':').unwrap_or((path, ""));
    if source == EMBEDDED {
        return match embedded.iter().find(|e| dataset.is_empty() || e.name() == dataset) {
            Some(found) => found.unpack(),
            None => {
                let names: Vec<_> = embedded.iter().map(|e| format!("{EMBEDDED}:{}", e.name())).collect();
                let what = format_args!("no dataset `{dataset}` is within the program");
                Err(Error::config("data.path", what, format_args!("use {}", names.join(" or "))))
            }
        };
    }
    if !path.is_empty() {
        return Ok(PathBuf::from(path));
    }
    let Some(folder) = std::env::var_os("GIM_DATA").filter(|f| !f.is_empty()).map(PathBuf::from) else {
        let remedy = format!(
            "set data.path, or the environment variable GIM_DATA, to {what}; data.path={EMBEDDED} takes a small \
             one within the program, which shows that it works"
        );
        return Err(Error::config("data.path", "no dataset is given", remedy));
    };
    let part = folder.join(name);
    Ok(if part.is_dir() { part } else { folder })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_written_as_they_are_read() {
        for kind in DomainKind::ALL {
            let value = toml::Value::try_from(kind).unwrap();
            assert_eq!(value.as_str(), Some(kind.to_string().as_str()));
            assert_eq!(value.try_into::<DomainKind>().unwrap(), kind);
            assert_eq!(Domain::from(kind).kind(), kind);
        }
    }

    #[test]
    fn each_domain_offers_its_own_figures() {
        let [audio, vision] = DomainKind::ALL.map(Domain::from);
        assert!(audio.dataset().has_speakers() && !vision.dataset().has_speakers());
    }
}
