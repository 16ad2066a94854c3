//! The commit threads: each prepares a commit in its turn, then writes it. While one commit is on its way to the disk the
//! next one gathers; where much has gathered, another thread does not wait for the first:
//!
//! ```text
//!  thread 1   ├ turn: take, check keys, encode ┤├── write, synced ──┤ answer ├ turn … ┤├── write, …
//!  thread 2                                       (much arrives) ├ turn … ┤├── write, synced ──┤ answer
//!  thread 3   (waits)
//! ```
//!
//! Which thread goes on and when is [`crate::commit_queue`]'s decision. Answers go out in the order of the turns (see
//! [`crate::in_flight`]).

use std::io;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::commit_queue::Work;
use crate::committer::{Committer, Prepared};
use crate::core::{Core, Status, Turn};
use crate::disk::{AlignedBuffer, File};
use crate::error::{AppendError, Refusal, is_disk_full};
use crate::frame::{Frame, peek_header};
use crate::in_flight::{Committed, Reply, Sequence, Written};
use crate::options::SyncMode;

/// A buffer that grew larger than this is given back when the log is idle.
const KEPT_BUFFER_BYTES: usize = 256 << 10;

/// A commit that has its turn and is to be written.
pub(crate) struct Next {
    pub(crate) sequence: Sequence,
    pub(crate) prepared: Prepared,
    began: Instant,
}

impl Core {
    /// Commits until the queue is closed and empty. Several threads run this.
    pub(crate) fn run_commit_thread(&self) {
        let mut buffer = AlignedBuffer::with_capacity(KEPT_BUFFER_BYTES);
        while let Some(next) = self.next_commit(&mut buffer) {
            let written = self.write(&next, &buffer);
            self.in_flight.finish(next.sequence, written);
            self.queue.committed();
        }
    }

    /// Waits for events and the turn, and prepares a commit of them. `None` when there will be none.
    pub(crate) fn next_commit(&self, buffer: &mut AlignedBuffer) -> Option<Next> {
        // Each commit's thread looks once, when the time has come, whether it was the last for now.
        let mut mark_due = Some(Instant::now() + self.options.idle_mark_delay);
        loop {
            match self.queue.wait(mark_due) {
                Work::Closed => return None,
                Work::Idle => {
                    mark_due = None;
                    self.mark(buffer);
                }
                Work::Commit => {
                    if let Some(next) = self.take_turn(buffer) {
                        return Some(next);
                    }
                    self.queue.committed();
                }
            }
        }
    }

    /// Prepares a commit of all that waits, as far as it fits. `None` when all of it was refused, or taken by another thread.
    fn take_turn(&self, buffer: &mut AlignedBuffer) -> Option<Next> {
        let mut turn = self.turn.lock();
        self.queue.drain_into(&mut turn.pending);
        self.gather(&mut turn);
        let next = self.prepare(&mut turn, buffer);
        if !turn.pending.is_empty() {
            self.queue.leave_over();
        }
        next
    }

    /// Lets more events come, where the settings say so.
    fn gather(&self, turn: &mut Turn) {
        let delay = self.options.gather_delay;
        let waiting: usize = turn.pending.iter().map(|submission| submission.group.bytes()).sum();
        if !delay.is_zero() && waiting > 0 && waiting < self.options.max_commit_bytes {
            std::thread::sleep(delay);
            self.queue.drain_into(&mut turn.pending);
        }
    }

    /// Encodes the next frame, in a new segment when the active one is full. `None` when all that waited was refused.
    fn prepare(&self, turn: &mut Turn, buffer: &mut AlignedBuffer) -> Option<Next> {
        let began = Instant::now();
        let mut committer = self.committer.lock();
        if committer.keys.is_full() && self.in_flight.drain().is_ok() {
            self.seal_keys(&mut committer);
        }
        while let Some(first) = turn.pending.front() {
            let ready = match self.refusal() {
                Some(refusal) => Err(refusal),
                None if committer.fits_segment(first.group.bytes()) => Ok(()),
                None => self.roll(&mut committer),
            };
            match ready {
                Ok(()) => return Some(self.enter(&mut committer, turn, began, buffer)),
                Err(refusal) => self.refuse_first(turn, refusal),
            }
        }
        None
    }

    /// Encodes a frame and gives it its turn.
    fn enter(
        &self,
        committer: &mut Committer,
        turn: &mut Turn,
        began: Instant,
        buffer: &mut AlignedBuffer,
    ) -> Next {
        let now = self.options.clock.now_micros();
        let durable_offset = self.in_flight.durable_offset();
        let mut prepared = committer.prepare(&mut turn.pending, durable_offset, now, buffer);
        let replies = std::mem::take(&mut prepared.replies);
        let sequence = self.in_flight.enter(replies);
        self.queue.release(prepared.released_bytes);
        Next { sequence, prepared, began }
    }

    fn refuse_first(&self, turn: &mut Turn, refusal: Refusal) {
        let Some(submission) = turn.pending.pop_front() else {
            return;
        };
        self.queue.release(submission.group.bytes());
        self.metrics.refused_groups.inc();
        let Reply { waiter, answer } =
            Reply { waiter: submission.waiter, answer: Err(AppendError::Refused(refusal)) };
        // A publisher that has gone away does not want to know.
        let _ = waiter.send(answer);
    }

    /// Why nothing can be written now, if nothing can.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        let failure = self.in_flight.failure();
        match self.status() {
            Status::Poisoned { why } => Some(Refusal::Poisoned { why }),
            Status::Closed => Some(Refusal::Closed),
            Status::DiskFull if failure.is_some() => Some(Refusal::DiskFull),
            Status::DiskFull | Status::Writable => failure.map(|why| Refusal::Poisoned { why }),
        }
    }

    /// Writes a prepared frame and makes it durable, as far as the settings ask.
    pub(crate) fn write(&self, next: &Next, buffer: &AlignedBuffer) -> Written {
        let Prepared { segment, position, count, .. } = &next.prepared;
        if *count == 0 {
            return Written::Durable(None);
        }
        let write_began = Instant::now();
        let written = self.write_frame(segment.file.as_ref(), buffer, *position);
        self.metrics.fsync_seconds.observe(write_began.elapsed().as_secs_f64());
        match (written, peek_header(buffer)) {
            (Ok(()), Some(header)) => {
                self.metrics.commit_seconds.observe(next.began.elapsed().as_secs_f64());
                self.metrics.observe_commit(u64::from(*count), buffer.len() as u64);
                let frame = Frame::new(&header, &Bytes::copy_from_slice(buffer));
                Written::Durable(Some(Committed { frame, segment: Arc::clone(segment), position: *position }))
            }
            (Ok(()), None) => Written::Failed("a frame was encoded without a header".into()),
            (Err(error), _) => Written::Failed(self.write_failed(&segment.path, &error)),
        }
    }

    /// One write to the active segment.
    pub(crate) fn write_frame(
        &self,
        file: &dyn File,
        buffer: &AlignedBuffer,
        position: u64,
    ) -> io::Result<()> {
        match self.options.sync {
            SyncMode::Commit => file.write_durable_at(buffer, position),
            SyncMode::Interval(_) | SyncMode::Never => file.write_at(buffer, position),
        }
    }

    /// Takes note of a failed write or sync: a full disk is waited out, anything else is final.
    pub(crate) fn write_failed(&self, path: &std::path::Path, error: &io::Error) -> Arc<str> {
        let why: Arc<str> = format!("a write to {} failed: {error}", path.display()).into();
        self.metrics.failed_writes.inc();
        if is_disk_full(error) {
            self.set_disk_full(true);
        } else {
            self.poison(&why);
        }
        why
    }

    /// Writes a mark where the log is at rest and has none. Holds the turn, so that nothing comes between.
    pub(crate) fn mark(&self, buffer: &mut AlignedBuffer) {
        let _turn = self.turn.lock();
        let mut committer = self.committer.lock();
        if !committer.wants_mark() || self.refusal().is_some() {
            return;
        }
        let drained = self.in_flight.drain().is_ok();
        let durable_offset = self.in_flight.durable_offset();
        let at_rest = drained && self.refusal().is_none() && durable_offset == committer.next_offset;
        if !at_rest || !committer.has_room_for_mark() {
            return;
        }
        if buffer.capacity() > KEPT_BUFFER_BYTES {
            *buffer = AlignedBuffer::with_capacity(KEPT_BUFFER_BYTES);
        }
        let position = committer.prepare_mark(durable_offset, self.options.clock.now_micros(), buffer);
        let segment = Arc::clone(&committer.segment);
        drop(committer);
        if let Err(error) = self.write_frame(segment.file.as_ref(), buffer, position) {
            let why = self.write_failed(&segment.path, &error);
            self.in_flight.fail(&why);
        }
    }
}
