//! What the threads of an open log share.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::LogId;
use crate::commit_queue::{CommitQueue, Submission};
use crate::committer::Committer;
use crate::disk::Disk;
use crate::in_flight::InFlight;
use crate::maintenance::Chores;
use crate::manifest::ManifestFile;
use crate::metrics::LogMetrics;
use crate::options::Options;
use crate::reader::Reader;
use crate::segment::SegmentList;
use crate::spare::Spares;

/// Whether the log takes events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// It does.
    Writable,
    /// There is no room for another segment. It takes events again by itself when there is.
    DiskFull,
    /// A write or sync failed. It takes none until a restart; what is durable can be read.
    Poisoned {
        /// What failed.
        why: Arc<str>,
    },
    /// It has been closed.
    Closed,
}

/// An open log's parts.
///
/// Locks are taken in this order, and never the other way: `turn`, `committer`, that of `in_flight`, then any other, of which
/// no two are held at once. No I/O is done under `in_flight`'s or a later one, but for a spare's renaming and the manifest's writing.
pub(crate) struct Core {
    pub(crate) options: Options,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) id: LogId,
    pub(crate) queue: CommitQueue,
    /// Held by the commit thread that prepares the next commit.
    pub(crate) turn: Mutex<Turn>,
    pub(crate) committer: Mutex<Committer>,
    pub(crate) in_flight: InFlight,
    pub(crate) segments: Arc<SegmentList>,
    pub(crate) reader: Reader,
    pub(crate) spares: Spares,
    pub(crate) manifest: Mutex<ManifestFile>,
    pub(crate) chores: Chores,
    pub(crate) status: Mutex<Status>,
    /// The lowest offset that a durable cursor needs.
    pub(crate) needed_offset: AtomicU64,
    pub(crate) hard_limit_crossed: AtomicBool,
    pub(crate) metrics: LogMetrics,
}

/// What goes with the turn to prepare a commit.
pub(crate) struct Turn {
    /// Taken from the queue, not yet in a frame.
    pub(crate) pending: VecDeque<Submission>,
}

impl Core {
    pub(crate) fn status(&self) -> Status {
        self.status.lock().clone()
    }

    /// Ends writing: what is on the disk is no longer known. Never undone but by a restart.
    pub(crate) fn poison(&self, why: &Arc<str>) {
        let mut status = self.status.lock();
        if !matches!(*status, Status::Poisoned { .. }) {
            tracing::error!(%why, "the log takes no more writes until a restart");
            *status = Status::Poisoned { why: Arc::clone(why) };
        }
        drop(status);
        self.in_flight.fail(why);
    }

    /// Moves between taking events and not for want of room; a poisoned log stays poisoned.
    pub(crate) fn set_disk_full(&self, full: bool) {
        let mut status = self.status.lock();
        match (&*status, full) {
            (Status::Writable, true) => {
                tracing::error!("the disk is full: events are refused until there is room");
                *status = Status::DiskFull;
            }
            (Status::DiskFull, false) => {
                tracing::info!("there is room again: events are taken");
                *status = Status::Writable;
            }
            _ => {}
        }
    }

    pub(crate) fn needed_offset(&self) -> u64 {
        self.needed_offset.load(Ordering::Acquire)
    }

    /// Bytes of all segments.
    pub(crate) fn bytes(&self) -> u64 {
        self.segments.snapshot().len() as u64 * self.options.segment_bytes
    }
}
