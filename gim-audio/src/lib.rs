//! Speech for Greedy InfoMax: layers and networks, corpora, training crops, phone labels, and the MFCC baseline.

pub mod conv1d;
pub mod corpus;
pub mod decode;
pub mod gru;
pub mod loader;
pub mod mfcc;
pub mod network;
pub mod phones;
pub mod standardize;
mod two_taps;
