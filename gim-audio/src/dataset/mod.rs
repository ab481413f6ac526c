//! A corpus of speech: files, labels, crops.

pub mod corpus;
pub mod decode;
pub mod loader;
pub mod phones;
pub mod standardize;
