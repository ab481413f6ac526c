//! A table of plain text, for the page and for Markdown.

/// A table: columns, and rows with a cell for each. Cells are plain text; templates escape them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Table {
    /// Columns, left to right.
    pub columns: Vec<Column>,
    /// Rows, top to bottom.
    pub rows: Vec<Vec<String>>,
}

/// The head of a column.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Column {
    /// Text of the head.
    pub name: String,
    /// Whether the cells are numeric, and so aligned right.
    pub numeric: bool,
}

impl Table {
    /// A table of `rows`, each with a cell for every name. A column is numeric if all its nonempty
    /// cells begin with a number.
    pub(crate) fn new(names: &[impl AsRef<str>], rows: Vec<Vec<String>>) -> Self {
        let numeric = |i: usize| rows.iter().all(|row| row[i].is_empty() || begins_with_number(&row[i]));
        let columns = names.iter().enumerate();
        let columns = columns.map(|(i, name)| Column { name: name.as_ref().to_owned(), numeric: numeric(i) }).collect();
        Self { columns, rows }
    }
}

/// `3`, `+2.3 ± 0.9`, `~27 (M)`, `1.2, 3.4`.
fn begins_with_number(cell: &str) -> bool {
    let first = cell.split_whitespace().next().unwrap_or_default();
    first.trim_start_matches('~').trim_end_matches(',').parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::rendered;
    use askama::Template;

    /// What other templates include.
    #[derive(Template)]
    #[template(path = "table.md")]
    struct MarkdownTable<'a> {
        table: &'a Table,
    }

    #[test]
    fn columns_of_numbers_are_aligned_and_cells_escaped() {
        let row = |cells: [&str; 4]| cells.map(str::to_owned).to_vec();
        let rows = vec![row(["a|b", "+2.3 ± 0.9", "2026-11-26", ""]), row(["3", "", "~27 (M)", ""])];
        let table = Table::new(&["work", "s", "mixed", "empty"], rows);
        let lines = [
            "| work | s | mixed | empty |",
            "|---|---:|---|---:|",
            r"| a\|b | +2.3 ± 0.9 | 2026-11-26 |  |",
            "| 3 |  | ~27 (M) |  |",
            "",
        ];
        assert_eq!(rendered(&MarkdownTable { table: &table }), lines.join("\n"));
    }
}
