//! What can go wrong with the state store, told so that a person can act on it.

use std::path::PathBuf;

/// Why a state file was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The log holds events, but there is no state file: cursors, retries and dead letters are gone or elsewhere.
    #[error(
        "there is no state file at {path}, yet the log already holds events up to offset {end_offset}. Put the state file \
         back, or start with an empty state on purpose (every subscription then begins anew)", path = .path.display()
    )]
    MissingBesideLog {
        /// Where the state file should be.
        path: PathBuf,
        /// The log's end.
        end_offset: u64,
    },
    /// A SQLite database of some other program.
    #[error("{path} is not a state file: its application id is {found:#x}", path = .path.display())]
    NotAStateFile {
        /// The file.
        path: PathBuf,
        /// The application id found in it.
        found: i32,
    },
    /// Written by a newer release.
    #[error(
        "{path} has schema version {found}, this release knows versions up to {supported}: use the release that wrote it, \
         or a newer one", path = .path.display()
    )]
    NewerSchema {
        /// The file.
        path: PathBuf,
        /// The version found in it.
        found: u32,
        /// The newest version this release knows.
        supported: u32,
    },
    /// The file is damaged.
    #[error("{path} is damaged: {why}. Restore it from a backup", path = .path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What the check found.
        why: String,
    },
    /// The state belongs to another log.
    #[error(
        "{path} belongs to the log {found}, but the log here is {expected}: one of the two is in the wrong place",
        path = .path.display()
    )]
    ForeignLog {
        /// The file.
        path: PathBuf,
        /// The log the state was made for, in hexadecimal.
        found: String,
        /// The log it was opened with, in hexadecimal.
        expected: String,
    },
    /// The state is ahead of the log: the log lost acknowledged events, or an older copy of it was put back.
    #[error(
        "subscription `{subscription}` of tenant `{tenant}` has settled offsets up to {settled}, but the log ends at \
         {end_offset}: the log has lost events, or is an older copy than the state"
    )]
    CursorBeyondLog {
        /// The subscription's tenant.
        tenant: String,
        /// The subscription's name.
        subscription: String,
        /// The first offset it has not settled.
        settled: u64,
        /// The log's end.
        end_offset: u64,
    },
    /// The file or its directory cannot be read or written.
    #[error("cannot use {path}: {error}", path = .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// SQLite refused for another reason.
    #[error("cannot open {path}: {error}", path = .path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        error: rusqlite::Error,
    },
}

/// Why a read or a write of an open state failed. Nothing of a failed write is kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// The disk is full; the same write succeeds once there is room.
    #[error("the state store's disk is full")]
    DiskFull,
    /// The state was closed.
    #[error("the state store is closed")]
    Closed,
    /// A stored value is not what this release wrote.
    #[error("the state store holds a value that cannot be read: {what}")]
    Unreadable {
        /// Which value, and what is wrong with it.
        what: String,
    },
    /// SQLite refused for another reason.
    #[error("the state store failed: {why}")]
    Failed {
        /// What SQLite said.
        why: String,
    },
}

impl From<rusqlite::Error> for StateError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => Self::DiskFull,
            _ => Self::Failed { why: error.to_string() },
        }
    }
}
