//! One run: its configuration, folder, training, features and probes.

mod averages;
pub(crate) mod cache_folder;
pub(crate) mod config;
pub(crate) mod dataset_record;
pub(crate) mod domain;
mod embedded;
pub(crate) mod environment;
pub(crate) mod extract;
pub(crate) mod feature_file;
pub(crate) mod final_rows;
pub(crate) mod fingerprint;
mod groups;
pub(crate) mod held_out;
pub(crate) mod input;
pub(crate) mod interrupt;
pub(crate) mod latent;
pub(crate) mod launched;
pub(crate) mod lock;
mod loss_text;
pub(crate) mod measure;
pub(crate) mod one_module;
pub(crate) mod place;
pub(crate) mod probe;
pub(crate) mod probe_config;
pub(crate) mod progress;
mod ranges;
#[cfg(feature = "mpi")]
pub(crate) mod ranks;
pub(crate) mod run_dir;
pub(crate) mod settings;
pub(crate) mod status;
pub(crate) mod tensorboard;
pub(crate) mod train;
pub(crate) mod train_config;
pub(crate) mod views;
