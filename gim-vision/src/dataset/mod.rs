//! Image datasets: files to images to batches of views.

pub mod augment;
mod formats;
pub mod image;
mod image_dataset;
pub mod loader;
mod png;
pub mod standardize;

pub use formats::{is_image, of_files, open};
pub use image_dataset::{DatasetOptions, ImageDataset, Listing, Split};
