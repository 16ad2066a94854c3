//! Small recorded workloads: what a log goes through in its life.

use super::ledger::{Ledger, Outcome};
use super::{SimulatedLog, answer};
use crate::disk::AlignedBuffer;
use crate::disk::simulated::SimulatedDisk;
use crate::error::OpenError;
use crate::options::{Options, Retention};
use crate::record::Key;

/// One thing that happens to a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    /// One small record.
    AppendOne,
    /// Several records in one frame of several blocks.
    AppendMany,
    /// A record with the key of this number; the same number again is a repeat.
    AppendKeyed(u32),
    /// Records until the segment is full and the next has begun.
    Roll,
    /// Two commits are in flight, and the second reaches the disk first.
    TwoInFlight,
    /// The log is idle.
    Mark,
    /// The background threads run: indexes, retention, the spare.
    Maintain,
    /// The process ends well and starts again.
    Reopen,
    /// The process is killed and starts again.
    KillAndReopen,
}

pub(super) const EVERY_DEED: [Deed; 9] = [
    Deed::AppendOne,
    Deed::AppendMany,
    Deed::AppendKeyed(1),
    Deed::Roll,
    Deed::TwoInFlight,
    Deed::Mark,
    Deed::Maintain,
    Deed::Reopen,
    Deed::KillAndReopen,
];

pub(super) fn options() -> Options {
    let mut options = super::options();
    options.retention = Retention { max_segments: Some(2), ..Retention::default() };
    options
}

pub(super) fn key(number: u32) -> Key {
    Key { hash: u128::from(number) << 64 | 0xabcd, fingerprint: u64::from(number) }
}

/// A log at work on a disk, and what its publishers were told.
pub(super) struct Life {
    pub(super) disk: SimulatedDisk,
    pub(super) log: Option<SimulatedLog>,
    pub(super) ledger: Ledger,
    options: Options,
}

impl Life {
    pub(super) fn begin(disk: &SimulatedDisk) -> Result<Self, OpenError> {
        let mut life = Self { disk: disk.clone(), log: None, ledger: Ledger::default(), options: options() };
        life.open()?;
        Ok(life)
    }

    pub(super) fn open(&mut self) -> Result<(), OpenError> {
        self.log = None;
        let log = SimulatedLog::open(&self.disk, self.options.clone())?;
        log.core.needed_offset.store(u64::MAX, std::sync::atomic::Ordering::Release);
        self.log = Some(log);
        Ok(())
    }

    /// Does one deed. A log that does not open again stays closed, and nothing more happens.
    pub(super) fn live(&mut self, deed: Deed) -> Result<(), OpenError> {
        match deed {
            Deed::AppendOne => self.append(1, 40, None),
            Deed::AppendMany => self.append(4, 1_500, None),
            Deed::AppendKeyed(number) => self.append(1, 24, Some(key(number))),
            Deed::Roll => self.roll(),
            Deed::TwoInFlight => self.two_in_flight(),
            Deed::Mark => self.with(SimulatedLog::mark),
            Deed::Maintain => self.with(SimulatedLog::maintain),
            Deed::Reopen => {
                self.with(SimulatedLog::mark);
                self.open()?;
            }
            Deed::KillAndReopen => self.open()?,
        }
        Ok(())
    }

    fn with(&self, act: impl FnOnce(&SimulatedLog)) {
        if let Some(log) = &self.log {
            act(log);
        }
    }

    fn append(&mut self, count: u32, payload_bytes: usize, key: Option<Key>) {
        let Some(log) = &self.log else { return };
        let at = self.ledger.publishes.len();
        let group = self.ledger.publish(count, payload_bytes, key, self.disk.steps());
        let answer = log.append(group);
        self.ledger.answered(at, answer, self.disk.steps());
    }

    fn roll(&mut self) {
        let segments = |life: &Self| life.log.as_ref().map_or(0, |log| log.core.metrics.rolls.get());
        let before = segments(self);
        for _ in 0..8 {
            self.append(1, 13_000, None);
            let refused = self
                .ledger
                .publishes
                .last()
                .is_some_and(|last| !matches!(last.outcome, Outcome::Acked { .. }));
            if refused || segments(self) > before {
                return;
            }
        }
    }

    fn two_in_flight(&mut self) {
        let Some(log) = &self.log else { return };
        let mut prepared = Vec::new();
        for payload_bytes in [3_000, 60] {
            let at = self.ledger.publishes.len();
            let group = self.ledger.publish(2, payload_bytes, None, self.disk.steps());
            let fits = log.core.committer.lock().fits_segment(group.bytes() + 16_000);
            let ticket = match log.submit(group) {
                Ok(ticket) if fits => ticket,
                // A roll would wait for what is in flight.
                Ok(ticket) => {
                    log.commit();
                    let heard = answer(ticket).expect("a commit answers");
                    self.ledger.answered(at, heard, self.disk.steps());
                    continue;
                }
                Err(refused) => {
                    self.ledger.answered(at, Err(refused), self.disk.steps());
                    continue;
                }
            };
            let mut buffer = AlignedBuffer::with_capacity(0);
            match log.prepare(&mut buffer) {
                Some(next) => prepared.push((at, next, buffer, ticket)),
                None => self.ledger.answered(at, answer(ticket).expect("refused"), self.disk.steps()),
            }
        }
        let mut tickets = Vec::new();
        for (at, next, buffer, ticket) in prepared.into_iter().rev() {
            let written = log.core.write(&next, &buffer);
            log.core.in_flight.finish(next.sequence, written);
            log.core.queue.committed();
            tickets.push((at, ticket));
        }
        for (at, ticket) in tickets {
            let heard = answer(ticket).expect("both have finished");
            self.ledger.answered(at, heard, self.disk.steps());
        }
    }
}
