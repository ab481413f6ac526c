//! Figures, tables and pages of runs.

pub mod draw;
pub mod image_figures;
pub mod page;
