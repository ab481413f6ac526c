//! Figures, tables and pages from the files of runs.
//!
//! `draw` and `compare` read rows and features and call the charts; `tables` and `figure_file` turn
//! rows and PNG files into plain text and data URLs; `page` collects them, and the templates in
//! `templates/` lay them out: `report.html`, and `report.md` as its twin.

mod compact;
mod compare;
pub(crate) mod comparison;
pub(crate) mod draw;
pub(crate) mod figure_file;
mod image_figures;
mod latent;
pub(crate) mod links;
mod matrix;
pub(crate) mod page;
mod preview;
mod protocol_notes;
pub(crate) mod runs;
mod runs_table;
mod tables;
