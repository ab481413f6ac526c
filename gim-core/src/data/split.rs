//! Which part of a dataset.

/// A part of a dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Split {
    /// To train on without labels: the part that has none, or without such a part the same as [`Train`](Self::Train).
    Unlabeled,
    /// To train on with labels; probes are fitted on it.
    Train,
    /// To evaluate on.
    Test,
}
