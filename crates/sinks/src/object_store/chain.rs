//! Exactly once: writes a folder's events so that each is in one object, whatever is repeated.
//!
//! What of one folder comes from one subscription forms a *chain* of objects ("slots"), each named after its first event
//! and none ever changed:
//!
//! ```text
//!   …0000-owner.ndjson    …0040-owner.ndjson         …0090-owner.ndjson
//!   [0 … 39]              [40, 41, 57, 80]           [90 … 140]            next: named after the first event behind 140
//! ```
//!
//! - **A slot is taken once.** Objects are created only if there is none with the name (`If-None-Match: *`, or a hard link),
//!   and the next object's name follows from where the last one ends. So two tries for the same events, in whatever
//!   batches and however late the store carries out the first, are for the same name, and one of them is refused.
//! - **What an object holds is read from it,** not concluded from its name: a slot that is found taken, and the last slot of
//!   a folder that this process has not written to yet, are read, and events that are in them are delivered already. That
//!   is exact where an event in the middle has become a dead letter, or the filter was another then.
//! - **Ranges are disjoint:** an object's events lie in a gap between the others' ranges. So the object that may hold an event
//!   is the last one whose name is not behind it. An event whose place lies within the range of an object that does not
//!   hold it (a dead letter that is delivered after all) gets an object of its own, named after it and marked as late.
//!
//! This process's memory is an aid only: for each folder of late, the events of its last object ([`Tails`]). It is forgotten
//! before anything is written and known again when that has succeeded, so a call that is dropped on the way leaves nothing
//! false behind. What such a call was writing is carried through, and the next call waits for it (`store.rs`).
//!
//! What it rests on:
//! - Events come one call at a time, in the log's order (`order = "strict"`); replays and redrives beside it wait for their
//!   turn.
//! - The store has conditional writes. A store that ignores the condition is found out at the first object, which is written
//!   twice. Then nothing counts as delivered, not even what is found there, until it refuses that object's name.
//! - Objects stay at least until the cursor behind them is saved, and nobody else puts objects with our names there.
//!
//! The one way to a second copy that is left, and none in a directory: the store has an unanswered request for several events
//! that wait together, carries it out after it was given up, and in between some of them were written under another name. That takes that the first of them
//! is given up for good (its attempts are used up, or somebody moves the cursor), that a replay or redrive of others comes
//! in between, or that the subscription is given another `path`, `content` or `compression`.

use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use eventrelay_event::StoredEvent;
use futures_util::{StreamExt as _, stream};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::content::Encoding;
use super::failure::{FailureKind, StoreFailure};
use super::name::Names;
use super::store::{Created, Slot, Store, Turn};
use super::tails::{Tail, Tails};

/// Folders that are written at once.
const CONCURRENT_FOLDERS: usize = 8;
/// Objects that are read at once, of one folder.
const CONCURRENT_READS: usize = 8;
/// Objects that are read for one batch of one folder.
const MAX_READS: usize = 1024;
/// How often a folder is looked at anew within a call, because something was there that was not before.
const ROUNDS: usize = 4;

/// The events of a batch that go into one folder, in the order of their offsets, none twice.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) folder: String,
    pub(super) events: Vec<StoredEvent>,
}

/// How objects are made.
pub(super) struct Writer {
    pub(super) store: Store,
    pub(super) names: Names,
    pub(super) encoding: Encoding,
}

impl Writer {
    /// The object of these events. Compressing takes its time, so it has a thread for that.
    pub(super) async fn object(&self, events: Vec<StoredEvent>) -> Result<Bytes, StoreFailure> {
        let encoding = self.encoding;
        let encoding = tokio::task::spawn_blocking(move || encoding.encode(&events));
        let failed = |why: String| StoreFailure::new(FailureKind::Other, why);
        encoding
            .await
            .map_err(|stopped| failed(stopped.to_string()))?
            .map_err(|error| failed(format!("the object cannot be encoded: {error}")))
    }
}

/// Writes chains.
pub(super) struct Chains {
    /// Of the call that goes on.
    tails: Mutex<Tails>,
    /// Of that call, and of the writes that dropped calls have left.
    turn: Arc<Mutex<()>>,
    proof: std::sync::Mutex<Proof>,
}

/// Whether the store was seen to refuse a name that is taken.
#[derive(Clone)]
enum Proof {
    Unknown,
    Given,
    /// It took this object twice.
    Refuted {
        folder: String,
        name: String,
        object: Bytes,
    },
}

/// How far a folder's events have come.
struct Progress {
    /// Those that are in an object.
    settled: Vec<bool>,
    tail: Option<Tail>,
    failure: Option<StoreFailure>,
}

impl Chains {
    pub(super) fn new() -> Self {
        Self { tails: Mutex::default(), turn: Arc::default(), proof: std::sync::Mutex::new(Proof::Unknown) }
    }

    /// Sees to it that each event is in an object of its folder. For each group, in their order: which of its events are,
    /// and why the others are not.
    pub(super) async fn write(
        &self,
        writer: &Writer,
        groups: &[Group],
    ) -> Vec<(Vec<bool>, Option<StoreFailure>)> {
        // One call at a time: what a folder ends with must not change between looking and writing.
        let mut tails = self.tails.lock().await;
        let turn = match self.begin(writer).await {
            Ok(turn) => turn,
            Err(failure) => {
                let failed = |group: &Group| (vec![false; group.events.len()], Some(failure.clone()));
                return groups.iter().map(failed).collect();
            }
        };
        let mut work = Vec::with_capacity(groups.len());
        for group in groups {
            work.push(self.write_group(writer, &turn, group, tails.take(&group.folder)));
        }
        let written: Vec<_> = stream::iter(work).buffered(CONCURRENT_FOLDERS).collect().await;
        let mut results = Vec::with_capacity(groups.len());
        for (group, progress) in groups.iter().zip(written) {
            if let Some(tail) = progress.tail {
                tails.put(group.folder.clone(), tail);
            }
            results.push((progress.settled, progress.failure));
        }
        results
    }

    /// Waits for what calls before have left, and looks whether the store can be written to.
    async fn begin(&self, writer: &Writer) -> Result<Turn, StoreFailure> {
        let turn = timeout(writer.store.timeout, Arc::clone(&self.turn).lock_owned()).await;
        let why = "a write that was begun before has not ended";
        let turn = turn.map_err(|_elapsed| StoreFailure::new(FailureKind::Unreachable, why))?;
        let turn = Arc::new(turn);
        self.prove_again(writer, &turn).await?;
        Ok(turn)
    }

    async fn write_group(&self, writer: &Writer, turn: &Turn, group: &Group, tail: Option<Tail>) -> Progress {
        let mut progress = Progress { settled: vec![false; group.events.len()], tail, failure: None };
        for _ in 0..ROUNDS {
            if progress.settled.iter().all(|settled| *settled) {
                return progress;
            }
            let round = Round { chains: self, writer, turn, group };
            let result = match progress.tail.take() {
                Some(tail) if tail.is_before(group.events[progress.first_unsettled()].offset()) => {
                    round.append(tail, &mut progress).await
                }
                _unknown_or_behind => round.look_and_fill(&mut progress).await,
            };
            if let Err(failure) = result {
                progress.failure = Some(failure);
                return progress;
            }
        }
        if !progress.settled.iter().all(|settled| *settled) {
            let why = format!("the store refuses a name in {}, yet shows no object with it", group.folder);
            progress.failure = Some(StoreFailure::new(FailureKind::Other, why));
        }
        progress
    }

    /// Writes the object of a slot. The first one is written twice, to see whether the store refuses the second time.
    async fn create(
        &self,
        writer: &Writer,
        turn: &Turn,
        folder: &str,
        name: &str,
        events: Vec<StoredEvent>,
    ) -> Result<Created, StoreFailure> {
        let object = writer.object(events).await?;
        let created = writer.store.create(turn, folder, name, &object).await?;
        if created == Created::Before {
            self.set_proof(Proof::Given);
        } else if !matches!(self.proof(), Proof::Given) {
            if writer.store.create(turn, folder, name, &object).await? == Created::Now {
                let (folder, name) = (folder.to_owned(), name.to_owned());
                self.set_proof(Proof::Refuted { folder, name, object });
                return Err(ignores_conditions());
            }
            self.set_proof(Proof::Given);
        }
        Ok(created)
    }

    /// Tries once more what showed that the store ignores conditions: it may have been replaced since.
    async fn prove_again(&self, writer: &Writer, turn: &Turn) -> Result<(), StoreFailure> {
        let Proof::Refuted { folder, name, object } = self.proof() else { return Ok(()) };
        if writer.store.create(turn, &folder, &name, &object).await? == Created::Now {
            return Err(ignores_conditions());
        }
        self.set_proof(Proof::Given);
        Ok(())
    }

    fn proof(&self) -> Proof {
        // Nothing is left half done under the lock, so a panic elsewhere does not spoil it.
        self.proof.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_proof(&self, proof: Proof) {
        *self.proof.lock().unwrap_or_else(PoisonError::into_inner) = proof;
    }
}

fn ignores_conditions() -> StoreFailure {
    let why = "the store ignores `If-None-Match`, so it cannot keep what `exactly_once` promises; \
               without it events are delivered at least once";
    StoreFailure::new(FailureKind::Other, why)
}

impl Progress {
    /// There is one.
    fn first_unsettled(&self) -> usize {
        self.settled.iter().position(|settled| !settled).unwrap_or_default()
    }
}

/// One look at one folder.
struct Round<'a> {
    chains: &'a Chains,
    writer: &'a Writer,
    turn: &'a Turn,
    group: &'a Group,
}

/// Where an event belongs.
enum Place {
    /// In this object, and it is there.
    Within,
    /// In the range of an object that does not hold it.
    Straggler,
    /// In the gap behind this many slots.
    Gap(usize),
}

impl Round<'_> {
    /// What comes behind the last object goes into a new one. Nothing that is to be delivered lies before that. Where
    /// something lies within it, the tail is given up, and the folder is looked at.
    async fn append(&self, tail: Tail, progress: &mut Progress) -> Result<(), StoreFailure> {
        let mut behind = Vec::new();
        for (index, event) in self.unsettled(progress) {
            if tail.contains(event.offset()) {
                progress.settled[index] = true;
            } else if tail.end().is_some_and(|end| event.offset() <= end) {
                // It may have an object of its own, of any compression: that takes a look.
                return Ok(());
            } else {
                behind.push(index);
            }
        }
        if behind.is_empty() {
            progress.tail = Some(tail);
            return Ok(());
        }
        if let Some(written) = self.write_slot(&behind, progress).await? {
            progress.tail = Some(written);
        }
        Ok(())
    }

    /// Looks which objects there are, and writes what is in none of them.
    async fn look_and_fill(&self, progress: &mut Progress) -> Result<(), StoreFailure> {
        let waiting = self.unsettled(progress);
        let (Some((_, first)), Some((_, last))) = (waiting.first(), waiting.last()) else { return Ok(()) };
        let (low, high) = (first.offset(), last.offset());
        let found = self.writer.store.slots(&self.writer.names, &self.group.folder, low, high).await?;
        let tails = self.read(&found.slots).await?;

        let mut gaps: Vec<Vec<usize>> = vec![Vec::new(); found.slots.len() + 1];
        for (index, event) in waiting {
            match place(&found.slots, &tails, event.offset()) {
                Place::Within => progress.settled[index] = true,
                Place::Straggler if found.late.contains(&event.offset()) => progress.settled[index] = true,
                Place::Straggler => {
                    self.write_straggler(event).await?;
                    progress.settled[index] = true;
                }
                Place::Gap(gap) => gaps[gap].push(index),
            }
        }
        let mut end = tails.into_iter().next_back().unwrap_or_default();
        for (gap, indices) in gaps.into_iter().enumerate().filter(|(_, indices)| !indices.is_empty()) {
            match self.write_slot(&indices, progress).await? {
                // Taken in the meantime: the folder is looked at anew.
                None => return Ok(()),
                Some(written) if gap == found.slots.len() => end = written,
                Some(_) => {}
            }
        }
        if !found.more_behind {
            progress.tail = Some(end);
        }
        Ok(())
    }

    /// Which events the objects hold.
    async fn read(&self, slots: &[Slot]) -> Result<Vec<Tail>, StoreFailure> {
        if slots.len() > MAX_READS {
            let why = format!("the events of the batch may be in any of {} objects", slots.len());
            return Err(StoreFailure::new(FailureKind::Other, why));
        }
        let mut reads = Vec::with_capacity(slots.len());
        for slot in slots {
            reads.push(self.writer.store.offsets(slot));
        }
        let read: Vec<_> = stream::iter(reads).buffered(CONCURRENT_READS).collect().await;
        let tail =
            |(slot, offsets): (&Slot, Result<_, _>)| offsets.map(|offsets| Tail::read(slot.first, offsets));
        slots.iter().zip(read).map(tail).collect()
    }

    /// Writes events as the object that is named after the first of them; none where that is taken.
    async fn write_slot(
        &self,
        indices: &[usize],
        progress: &mut Progress,
    ) -> Result<Option<Tail>, StoreFailure> {
        let events: Vec<_> = indices.iter().map(|index| self.group.events[*index].clone()).collect();
        let offsets: Arc<[u64]> = events.iter().map(StoredEvent::offset).collect();
        let name = self.writer.names.slot(offsets[0]);
        let created = self.create(&name, events).await?;
        if created == Created::Before {
            return Ok(None);
        }
        for index in indices {
            progress.settled[*index] = true;
        }
        Ok(Some(Tail::written(offsets)))
    }

    /// Writes an event by itself. A name that is taken is its own, so then it is there.
    async fn write_straggler(&self, event: &StoredEvent) -> Result<(), StoreFailure> {
        let name = self.writer.names.late(event.offset());
        self.create(&name, vec![event.clone()]).await?;
        Ok(())
    }

    async fn create(&self, name: &str, events: Vec<StoredEvent>) -> Result<Created, StoreFailure> {
        self.chains.create(self.writer, self.turn, &self.group.folder, name, events).await
    }

    fn unsettled(&self, progress: &Progress) -> Vec<(usize, &StoredEvent)> {
        let events = self.group.events.iter().enumerate();
        events.filter(|(index, _)| !progress.settled[*index]).collect()
    }
}

/// Where an event belongs, among the slots in their order.
fn place(slots: &[Slot], tails: &[Tail], offset: u64) -> Place {
    let before = slots.partition_point(|slot| slot.first <= offset);
    let Some(tail) = before.checked_sub(1).map(|last| &tails[last]) else { return Place::Gap(0) };
    if tail.contains(offset) {
        Place::Within
    } else if tail.end().is_some_and(|end| offset <= end) {
        Place::Straggler
    } else {
        Place::Gap(before)
    }
}
