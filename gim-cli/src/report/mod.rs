//! Figures, tables and pages, from the files that runs left.

mod compare;
pub mod comparison;
pub mod draw;
mod image_figures;
mod latent;
pub mod page;
