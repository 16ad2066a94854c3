//! What delivery needs of the log, narrow enough that a model in memory can stand in for it.

use std::collections::VecDeque;
use std::sync::Arc;

use eventrelay_log::{Frame, Log, ReadError, Record};
use eventrelay_state::Start;
use tokio::sync::watch;

/// The log as a dispatcher sees it.
pub trait EventLog: Send + Sync + 'static {
    /// The first offset that retention has kept.
    fn oldest_offset(&self) -> u64;
    /// Every offset below it is on disk; nothing at or past it is ever delivered.
    fn durable_offset(&self) -> u64;
    /// Tells when the durable offset moves.
    fn watch_durable_offset(&self) -> watch::Receiver<u64>;
    /// The records around `offset`, when they are in memory. Never blocks.
    fn read_cached(&self, offset: u64) -> Option<Box<dyn RecordRun>>;
    /// The records around `offset`; none at or past the durable offset. Blocking.
    ///
    /// # Errors
    /// When the offset is gone, damaged or cannot be read.
    fn read(&self, offset: u64) -> Result<Option<Box<dyn RecordRun>>, ReadError>;
    /// The first offset appended at or after `micros`. Blocking.
    ///
    /// # Errors
    /// When the log cannot be read.
    fn seek_time(&self, micros: u64) -> Result<u64, ReadError>;
    /// Tells retention the lowest offset that is still needed.
    fn set_needed_offset(&self, offset: u64);
}

/// Records of consecutive offsets, as they were read together; or offsets without records, where an operator's repair
/// has given up what was lost to damage.
pub trait RecordRun: Send {
    /// The offset after the last one.
    fn end_offset(&self) -> u64;
    /// When the records were appended: microseconds since the Unix epoch.
    fn append_time_micros(&self) -> u64;
    /// What it takes in memory, however few of its records are held.
    fn memory_bytes(&self) -> usize;
    /// Adds at most `limit` records from `offset` on; they share the run's memory.
    fn copy_records(&self, offset: u64, limit: usize, into: &mut VecDeque<Record>);
}

impl EventLog for Log {
    fn oldest_offset(&self) -> u64 {
        Log::oldest_offset(self)
    }

    fn durable_offset(&self) -> u64 {
        Log::durable_offset(self)
    }

    fn watch_durable_offset(&self) -> watch::Receiver<u64> {
        Log::watch_durable_offset(self)
    }

    fn read_cached(&self, offset: u64) -> Option<Box<dyn RecordRun>> {
        Log::read_cached(self, offset).map(boxed)
    }

    fn read(&self, offset: u64) -> Result<Option<Box<dyn RecordRun>>, ReadError> {
        Log::read(self, offset).map(|frame| frame.map(boxed))
    }

    fn seek_time(&self, micros: u64) -> Result<u64, ReadError> {
        Log::seek_time(self, micros)
    }

    fn set_needed_offset(&self, offset: u64) {
        Log::set_needed_offset(self, offset);
    }
}

impl RecordRun for Frame {
    fn end_offset(&self) -> u64 {
        Frame::end_offset(self)
    }

    fn append_time_micros(&self) -> u64 {
        self.append_time_micros
    }

    fn memory_bytes(&self) -> usize {
        Frame::memory_bytes(self)
    }

    fn copy_records(&self, offset: u64, limit: usize, into: &mut VecDeque<Record>) {
        into.extend(self.records_from(offset).take(limit));
    }
}

impl<L: EventLog + ?Sized> EventLog for Arc<L> {
    fn oldest_offset(&self) -> u64 {
        (**self).oldest_offset()
    }

    fn durable_offset(&self) -> u64 {
        (**self).durable_offset()
    }

    fn watch_durable_offset(&self) -> watch::Receiver<u64> {
        (**self).watch_durable_offset()
    }

    fn read_cached(&self, offset: u64) -> Option<Box<dyn RecordRun>> {
        (**self).read_cached(offset)
    }

    fn read(&self, offset: u64) -> Result<Option<Box<dyn RecordRun>>, ReadError> {
        (**self).read(offset)
    }

    fn seek_time(&self, micros: u64) -> Result<u64, ReadError> {
        (**self).seek_time(micros)
    }

    fn set_needed_offset(&self, offset: u64) {
        (**self).set_needed_offset(offset);
    }
}

fn boxed(frame: Frame) -> Box<dyn RecordRun> {
    Box::new(frame)
}

/// Why a new subscription cannot begin where it asks to.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It asks for an offset that does not exist yet.
    #[error("offset {offset} is beyond the log's end, {end}")]
    BeyondEnd {
        /// The offset asked for.
        offset: u64,
        /// The log's end.
        end: u64,
    },
    /// It asks for an offset that retention has let go.
    #[error("offset {offset} is gone: the oldest kept is {oldest}")]
    Gone {
        /// The offset asked for.
        offset: u64,
        /// The oldest offset kept.
        oldest: u64,
    },
    /// The log cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The search was cut short by the end of the process.
    #[error("the search in the log was cut short")]
    CutShort,
}

/// The offset at which a new subscription begins.
///
/// # Errors
/// When the offset asked for is not in the log, or the log cannot be read.
pub async fn resolve_start<L: EventLog + Clone>(log: &L, start: Start) -> Result<u64, StartError> {
    let (oldest, end) = (log.oldest_offset(), log.durable_offset());
    match start {
        Start::Earliest => Ok(oldest),
        Start::Latest => Ok(end),
        Start::Offset(offset) if offset < oldest => Err(StartError::Gone { offset, oldest }),
        Start::Offset(offset) if offset > end => Err(StartError::BeyondEnd { offset, end }),
        Start::Offset(offset) => Ok(offset),
        Start::Time(time) => {
            let log = log.clone();
            let found = tokio::task::spawn_blocking(move || log.seek_time(time.0)).await;
            Ok(found.map_err(|_| StartError::CutShort)??)
        }
    }
}
