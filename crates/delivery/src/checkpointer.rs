//! Saves what became of deliveries, in groups, one save at a time.
//!
//! Invariant: a save holds a cursor and every retry and dead letter that this cursor has passed, so the durable cursor
//! never passes an outcome that is not durable. What could not be saved is kept and saved later.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use eventrelay_sinks::BoxFuture;
use eventrelay_state::{
    AttemptRecord, Checkpoint, DeadLetter, Lifecycle, Progress, ReplayId, ReplayProgress, Retrying,
    StateError, SubscriptionId,
};
use tokio::time::Instant;

use crate::store::Store;

/// The most retries and dead letters that wait to be saved; beyond it nothing new is tried.
const UNSAVED_LIMIT: usize = 4096;
/// The most bytes of dead letters that wait to be saved.
const UNSAVED_BYTES_LIMIT: usize = 8 << 20;
/// The most attempts that wait to be saved; beyond it the oldest are forgotten, for they are only for people to read.
const UNSAVED_ATTEMPTS_LIMIT: usize = 256;
/// The wait before a failed save is tried again.
const RETRY_WAIT: Duration = Duration::from_secs(1);

/// Outcomes that are not saved yet, newest per offset.
#[derive(Debug, Default, Clone)]
pub(crate) struct Unsaved {
    /// A retry that is new or has changed, or none where it is over.
    retrying: BTreeMap<u64, Option<Retrying>>,
    /// A dead letter that is new, or none where it is dead no more.
    dead_letters: BTreeMap<u64, Option<DeadLetter>>,
    dead_letter_bytes: usize,
    attempts: VecDeque<AttemptRecord>,
    lifecycle: Option<Lifecycle>,
    replays: BTreeMap<ReplayId, ReplayProgress>,
}

impl Unsaved {
    pub(crate) fn retry(&mut self, retrying: Retrying) {
        self.retrying.insert(retrying.offset, Some(retrying));
    }

    pub(crate) fn retry_is_over(&mut self, offset: u64) {
        self.retrying.insert(offset, None);
    }

    pub(crate) fn dead_letter(&mut self, letter: DeadLetter) {
        self.dead_letter_bytes += letter.event.as_ref().map_or(0, bytes::Bytes::len);
        self.dead_letters.insert(letter.offset, Some(letter));
    }

    pub(crate) fn has_dead_letter(&self, offset: u64) -> bool {
        matches!(self.dead_letters.get(&offset), Some(Some(_)))
    }

    pub(crate) fn no_longer_dead(&mut self, offset: u64) {
        self.dead_letters.insert(offset, None);
    }

    pub(crate) fn replay(&mut self, id: ReplayId, progress: ReplayProgress) {
        self.replays.insert(id, progress);
    }

    pub(crate) fn attempt(&mut self, attempt: AttemptRecord) {
        if self.attempts.len() >= UNSAVED_ATTEMPTS_LIMIT {
            self.attempts.pop_front();
        }
        self.attempts.push_back(attempt);
    }

    pub(crate) fn lifecycle(&mut self, lifecycle: Lifecycle) {
        self.lifecycle = Some(lifecycle);
    }

    fn is_empty(&self) -> bool {
        self.retrying.is_empty()
            && self.dead_letters.is_empty()
            && self.attempts.is_empty()
            && self.lifecycle.is_none()
            && self.replays.is_empty()
    }

    /// Adds what a failed save leaves; what is newer stands.
    fn put_back(&mut self, older: Self) {
        for (offset, change) in older.retrying {
            self.retrying.entry(offset).or_insert(change);
        }
        for (offset, letter) in older.dead_letters {
            if !self.dead_letters.contains_key(&offset) {
                match letter {
                    Some(letter) => self.dead_letter(letter),
                    None => self.no_longer_dead(offset),
                }
            }
        }
        for (id, progress) in older.replays {
            self.replays.entry(id).or_insert(progress);
        }
        self.lifecycle = self.lifecycle.take().or(older.lifecycle);
        for attempt in older.attempts.into_iter().rev() {
            if self.attempts.len() < UNSAVED_ATTEMPTS_LIMIT {
                self.attempts.push_front(attempt);
            }
        }
    }

    fn checkpoint(&self, subscription: SubscriptionId, progress: Progress) -> Checkpoint {
        Checkpoint {
            subscription,
            progress,
            retrying: self.retrying.values().flatten().cloned().collect(),
            no_longer_retrying: self
                .retrying
                .iter()
                .filter_map(|(&offset, change)| change.is_none().then_some(offset))
                .collect(),
            dead_letters: self.dead_letters.values().flatten().cloned().collect(),
            no_longer_dead: self
                .dead_letters
                .iter()
                .filter_map(|(&offset, letter)| letter.is_none().then_some(offset))
                .collect(),
            replays: self.replays.iter().map(|(&id, progress)| (id, progress.clone())).collect(),
            lifecycle: self.lifecycle.clone(),
            attempts: self.attempts.iter().cloned().collect(),
        }
    }
}

struct Saving {
    result: BoxFuture<'static, Result<(), StateError>>,
    changes: Unsaved,
    saved: Saved,
}

/// What is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Saved {
    pub(crate) cursor: u64,
    /// The lowest offset that the log must keep for this cursor and its retries.
    pub(crate) needed: u64,
    settled: u64,
}

pub(crate) struct Checkpointer {
    store: Arc<dyn Store>,
    subscription: SubscriptionId,
    interval: Duration,
    pub(crate) unsaved: Unsaved,
    /// Dead letters that have become durable, until they are taken; kept only where somebody takes them.
    durable_dead_letters: Option<Vec<DeadLetter>>,
    saving: Option<Saving>,
    saved: Saved,
    /// No save begins before it.
    not_before: Instant,
    failed_in_a_row: u32,
}

impl Checkpointer {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        subscription: SubscriptionId,
        interval: Duration,
        progress: &Progress,
        needed: u64,
    ) -> Self {
        let saved = Saved { cursor: progress.cursor(), needed, settled: 0 };
        let not_before = Instant::now() + interval;
        Self {
            store,
            subscription,
            interval,
            unsaved: Unsaved::default(),
            durable_dead_letters: None,
            saving: None,
            saved,
            not_before,
            failed_in_a_row: 0,
        }
    }

    /// The offsets of letters that are dead no more, as far as that is not durable.
    pub(crate) fn no_longer_dead(&self) -> BTreeSet<u64> {
        let mut gone = BTreeSet::new();
        // What is newer stands.
        let saving = self.saving.as_ref().map(|saving| &saving.changes);
        for changes in saving.into_iter().chain([&self.unsaved]) {
            for (&offset, letter) in &changes.dead_letters {
                if letter.is_none() {
                    gone.insert(offset)
                } else {
                    gone.remove(&offset)
                };
            }
        }
        gone
    }

    /// From now on [`Self::take_durable_dead_letters`] gives them.
    pub(crate) fn keep_durable_dead_letters(&mut self) {
        self.durable_dead_letters.get_or_insert_default();
    }

    /// The dead letters that have become durable since the last time.
    pub(crate) fn take_durable_dead_letters(&mut self) -> Vec<DeadLetter> {
        self.durable_dead_letters.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// When the next save may begin, if there is anything to save. `settled` counts what was settled so far.
    pub(crate) fn due(&self, progress: &Progress, settled: u64) -> Option<Instant> {
        let moved = settled != self.saved.settled || progress.cursor() != self.saved.cursor;
        (self.saving.is_none() && (moved || !self.unsaved.is_empty())).then_some(self.not_before)
    }

    /// Begins to save all that has happened.
    pub(crate) fn begin(&mut self, progress: &Progress, settled: u64, needed: u64, now: Instant) {
        assert!(self.saving.is_none(), "one save at a time");
        let changes = std::mem::take(&mut self.unsaved);
        let result = self.store.save(changes.checkpoint(self.subscription, progress.clone()));
        let saved = Saved { cursor: progress.cursor(), needed, settled };
        self.saving = Some(Saving { result, changes, saved });
        self.not_before = now + self.interval;
    }

    /// The log must keep this too, from now on: the save that is under way did not know of it.
    pub(crate) fn also_needs(&mut self, offset: u64) {
        if let Some(saving) = &mut self.saving {
            saving.saved.needed = saving.saved.needed.min(offset);
        }
    }

    pub(crate) fn is_saving(&self) -> bool {
        self.saving.is_some()
    }

    /// Resolves when the save that is under way ends; never when there is none. Safe to drop at any time.
    ///
    /// The error is the first of a row of failures, or none for those that follow it.
    pub(crate) async fn end(&mut self) -> Result<Saved, Option<StateError>> {
        let Some(saving) = &mut self.saving else { return std::future::pending().await };
        let result = saving.result.as_mut().await;
        let Some(saving) = self.saving.take() else { return std::future::pending().await };
        match result {
            Ok(()) => {
                self.saved = saving.saved;
                if let Some(durable) = &mut self.durable_dead_letters {
                    durable.extend(saving.changes.dead_letters.into_values().flatten());
                }
                self.failed_in_a_row = 0;
                Ok(self.saved)
            }
            Err(error) => {
                self.unsaved.put_back(saving.changes);
                self.not_before = Instant::now() + RETRY_WAIT;
                self.failed_in_a_row = self.failed_in_a_row.saturating_add(1);
                Err((self.failed_in_a_row == 1).then_some(error))
            }
        }
    }

    /// Whether so much waits to be saved that nothing new may be tried.
    pub(crate) fn is_full(&self) -> bool {
        let waiting = [Some(&self.unsaved), self.saving.as_ref().map(|saving| &saving.changes)];
        let (mut count, mut bytes) = (0, 0);
        for changes in waiting.into_iter().flatten() {
            count += changes.retrying.len() + changes.dead_letters.len();
            bytes += changes.dead_letter_bytes;
        }
        count >= UNSAVED_LIMIT || bytes >= UNSAVED_BYTES_LIMIT
    }
}
