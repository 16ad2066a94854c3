//! What can go wrong, in words that let a person act.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::options::OptionsError;
use crate::segment_header::HeaderFault;

/// Why a log does not open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A setting makes no sense.
    #[error("the log's settings: {0}")]
    Options(#[from] OptionsError),
    /// Another process has it.
    #[error("another process has the log in {directory} open", directory = .0.display())]
    Locked(PathBuf),
    /// Acknowledged data is not what was written, or is gone. Nothing is skipped without an operator's word.
    #[error("{0}; `eventrelay log verify` shows all there is, `eventrelay log repair` sets it aside")]
    Damaged(#[from] Damage),
    /// Neither copy of the manifest can be read, or it is missing beside segments.
    #[error("the log's manifest {path} is missing or damaged; `eventrelay log repair` rebuilds it from the segments", path = .path.display())]
    ManifestDamaged {
        /// The manifest.
        path: PathBuf,
    },
    /// A file cannot be read or written.
    #[error("{path}: {error}", path = .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The index of idempotency keys cannot be opened.
    #[error("the key index: {0}")]
    KeyIndex(String),
}

impl OpenError {
    pub(crate) fn io(path: &Path, error: io::Error) -> Self {
        Self::Io { path: path.to_path_buf(), error }
    }
}

/// Acknowledged data that is not what was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("damage in {segment} at byte {position}, offset {offset}: {kind}", segment = .segment.display())]
pub struct Damage {
    /// The segment's file.
    pub segment: PathBuf,
    /// Where in the file.
    pub position: u64,
    /// The first offset that is hurt.
    pub offset: u64,
    /// What is wrong.
    pub kind: DamageKind,
}

/// What is wrong with acknowledged data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DamageKind {
    /// No valid frame where acknowledged offsets begin.
    #[error("no valid frame where one was acknowledged")]
    Frame,
    /// A frame verifies but holds other offsets than its place says.
    #[error("a frame of other offsets (from {found})")]
    Misplaced {
        /// The offset it begins with.
        found: u64,
    },
    /// The segment's first block is not a header of this log and segment.
    #[error("{0}")]
    Header(HeaderFault),
    /// The header is valid, but of another log or another segment.
    #[error("the header is that of another log or segment")]
    Foreign,
    /// The file that should be here is not.
    #[error("the segment is missing")]
    Missing,
    /// A segment ends before the next one begins.
    #[error("the segment ends before the next begins (at offset {next_base})")]
    Short {
        /// Where the next one begins.
        next_base: u64,
    },
}

/// Why a group was not acknowledged.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// A record repeats a known key with other content. Nothing of the group was written.
    #[error("record {index} repeats the key of the record at offset {offset} with other content")]
    KeyConflict {
        /// Which record of the group.
        index: usize,
        /// Where the first holder of the key is.
        offset: u64,
    },
    /// Nothing of the group was written.
    #[error("refused: {0}")]
    Refused(#[from] Refusal),
    /// It may or may not be in the log. With a key, asking again tells.
    #[error("the outcome is unknown: {why}")]
    Unknown {
        /// What failed.
        why: Arc<str>,
    },
}

/// Why a group was refused.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// There is no room for another segment. The log takes events again by itself when there is.
    #[error("the disk is full")]
    DiskFull,
    /// A write or sync failed: what is on the disk is no longer known, so nothing more is written until a restart.
    #[error("the log takes no more writes until a restart: {why}")]
    Poisoned {
        /// What failed.
        why: Arc<str>,
    },
    /// Something that the append needs failed and may work again.
    #[error("{why}")]
    Unavailable {
        /// What failed.
        why: Arc<str>,
    },
    /// The log is closing.
    #[error("the log is closed")]
    Closed,
    /// The group does not fit a commit.
    #[error("{bytes} bytes are more than a commit takes ({limit})")]
    TooLarge {
        /// The group's bytes.
        bytes: usize,
        /// The most that a commit takes.
        limit: usize,
    },
}

/// Why an offset cannot be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// Retention let it go.
    #[error("offset {offset} is gone: the oldest kept is {oldest}")]
    Trimmed {
        /// The offset asked for.
        offset: u64,
        /// The oldest that is kept.
        oldest: u64,
    },
    /// What is on the disk is not what was acknowledged.
    #[error("{0}")]
    Damaged(#[from] Damage),
    /// The file cannot be read.
    #[error("cannot read {path}: {error}", path = .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: Arc<io::Error>,
    },
}

impl ReadError {
    pub(crate) fn io(path: &Path, error: io::Error) -> Self {
        Self::Io { path: path.to_path_buf(), error: Arc::new(error) }
    }
}

/// Whether the system says that there is no room: `ENOSPC`, `EDQUOT`, `EFBIG`, `EROFS`.
pub(crate) fn is_disk_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge
            | io::ErrorKind::ReadOnlyFilesystem
    )
}
