//! Speech corpora: audio files, phone labels, crops for training.

mod alignment;
pub mod augment;
mod compressed;
pub mod corpus;
pub mod decode;
mod inspect;
pub mod loader;
pub mod phones;
mod speakers;
mod splits;
pub mod standardize;
mod wav;
