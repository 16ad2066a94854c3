//! Reads the log in order for one subscription, and holds at most one run of records while it does.

use std::collections::VecDeque;
use std::sync::Arc;

use eventrelay_event::StoredEvent;
use eventrelay_log::ReadError;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::decoded_chunk::{Chunk, ChunkCache, Decoded};
use crate::event_log::{EventLog, RecordRun};

/// How many append times are remembered to tell the lag; beyond it every other one is forgotten.
const TIMES_KEPT: usize = 512;

/// What comes next.
pub(crate) enum Next<'a> {
    Record(&'a Decoded),
    /// Offsets up to this one were lost to damage, and given up by an operator's repair.
    Lost {
        end: u64,
    },
    /// It is being read: await [`Reader::advance`].
    Reading,
    /// Everything durable was read: await [`Reader::advance`].
    AtEnd,
}

type ReadTask = JoinHandle<Result<Option<Box<dyn RecordRun>>, ReadError>>;

pub(crate) struct Reader {
    log: Arc<dyn EventLog>,
    durable: watch::Receiver<u64>,
    /// The offset after the last record that was taken.
    position: u64,
    /// What is being looked at, and the next of it.
    chunk: Option<Arc<Chunk>>,
    next: usize,
    /// Chunks that others look at too.
    shared: Arc<ChunkCache>,
    run: Option<Box<dyn RecordRun>>,
    /// It was in memory, so others are likely to look at it too.
    is_run_cached: bool,
    reading: Option<ReadTask>,
    /// What is being read is no longer wanted.
    stale: bool,
    /// (first offset, append time) of the latest runs, to tell when an offset was appended.
    times: VecDeque<(u64, u64)>,
}

impl Reader {
    pub(crate) fn new(log: Arc<dyn EventLog>, shared: Arc<ChunkCache>, position: u64) -> Self {
        let durable = log.watch_durable_offset();
        Self {
            log,
            durable,
            position,
            chunk: None,
            next: 0,
            shared,
            run: None,
            is_run_cached: false,
            reading: None,
            stale: false,
            times: VecDeque::new(),
        }
    }

    /// The record at the position, if it is at hand or in memory; else starts to read it.
    pub(crate) fn peek(&mut self) -> Next<'_> {
        if self.front().is_none() {
            self.refill();
        }
        match self.front() {
            Some(record) => Next::Record(record),
            None if self.reading.is_some() => Next::Reading,
            None => match &self.run {
                Some(gap) => Next::Lost { end: gap.end_offset() },
                None => Next::AtEnd,
            },
        }
    }

    /// Passes the record that [`Self::peek`] showed.
    pub(crate) fn pass(&mut self) {
        if let Some(record) = self.front() {
            self.position = record.offset() + 1;
            self.next += 1;
        }
    }

    /// Passes events that are at hand as long as they are to be passed, `limit` of them at most. Gives their number; they
    /// follow each other.
    pub(crate) fn pass_while(&mut self, limit: usize, is_passed: impl Fn(&StoredEvent) -> bool) -> usize {
        let Some(chunk) = &self.chunk else { return 0 };
        let at_hand = chunk.after(self.next).iter().take(limit);
        let passed = at_hand.take_while(|record| matches!(record, Decoded::Event(event) if is_passed(event)));
        let Some((count, last)) = passed.enumerate().last() else { return 0 };
        self.position = last.offset() + 1;
        self.next += count + 1;
        count + 1
    }

    /// Goes on at `offset`, which is not before the position.
    pub(crate) fn skip_to(&mut self, offset: u64) {
        while self.front().is_some_and(|record| record.offset() < offset) {
            self.next += 1;
        }
        self.position = self.position.max(offset);
    }

    /// Goes on at `offset`, wherever that is.
    pub(crate) fn restart_at(&mut self, offset: u64) {
        self.chunk = None;
        self.run = None;
        self.times.clear();
        self.stale = self.reading.is_some();
        self.position = offset;
    }

    /// Lets go of the log's memory; what comes next is read again when it is asked for.
    pub(crate) fn release(&mut self) {
        self.chunk = None;
        self.run = None;
    }

    /// Waits until there may be more, as [`Self::peek`] asked for. Safe to drop at any time.
    pub(crate) async fn advance(&mut self) -> Result<(), ReadError> {
        let Some(reading) = &mut self.reading else {
            // The sender goes when the log is closed: nothing more will come.
            if self.durable.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
            return Ok(());
        };
        let result = reading.await;
        self.reading = None;
        if std::mem::take(&mut self.stale) {
            return Ok(());
        }
        match result {
            Ok(Ok(Some(run))) => self.hold(run, false),
            Ok(Ok(None)) => {}
            Ok(Err(error)) => return Err(error),
            Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
            Err(_the_runtime_ends) => std::future::pending().await,
        }
        Ok(())
    }

    /// Waits for a read that is under way, so that none outlives its subscription.
    pub(crate) async fn finish(mut self) {
        if let Some(reading) = self.reading.take() {
            drop(reading.await);
        }
    }

    /// Whether a read of the log is under way.
    pub(crate) fn is_reading(&self) -> bool {
        self.reading.is_some()
    }

    /// The offset after the last record that was taken.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    pub(crate) fn log(&self) -> &Arc<dyn EventLog> {
        &self.log
    }

    /// The chunks that others look at too.
    pub(crate) fn shared(&self) -> &Arc<ChunkCache> {
        &self.shared
    }

    /// Whether [`Self::append_time_micros`] can tell anything.
    pub(crate) fn knows_a_time(&self) -> bool {
        !self.times.is_empty()
    }

    /// When the event at `offset` was appended, or an earlier one near it; offsets never go back.
    pub(crate) fn append_time_micros(&mut self, offset: u64) -> Option<u64> {
        while self.times.get(1).is_some_and(|&(first, _)| first <= offset) {
            self.times.pop_front();
        }
        self.times.front().map(|&(_, micros)| micros)
    }

    fn front(&self) -> Option<&Decoded> {
        self.chunk.as_ref()?.get(self.next)
    }

    fn refill(&mut self) {
        self.chunk = None;
        if let Some(run) = &self.run
            && self.position < run.end_offset()
        {
            self.refill_from_run();
            return;
        }
        self.run = None;
        if self.reading.is_some() || self.position >= *self.durable.borrow_and_update() {
            return;
        }
        if let Some(run) = self.log.read_cached(self.position) {
            self.hold(run, true);
            self.refill_from_run();
        } else {
            let (log, position) = (Arc::clone(&self.log), self.position);
            self.reading = Some(tokio::task::spawn_blocking(move || log.read(position)));
        }
    }

    fn refill_from_run(&mut self) {
        let Some(run) = &self.run else { return };
        self.next = 0;
        self.chunk = if self.is_run_cached {
            self.shared.chunk(&**run, self.position)
        } else {
            Chunk::of(&**run, self.position).map(Arc::new)
        };
    }

    fn hold(&mut self, run: Box<dyn RecordRun>, is_cached: bool) {
        if self.times.len() >= TIMES_KEPT {
            let mut index = 0;
            self.times.retain(|_| {
                index += 1;
                index % 2 == 1
            });
        }
        self.times.push_back((self.position, run.append_time_micros()));
        self.run = Some(run);
        self.is_run_cached = is_cached;
    }
}
