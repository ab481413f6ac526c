//! Layers for images.

pub mod conv2d;
mod im2col;
pub mod map_mean;
pub mod normalize;
pub mod normed_residual;
pub(crate) mod orthonormal;
pub mod patches;
pub mod pixelcnn;
pub mod pool2d;
pub mod relu;
pub mod residual;
mod winograd;
