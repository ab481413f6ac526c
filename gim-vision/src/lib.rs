//! Pictures for Greedy InfoMax: corpora and training views.

pub mod corpus;
pub mod loader;
pub mod picture;
pub mod standardize;
