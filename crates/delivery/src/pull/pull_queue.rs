//! The pulls of one subscription that wait for events, first come, first served.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::LeasedEvent;
use super::lease_table::{ConsumerId, LeaseTable};

/// Names a pull that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PullId(u64);

/// What a consumer that stays may hold at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Credit {
    pub(crate) consumer: ConsumerId,
    pub(crate) max_in_flight: usize,
}

/// A pull that waits. It is over when nobody waits for the answer any more.
#[derive(Debug)]
pub(crate) struct WaitingPull {
    pub(crate) max_events: usize,
    pub(crate) lease: Duration,
    pub(crate) deadline: Instant,
    /// None where each pull is for itself.
    pub(crate) credit: Option<Credit>,
    pub(crate) answer: oneshot::Sender<Vec<LeasedEvent>>,
}

impl WaitingPull {
    /// How many events it may get, with those that its consumer has.
    fn room(&self, leases: &LeaseTable) -> usize {
        let credit = self.credit.map_or(usize::MAX, |credit| {
            credit.max_in_flight.saturating_sub(leases.held_by(credit.consumer))
        });
        self.max_events.min(credit)
    }
}

#[derive(Debug)]
struct Entry {
    id: PullId,
    pull: WaitingPull,
    /// Its events are being read: it is served when they are.
    loading: bool,
}

#[derive(Debug, Default)]
pub(crate) struct PullQueue {
    entries: VecDeque<Entry>,
    next_id: u64,
}

impl PullQueue {
    /// Adds a pull, and forgets those that are over.
    pub(crate) fn push(&mut self, pull: WaitingPull) {
        self.entries.retain(|entry| !entry.pull.answer.is_closed());
        let id = PullId(self.next_id);
        self.next_id += 1;
        self.entries.push_back(Entry { id, pull, loading: false });
    }

    /// The first that may get events, and how many.
    pub(crate) fn first_with_room(&mut self, leases: &LeaseTable) -> Option<(PullId, usize)> {
        while self.entries.front().is_some_and(|first| first.pull.answer.is_closed()) {
            self.entries.pop_front();
        }
        let waits = |entry: &&Entry| !entry.loading && !entry.pull.answer.is_closed();
        let room = |entry: &Entry| Some((entry.id, entry.pull.room(leases))).filter(|(_, room)| *room > 0);
        self.entries.iter().filter(waits).find_map(room)
    }

    /// Keeps a pull for events that are being read.
    pub(crate) fn set_loading(&mut self, id: PullId, loading: bool) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.id == id) {
            entry.loading = loading;
        }
    }

    /// Takes a pull out to answer it; none when it is over.
    pub(crate) fn take(&mut self, id: PullId) -> Option<WaitingPull> {
        let index = self.entries.iter().position(|entry| entry.id == id)?;
        self.entries.remove(index).map(|entry| entry.pull).filter(|pull| !pull.answer.is_closed())
    }

    /// Tells those that have waited long enough that there is nothing.
    pub(crate) fn dismiss_overdue(&mut self, now: Instant) {
        let mut index = 0;
        while let Some(entry) = self.entries.get(index) {
            if entry.loading || entry.pull.deadline > now {
                index += 1;
            } else if let Some(entry) = self.entries.remove(index) {
                // An error means that nobody waits any more.
                let _ = entry.pull.answer.send(Vec::new());
            }
        }
    }

    /// When the next of them has waited long enough; what is overdue waits for a read.
    pub(crate) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        self.entries.iter().map(|entry| entry.pull.deadline).filter(|deadline| *deadline > now).min()
    }

    /// A consumer has gone away.
    pub(crate) fn forget(&mut self, consumer: ConsumerId) {
        self.entries.retain(|entry| entry.pull.credit.is_none_or(|credit| credit.consumer != consumer));
    }

    /// The end: who waits learns of it.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }
}
