//! Speech for Greedy InfoMax: corpora, training crops, phone labels, and the MFCC baseline.

pub mod corpus;
pub mod decode;
pub mod loader;
pub mod mfcc;
pub mod phones;
pub mod standardize;
