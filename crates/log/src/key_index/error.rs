//! What can go wrong with the key index, with what a person needs to act on it.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A key index that cannot answer, or a task of it that failed. Never to be read as "the key is not known".
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum KeyIndexError {
    /// The file system refused.
    #[error("cannot {action} {path}: {error}", path = .path.display())]
    Io { action: &'static str, path: PathBuf, error: Arc<io::Error> },
    /// A part of a key file could not be read. Its keys can be rebuilt from the log's records at `offsets`.
    #[error(
        "cannot read the {part} of {path} (keys of offsets {start} to {end}): {error}",
        path = .path.display(), start = .offsets.start, end = .offsets.end
    )]
    Unreadable { path: PathBuf, part: Part, offsets: Range<u64>, error: Arc<io::Error> },
    /// A part of a key file is not what was written. Its keys can be rebuilt from the log's records at `offsets`.
    #[error(
        "the {part} of {path} (keys of offsets {start} to {end}) is damaged: {why}",
        path = .path.display(), start = .offsets.start, end = .offsets.end
    )]
    Damaged { path: PathBuf, part: Part, offsets: Range<u64>, why: &'static str },
    /// A later release wrote it. Setting it aside could forget keys whose records are gone, so nothing is done.
    #[error("{path} has format version {version}, this release reads up to {supported}", path = .path.display())]
    NewerVersion { path: PathBuf, version: u32, supported: u32 },
    /// The task was told to stop before it was done. Nothing has changed.
    #[error("stopped before {path} was complete", path = .path.display())]
    Stopped { path: PathBuf },
}

/// A part of a key file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Header,
    Directory,
    PartitionTable,
    /// The fingerprints of this partition of the filter.
    Filter(u32),
    /// The entry page of this number, from 0.
    Page(u64),
    /// The file as a whole, or its name.
    File,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => f.write_str("header"),
            Self::Directory => f.write_str("page directory"),
            Self::PartitionTable => f.write_str("filter's partition table"),
            Self::Filter(partition) => write!(f, "filter partition {partition}"),
            Self::Page(page) => write!(f, "entry page {page}"),
            Self::File => f.write_str("file as a whole"),
        }
    }
}

impl KeyIndexError {
    pub(super) fn io(action: &'static str, path: &Path, error: io::Error) -> Self {
        Self::Io { action, path: path.to_path_buf(), error: Arc::new(error) }
    }

    /// The offsets whose keys have to be rebuilt from the log's records, when that would help.
    pub(crate) fn offsets_to_rebuild(&self) -> Option<Range<u64>> {
        match self {
            Self::Unreadable { offsets, .. } | Self::Damaged { offsets, .. } => Some(offsets.clone()),
            Self::Io { .. } | Self::NewerVersion { .. } | Self::Stopped { .. } => None,
        }
    }
}
