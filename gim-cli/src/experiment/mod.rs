//! One run: its configuration, folder, training, features and probes.

pub mod config;
pub mod domain;
pub mod environment;
pub mod extract;
pub mod interrupt;
pub mod latent;
pub mod probe;
pub mod progress;
pub mod run_dir;
pub mod train;
pub mod train_config;
