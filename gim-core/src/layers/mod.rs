//! Layers that know no domain.

mod sequential;

pub use sequential::Sequential;
