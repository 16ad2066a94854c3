//! What the engine asks of one dispatcher, once each: seek, begin a replay, cancel one.
//!
//! A command is answered when what it did is durable.

use std::sync::atomic::Ordering;

use eventrelay_state::{Progress, ReplayId, ReplayRecord, ReplayState};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::gathering::Gathering;
use super::pull::PullCommand;
use super::replay::Replay;
use super::{Dispatcher, WAITING_FOR_KEY_LIMIT};
use crate::key_gate::KeyGate;
use crate::retry_schedule::RetrySchedule;

/// Resolves with whether it was done, once that is durable; dropped when the dispatcher ends before.
pub(crate) type Done = oneshot::Sender<bool>;

/// A command.
pub(crate) enum Command {
    /// Go on at this offset, and forget what waits for a retry.
    Seek { offset: u64, done: Done },
    /// Deliver something again; it is stored already.
    Replay(Box<ReplayRecord>),
    /// End a replay.
    CancelReplay { id: ReplayId, done: Done },
    /// Make a retry due now; false when the event waits for none.
    RetryNow { offset: u64, done: Done },
    /// What consumers of a pull subscription ask.
    Consume(PullCommand),
}

/// Commands that are done and not yet durable.
#[derive(Default)]
pub(super) struct Answers {
    /// To be part of the next save.
    waiting: Vec<Done>,
    /// Part of the save that is under way.
    saving: Vec<Done>,
}

impl Answers {
    pub(super) fn save_begins(&mut self) {
        self.saving.append(&mut self.waiting);
    }

    pub(super) fn save_ended(&mut self, saved: bool) {
        if saved {
            for done in self.saving.drain(..) {
                // Who asked may have stopped waiting; what was done stands all the same.
                let _ = done.send(true);
            }
        } else {
            self.waiting.append(&mut self.saving);
        }
    }
}

impl Dispatcher {
    pub(super) fn obey(&mut self, command: Command) {
        match command {
            Command::Consume(command) => self.consume(command),
            // Of two seeks that wait, the later one counts.
            Command::Seek { offset, done } => self.seek = Some((offset, done)),
            Command::Replay(record) => self.begin_replay(*record),
            Command::RetryNow { offset, done } => {
                let waits = self.retries.get(offset).is_some_and(|entry| entry.due.is_some());
                if waits {
                    self.retries.put_back(offset, Instant::now());
                }
                // What is on its way is as good as due. Who asked may have stopped waiting.
                let _ = done.send(self.retries.get(offset).is_some());
            }
            Command::CancelReplay { id, done } => {
                if self.end_replay(id, ReplayState::Cancelled) {
                    self.answers.waiting.push(done);
                } else {
                    // Who asked may have stopped waiting.
                    let _ = done.send(false);
                }
            }
        }
    }

    fn begin_replay(&mut self, record: ReplayRecord) {
        let (log, chunks) = (self.reader.log(), self.reader.shared());
        let replay = Replay::new(record, log, chunks, &self.store, Instant::now());
        if let Some(needed) = replay.needed_offset() {
            // Where nothing may start now, no checkpoint comes to say so, and the replay is durable already.
            self.checkpointer.also_needs(needed);
            self.stats.needed.fetch_min(needed, Ordering::Relaxed);
        }
        self.replays.push(replay);
    }

    /// Moves the cursor, once nothing is on its way that was begun before.
    pub(super) fn seek_if_idle(&mut self) {
        if !self.in_flight.is_empty() {
            return;
        }
        let Some((offset, done)) = self.seek.take() else { return };
        let of_replays = self.revoke_leases();
        tracing::info!(
            subscription = self.spec.name,
            from = self.progress.cursor(),
            to = offset,
            retries_forgotten = self.retries.len(),
            "the cursor was moved"
        );
        for forgotten in self.retries.offsets() {
            self.checkpointer.unsaved.retry_is_over(forgotten);
        }
        (self.retries, self.retry_calls) = (RetrySchedule::default(), 0);
        self.ready.clear();
        self.gathering = Gathering::default();
        let max_retrying = self.spec.retry.max_retrying.get() as usize;
        self.gate = self.gate.as_ref().map(|_| KeyGate::new(max_retrying.max(WAITING_FOR_KEY_LIMIT)));
        self.progress = Progress::new(offset);
        self.settled_before_start = offset;
        self.settled += 1;
        self.reader.restart_at(offset);
        (self.read_again_at, self.starved) = (None, false);
        self.schedule_again(of_replays, Instant::now());
        self.answers.waiting.push(done);
    }
}
