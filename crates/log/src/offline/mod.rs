//! What an operator does with a log that no process has open: verify, inspect, repair, clean.

mod clean;
mod inspect;
mod repair;
mod survey;
mod verify;

pub use clean::{Cleaned, clean};
pub use inspect::{FrameSummary, FrameSummaryKind, Inspection, SegmentSummary, inspect, inspect_segment};
pub use repair::{Lost, RepairReport, repair};
pub use verify::{SegmentReport, VerifyReport, verify};

/// How far an operation on the whole log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of segment files done.
    pub done_bytes: u64,
    /// Bytes of all segment files.
    pub total_bytes: u64,
}
