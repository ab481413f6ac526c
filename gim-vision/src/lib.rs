//! Images for Greedy InfoMax: layers and networks, patches, datasets, and training views.

pub mod dataset;
pub mod layers;
pub mod network;
