//! Speech for Greedy InfoMax: layers and networks, corpora, training crops, phone labels, and the MFCC baseline.

pub mod dataset;
pub mod features;
pub mod geometry;
pub mod layers;
pub mod mfcc;
pub mod network;
