//! Layers that know no domain.

mod itemwise;
mod sequential;

pub use itemwise::{ItemLayer, Itemwise, Pass, Work};
pub use sequential::Sequential;
