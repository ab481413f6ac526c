//! Layers that know no domain.

mod itemwise;
mod sequential;

pub use itemwise::{ItemLayer, Itemwise, Work};
pub use sequential::Sequential;
