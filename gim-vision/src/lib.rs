//! Pictures for Greedy InfoMax: layers and networks, patches, corpora, and training views.

pub mod conv2d;
pub mod corpus;
pub mod loader;
pub mod network;
pub mod patches;
pub mod picture;
pub mod pixelcnn;
pub mod resnet;
pub mod standardize;
mod windows;
mod winograd;
