//! The calls that a disk takes, as counted, traced and made to fail.

use std::fmt;
use std::path::PathBuf;

use super::fault::Effect;

/// A method of `Disk` or `File`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "each is named as its method")]
pub enum OperationKind {
    Create,
    Open,
    OpenReadOnly,
    Rename,
    Remove,
    CreateDirectory,
    SyncDirectory,
    List,
    AvailableBytes,
    Lock,
    Length,
    Read,
    ReadMedium,
    Write,
    WriteDurable,
    Sync,
    SetLength,
}

impl OperationKind {
    /// Whether it can change what a crash leaves. A crash at any other call is the same as one at the call
    /// before.
    #[must_use]
    pub fn changes_disk(self) -> bool {
        match self {
            Self::Create
            | Self::Rename
            | Self::Remove
            | Self::CreateDirectory
            | Self::SyncDirectory
            | Self::Lock
            | Self::Write
            | Self::WriteDurable
            | Self::Sync
            | Self::SetLength => true,
            Self::Open
            | Self::OpenReadOnly
            | Self::List
            | Self::AvailableBytes
            | Self::Length
            | Self::Read
            | Self::ReadMedium => false,
        }
    }
}

/// One call, for printing what led to a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// The call's number, from 1.
    pub step: u64,
    /// Which method.
    pub kind: OperationKind,
    /// The file or directory. A handle goes by the name it was opened with.
    pub path: PathBuf,
    /// Where in the file; the new length of a `SetLength`; else 0.
    pub position: u64,
    /// How many bytes were to be moved.
    pub bytes: usize,
    /// What was done to it.
    pub injected: Option<Injected>,
}

/// What made a call other than it should have been.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Injected {
    /// A fault that was asked for.
    Fault(Effect),
    /// The power failed during the call.
    PowerFailure,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>6} {:?} {}", self.step, self.kind, self.path.display())?;
        if self.position > 0 || self.bytes > 0 {
            write!(f, " at {} for {}", self.position, self.bytes)?;
        }
        match self.injected {
            Some(Injected::Fault(effect)) => write!(f, " <- {effect:?}"),
            Some(Injected::PowerFailure) => write!(f, " <- power failure"),
            None => Ok(()),
        }
    }
}
