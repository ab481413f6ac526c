//! Layers for images.

pub mod conv2d;
mod im2col;
pub(crate) mod orthonormal;
pub mod patches;
pub mod pixelcnn;
pub mod residual;
mod winograd;
