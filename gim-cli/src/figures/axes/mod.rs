//! What figures with axes share: scales with round ticks, markers, panels, and sheets of panels.

mod marker;
mod panel;
mod scale;
mod sheet;

pub(super) use marker::{SHAPES, Sample, Shape, error_bar};
pub(super) use panel::Panel;
pub(super) use scale::{Scale, spans_a_decade};
pub(super) use sheet::{Sheet, are_named, columns};
