//! Figures, tables and pages from the files of runs.
//!
//! `draw` and `compare` read rows and features and call the charts; `tables` and `figure_file` turn
//! rows and PNG files into plain text and data URLs; `page` collects them, and the templates in
//! `templates/` lay them out: `report.html`, and `report.md` as its twin.

mod compare;
pub(crate) mod comparison;
pub(crate) mod draw;
pub(crate) mod figure_file;
mod image_figures;
mod latent;
pub(crate) mod markdown;
pub(crate) mod page;
pub(crate) mod table;
mod tables;

use askama::Template;

/// Renders a template. This cannot fail: templates are checked at compile time, and the text is
/// written to memory.
pub(crate) fn rendered(template: &impl Template) -> String {
    template.render().unwrap_or_else(|e| unreachable!("a template of text: {e}"))
}
