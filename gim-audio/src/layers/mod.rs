//! Layers for audio.

pub mod conv1d;
mod conv1d_winograd;
pub mod gru;
