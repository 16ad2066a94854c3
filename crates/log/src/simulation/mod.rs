//! The log's own code on a simulated disk, in one thread, so that every run can be repeated to the step.
//!
//! - [`crash`]: power fails at every step of a workload, keeping every legal subset of what was not synced.
//! - [`fault`]: every call of a workload fails in every way that it can.
//! - [`damage`]: bits flip, files go missing, sectors are swapped, and an operator repairs.
//! - [`model`]: long random workloads against a simple model.

mod crash;
mod damage;
mod fault;
mod ledger;
mod model;
mod workload;

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::commit::Next;
use crate::commit_queue::{Answer, Ticket};
use crate::core::{Core, Status};
use crate::disk::simulated::SimulatedDisk;
use crate::disk::{AlignedBuffer, Disk, Lock};
use crate::error::{AppendError, OpenError, ReadError};
use crate::log::assemble;
use crate::opening::open;
use crate::options::{Clock, Options};
use crate::record::{Group, Record};

pub(super) const SEGMENT_BYTES: u64 = 64 << 10;

/// A log without threads: each thing that they would do is a call.
pub(super) struct SimulatedLog {
    pub(super) core: Arc<Core>,
    _lock: Box<dyn Lock>,
}

/// A clock that goes on by a millisecond whenever it is read.
#[derive(Debug)]
struct SteppingClock(AtomicU64);

impl Clock for SteppingClock {
    fn now_micros(&self) -> u64 {
        self.0.fetch_add(1_000, Ordering::Relaxed)
    }
}

pub(super) fn directory() -> PathBuf {
    PathBuf::from("/data/log")
}

pub(super) fn options() -> Options {
    let mut options = Options::new(directory());
    options.segment_bytes = SEGMENT_BYTES;
    options.max_commit_bytes = 16 << 10;
    options.queue_bytes = 1 << 20;
    options.tail_cache_bytes = 8 << 10;
    options.idle_mark_delay = Duration::from_nanos(1);
    options.clock = Arc::new(SteppingClock(AtomicU64::new(1_700_000_000_000_000)));
    options
}

/// What a future that needs nobody else's help comes to.
fn ready<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("nothing is waited for in a simulation"),
    }
}

/// The answer, if it has come.
pub(super) fn answer(ticket: Ticket) -> Option<Answer> {
    match pin!(ticket).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => Some(answer),
        Poll::Pending => None,
    }
}

impl SimulatedLog {
    pub(super) fn open(disk: &SimulatedDisk, options: Options) -> Result<Self, OpenError> {
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        let opened = open(&disk, &options)?;
        let (core, lock) = assemble(disk, options, opened);
        Ok(Self { core, _lock: lock })
    }

    pub(super) fn submit(&self, group: Group) -> Result<Ticket, AppendError> {
        if let Some(refusal) = self.core.refusal() {
            return Err(AppendError::Refused(refusal));
        }
        let reservation = ready(self.core.queue.reserve(group.bytes()))?;
        Ok(self.core.queue.push(reservation, group))
    }

    /// Prepares the next commit of what has been submitted. Makes the spare first, as its thread would have.
    pub(super) fn prepare(&self, buffer: &mut AlignedBuffer) -> Option<Next> {
        if !self.core.spares.is_ready() {
            self.core.spares.make_ready();
        }
        // Several may be prepared before the first is written, which threads do when much is queued.
        self.core.queue.close_when_empty();
        let next = self.core.next_commit(buffer);
        self.core.queue.reopen();
        next
    }

    /// Commits what has been submitted.
    pub(super) fn commit(&self) {
        let mut buffer = AlignedBuffer::with_capacity(0);
        while let Some(next) = self.prepare(&mut buffer) {
            let written = self.core.write(&next, &buffer);
            self.core.in_flight.finish(next.sequence, written);
            self.core.queue.committed();
        }
    }

    pub(super) fn append(&self, group: Group) -> Answer {
        let ticket = self.submit(group)?;
        self.commit();
        answer(ticket).expect("a commit answers")
    }

    /// What the idle timer would do.
    pub(super) fn mark(&self) {
        self.core.mark(&mut AlignedBuffer::with_capacity(0));
    }

    /// What the background threads would do.
    pub(super) fn maintain(&self) {
        if !self.core.spares.is_ready() {
            self.core.spares.make_ready();
        }
        self.core.maintain_once();
    }

    pub(super) fn status(&self) -> Status {
        self.core.status()
    }

    pub(super) fn oldest_offset(&self) -> u64 {
        self.core.segments.oldest_offset()
    }

    pub(super) fn durable_offset(&self) -> u64 {
        self.core.in_flight.durable_offset()
    }

    pub(super) fn read_all(&self) -> Result<Vec<Record>, ReadError> {
        let mut records = Vec::new();
        let mut offset = self.oldest_offset();
        while let Some(frame) = self.core.reader.read(offset, self.durable_offset())? {
            records.extend(frame.records_from(offset));
            offset = frame.end_offset();
        }
        assert_eq!(offset, self.durable_offset(), "readers come to the durable end, and stop there");
        Ok(records)
    }
}

/// The log's files of a kind, in order.
pub(super) fn files(disk: &SimulatedDisk, extension: &str) -> Vec<PathBuf> {
    let in_kind = |path: &PathBuf| Path::new(path).extension().is_some_and(|found| found == extension);
    disk.paths().into_iter().filter(in_kind).collect()
}
