//! Speech for Greedy InfoMax: corpora, training crops, phone labels, and the MFCC baseline.

pub mod conv1d;
pub mod corpus;
pub mod decode;
pub mod gru;
pub mod loader;
pub mod mfcc;
pub mod phones;
pub mod standardize;
