//! How far a front door is on its way out.

/// A stage of its life. It only ever moves forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Requests are taken.
    Running,
    /// No connection and no further request is taken; what was begun is finished.
    Draining,
}
