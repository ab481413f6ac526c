//! Pictures for Greedy InfoMax: layers and networks, patches, corpora, and training views.

pub mod conv2d;
pub mod network;
pub mod patches;
pub mod pixelcnn;
pub mod resnet;
