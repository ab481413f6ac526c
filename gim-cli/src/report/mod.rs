//! Figures, tables and pages of runs.
//!
//! `tables` and `figure_file` turn rows and PNG files into plain text and data URLs, `page` collects
//! them, and the templates in `templates/` lay them out: `report.html`, and `report.md` as its twin.

pub mod draw;
pub mod figure_file;
pub mod image_figures;
pub(crate) mod markdown;
pub mod page;
pub(crate) mod table;
mod tables;

use askama::Template;

/// Templates are checked when they are compiled, and text is written to memory: nothing is left to fail.
pub(crate) fn rendered(template: &impl Template) -> String {
    template.render().unwrap_or_else(|e| unreachable!("a template of text: {e}"))
}
