//! What the page and the benchmark share of their templates: tables, and the escaping of Markdown.

pub(crate) mod markdown;
pub(crate) mod table;

use askama::Template;

/// Renders a template. This cannot fail: templates are checked at compile time, and the text is
/// written to memory.
pub(crate) fn rendered(template: &impl Template) -> String {
    template.render().unwrap_or_else(|e| unreachable!("a template of text: {e}"))
}
