//! Events that are delivered again beside the live ones: a range of the log (replay), or dead letters (redrive).
//!
//! ```text
//!  log, or dead letters ──▶ Replay ──▶ the dispatcher's own order, calls, breaker, rate and retries
//! ```
//!
//! A replay is another source of the same dispatcher, so all that holds for live events holds for it: its events take
//! turns with live ones, wait for their key, and are tried again as retries of the subscription. What is its own is where
//! it stands. It has no more than one batch and one run of records in memory.
//!
//! Invariants:
//! - Every offset of a replay below its saved place is delivered, filtered out, dead, or among the saved retries.
//! - A dead letter goes in the transaction that saves that its event is delivered. While that waits for a retry, the letter
//!   stays: its copy may be all that is left of the event by then, and a seek forgets retries.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use eventrelay_event::{Purpose, StoredEvent};
use eventrelay_log::ReadError;
use eventrelay_sinks::{BatchLimit, BoxFuture, Delivery};
use eventrelay_state::{
    DeadLetter, Progress, Rate, ReplayId, ReplayKind, ReplayProgress, ReplayRecord, ReplayState, StateError,
    SubscriptionId,
};
use tokio::time::Instant;

use super::dispatch::Chosen;
use super::filtering::Wanted;
use super::{Dispatcher, READ_RETRY_WAIT};
use crate::checkpointer::Checkpointer;
use crate::decoded_chunk::{ChunkCache, Decoded};
use crate::event_log::EventLog;
use crate::key_gate::{Admission, Place};
use crate::rate_limit::RateLimit;
use crate::reader::{Next, Reader};
use crate::store::Store;

/// Dead letters that are read together; each holds its whole event.
const PAGE_LETTERS: u32 = 16;

/// A replay that is under way.
pub(crate) struct Replay {
    record: ReplayRecord,
    source: Source,
    /// The first offset that was not looked at.
    position: u64,
    /// Offsets that are on their way.
    open: BTreeSet<u64>,
    rate: Option<RateLimit>,
    /// It had nothing at hand when it was last asked.
    starved: bool,
    /// The system refused a read: nothing is read before then.
    again_at: Option<Instant>,
    /// Why it cannot go on.
    failed: Option<String>,
}

enum Source {
    Log(Reader),
    DeadLetters(LetterReader),
}

/// Reads dead letters in pages.
struct LetterReader {
    store: Arc<dyn Store>,
    subscription: SubscriptionId,
    page: VecDeque<DeadLetter>,
    loading: Option<BoxFuture<'static, Result<Vec<DeadLetter>, StateError>>>,
    /// Dead no more, which what is being loaded may not know.
    gone: BTreeSet<u64>,
    /// The first offset that was not loaded.
    next: u64,
    /// There are none from here on.
    end: Option<u64>,
}

/// Why a replay could not go on.
pub(crate) enum ReplayError {
    Log(ReadError),
    State(StateError),
}

/// What comes next.
enum Peeked {
    /// An event, not yet taken.
    Event(StoredEvent),
    /// It was passed over: there is nothing to deliver.
    Passed,
    /// It is being read.
    Wait,
    /// There is nothing more.
    End,
}

impl Replay {
    pub(crate) fn new(
        record: ReplayRecord,
        log: &Arc<dyn EventLog>,
        chunks: &Arc<ChunkCache>,
        store: &Arc<dyn Store>,
        now: Instant,
    ) -> Self {
        let position = record.progress.next_offset;
        let source = match record.request.kind {
            ReplayKind::Replay => Source::Log(Reader::new(Arc::clone(log), Arc::clone(chunks), position)),
            ReplayKind::Redrive => Source::DeadLetters(LetterReader {
                store: Arc::clone(store),
                subscription: record.request.subscription,
                page: VecDeque::new(),
                loading: None,
                gone: BTreeSet::new(),
                next: 0,
                end: None,
            }),
        };
        let rate = record.request.max_events_per_second.map(Rate::per_second);
        let rate = rate.map(|rate| RateLimit::new(rate, now));
        Self {
            record,
            source,
            position,
            open: BTreeSet::new(),
            rate,
            starved: false,
            again_at: None,
            failed: None,
        }
    }

    pub(super) fn id(&self) -> ReplayId {
        self.record.id
    }

    /// The lowest offset that the log must keep for it.
    pub(super) fn needed_offset(&self) -> Option<u64> {
        (self.record.request.kind == ReplayKind::Replay).then(|| self.next_offset())
    }

    /// When it may go on, where it waits for a time.
    pub(super) fn next_at(&mut self, now: Instant) -> Option<Instant> {
        let rated = self.rate.as_mut().and_then(|rate| (rate.available(now) == 0).then(|| rate.next_at()));
        self.again_at.or(rated)
    }

    /// Whether [`Self::advance`] is to be awaited.
    pub(super) fn is_starved(&self) -> bool {
        self.starved
    }

    /// Waits until there may be more. Safe to drop at any time.
    pub(super) async fn advance(&mut self) -> Result<(), ReplayError> {
        match &mut self.source {
            Source::Log(reader) => reader.advance().await.map_err(ReplayError::Log),
            Source::DeadLetters(letters) => letters.advance().await.map_err(ReplayError::State),
        }
    }

    fn purpose(&self) -> Purpose {
        match self.record.request.kind {
            ReplayKind::Replay => Purpose::Replay,
            ReplayKind::Redrive => Purpose::Redrive,
        }
    }

    /// Every offset below it is settled.
    fn next_offset(&self) -> u64 {
        self.open.first().copied().unwrap_or(self.position)
    }

    fn is_over(&self) -> bool {
        self.open.is_empty() && self.position >= self.record.request.end_offset
    }

    fn progress(&self) -> ReplayProgress {
        ReplayProgress { next_offset: self.next_offset(), ..self.record.progress.clone() }
    }

    fn pass_to(&mut self, offset: u64) {
        self.position = offset;
    }

    /// Goes on after events that the log no longer has.
    fn lose_to(&mut self, end: u64) {
        let end = end.min(self.record.request.end_offset);
        self.record.progress.lost += end.saturating_sub(self.position);
        self.position = self.position.max(end);
        if let Source::Log(reader) = &mut self.source {
            reader.skip_to(end);
        }
    }

    /// Passes over what the live cursor has yet to deliver, or is delivering.
    fn pass_live(&mut self, progress: &Progress) {
        let Source::Log(reader) = &mut self.source else { return };
        let end = self.record.request.end_offset;
        let settled = progress.next_settled(self.position).map_or(end, |settled| settled.min(end));
        if settled > self.position {
            reader.skip_to(settled);
            self.position = settled;
        }
    }

    fn peek(&mut self, checkpointer: &Checkpointer) -> Peeked {
        if self.failed.is_some() || self.position >= self.record.request.end_offset {
            return Peeked::End;
        }
        let lost_to = match &mut self.source {
            Source::DeadLetters(letters) => {
                return letters.peek(&mut self.record, &mut self.position, checkpointer);
            }
            Source::Log(reader) => match reader.peek() {
                Next::Record(Decoded::Event(event)) => return Peeked::Event(event.clone()),
                // The live cursor has made a dead letter of it, and nothing else can be made of it.
                Next::Record(Decoded::Undecodable { record, .. }) => record.offset + 1,
                Next::Lost { end } => end,
                Next::Reading | Next::AtEnd => return Peeked::Wait,
            },
        };
        self.lose_to(lost_to);
        Peeked::Passed
    }

    /// Takes, or passes over, the event that [`Self::peek`] has shown.
    fn take(&mut self, offset: u64) {
        match &mut self.source {
            Source::Log(reader) => reader.pass(),
            Source::DeadLetters(letters) => drop(letters.page.pop_front()),
        }
        self.pass_to(offset + 1);
    }
}

impl LetterReader {
    fn peek(&mut self, record: &mut ReplayRecord, position: &mut u64, checkpointer: &Checkpointer) -> Peeked {
        let end = record.request.end_offset;
        let Some(letter) = self.page.front() else {
            if self.end.is_some_and(|from| *position >= from) {
                *position = end;
                return Peeked::End;
            }
            if self.loading.is_none() {
                let from = self.next.max(*position);
                self.gone = checkpointer.no_longer_dead();
                self.loading = Some(self.store.dead_letters(self.subscription, from, PAGE_LETTERS));
            }
            return Peeked::Wait;
        };
        if letter.offset >= end {
            *position = end;
            return Peeked::End;
        }
        let event = letter.event.clone().and_then(|event| {
            StoredEvent::decode(letter.offset, letter.append_time_micros.unwrap_or(0), event).ok()
        });
        match event {
            Some(event) => Peeked::Event(event),
            None => {
                // Without its event it stays what it is.
                *position = letter.offset + 1;
                record.progress.lost += 1;
                self.page.pop_front();
                Peeked::Passed
            }
        }
    }

    async fn advance(&mut self) -> Result<(), StateError> {
        let Some(loading) = &mut self.loading else { return std::future::pending().await };
        let loaded = loading.as_mut().await;
        self.loading = None;
        let letters = loaded?;
        if letters.len() < PAGE_LETTERS as usize {
            self.end = Some(letters.last().map_or(0, |last| last.offset + 1));
        }
        self.next = letters.last().map_or(self.next, |last| last.offset + 1);
        self.page = letters.into_iter().filter(|letter| !self.gone.contains(&letter.offset)).collect();
        Ok(())
    }

    /// A letter is dead no more: another redrive, or a retry of one, has delivered it.
    fn forget(&mut self, offset: u64) {
        self.page.retain(|letter| letter.offset != offset);
        if self.loading.is_some() {
            self.gone.insert(offset);
        }
    }
}

/// Waits until a starved replay may have more. Safe to drop at any time.
pub(super) async fn advance_one(replays: &mut [Replay]) -> (ReplayId, Result<(), ReplayError>) {
    let starved = replays.iter_mut().filter(|replay| replay.is_starved()).map(|replay| {
        let id = replay.id();
        Box::pin(async move { (id, replay.advance().await) })
    });
    let (first, _, _) = futures_util::future::select_all(starved).await;
    first
}

impl Dispatcher {
    /// The next events of a replay, if one may go on.
    pub(super) fn replayed_events(
        &mut self,
        limit: BatchLimit,
        now: Instant,
        scan: &mut usize,
    ) -> Option<Chosen> {
        let mut chosen = None;
        for index in 0..self.replays.len() {
            let mut replay = self.replays.remove(index);
            let batch = self.take_from(&mut replay, limit, now, scan);
            if batch.is_empty() {
                self.replays.insert(index, replay);
                continue;
            }
            chosen = Some(Chosen::replayed(batch, replay.id()));
            // The one that was served goes behind the others.
            self.replays.push(replay);
            break;
        }
        self.end_replays_that_are_over();
        chosen
    }

    /// `replay` is not among the others.
    fn take_from(
        &mut self,
        replay: &mut Replay,
        limit: BatchLimit,
        now: Instant,
        scan: &mut usize,
    ) -> Vec<Delivery> {
        let mut batch: Vec<Delivery> = Vec::new();
        if replay.again_at.is_some_and(|at| at > now) {
            return batch;
        }
        (replay.again_at, replay.starved) = (None, false);
        let tokens = replay.rate.as_mut().map_or(usize::MAX, |rate| rate.available(now));
        let most = limit.events.min(tokens);
        let (before, mut bytes) = (replay.next_offset(), 0);
        while batch.len() < most && *scan > 0 {
            *scan = scan.saturating_sub(1);
            replay.pass_live(&self.progress);
            let event = match replay.peek(&self.checkpointer) {
                Peeked::Event(event) => event,
                Peeked::Passed => continue,
                Peeked::Wait => {
                    replay.starved = true;
                    break;
                }
                Peeked::End => break,
            };
            let (offset, size) = (event.offset(), event.encoded().len());
            if !batch.is_empty() && bytes + size > limit.bytes {
                break;
            }
            // What waits for a retry, or is open in another replay, is on its way already.
            let is_open = self.replays.iter().any(|other| other.open.contains(&offset));
            if is_open || self.retries.get(offset).is_some() {
                replay.take(offset);
                continue;
            }
            match self.wants_again(&replay.record.request, &event, scan) {
                Wanted::Yes => {}
                Wanted::No => {
                    replay.take(offset);
                    continue;
                }
                Wanted::Unknown { why } => {
                    tracing::warn!(subscription = self.spec.name, offset, why, "not delivered again");
                    replay.record.progress.refused += 1;
                    replay.take(offset);
                    continue;
                }
                Wanted::Stop { why } => {
                    replay.failed = Some(format!("event {offset}: {why}"));
                    break;
                }
            }
            if !self.holds_key(&event, size) {
                break;
            }
            replay.take(offset);
            replay.open.insert(offset);
            bytes += size;
            batch.push(Delivery {
                event,
                attempt: 1,
                purpose: replay.purpose(),
                span: None,
                keep_exchange: false,
            });
        }
        if let Some(rate) = &mut replay.rate {
            rate.take(batch.len());
        }
        if replay.next_offset() != before {
            self.checkpointer.unsaved.replay(replay.id(), replay.progress());
        }
        batch
    }

    /// Takes the event's key, if it is free; an event without one needs none. One that is not free holds the replay back,
    /// which keeps the replay's own order.
    fn holds_key(&mut self, event: &StoredEvent, bytes: usize) -> bool {
        let (Some(gate), Some(key)) = (&mut self.gate, event.key()) else { return true };
        let key = gate.hash(key);
        gate.is_free(key) && gate.admit(key, Place { offset: event.offset(), bytes }) == Admission::Go
    }

    /// A call with events of a replay has ended, and each of them is delivered, waits for a retry, or is dead.
    pub(super) fn replay_settled(&mut self, id: Option<ReplayId>, deliveries: &[Delivery]) {
        let Some(replay) = id.and_then(|id| self.replays.iter_mut().find(|replay| replay.id() == id)) else {
            return;
        };
        let progress = &mut replay.record.progress;
        for delivery in deliveries {
            let offset = delivery.event.offset();
            if self.checkpointer.unsaved.has_dead_letter(offset) {
                progress.refused += 1;
            } else if self.retries.get(offset).is_some() {
                progress.deferred += 1;
            } else {
                progress.delivered += 1;
            }
            replay.open.remove(&offset);
        }
        let progress = replay.progress();
        self.checkpointer.unsaved.replay(replay.record.id, progress);
        self.end_replays_that_are_over();
    }

    /// The event of a dead letter is delivered, or the live cursor comes to it again.
    pub(super) fn no_longer_dead(&mut self, offset: u64) {
        self.checkpointer.unsaved.no_longer_dead(offset);
        self.count_one_dead_letter_less();
        for replay in &mut self.replays {
            if let Source::DeadLetters(letters) = &mut replay.source {
                letters.forget(offset);
            }
        }
    }

    /// Somebody may have thrown the letter away meanwhile, and counted that.
    pub(super) fn count_one_dead_letter_less(&self) {
        let less = |known: u64| known.checked_sub(1);
        // An error means that there is none to be counted.
        let _ = self.stats.dead_letters.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// A replay that waited for a read has its answer.
    pub(super) fn replay_advanced(&mut self, id: ReplayId, result: Result<(), ReplayError>) {
        let Some(replay) = self.replays.iter_mut().find(|replay| replay.id() == id) else { return };
        replay.starved = false;
        match result {
            Ok(()) => {}
            Err(ReplayError::Log(ReadError::Trimmed { oldest, .. })) => replay.lose_to(oldest),
            Err(ReplayError::Log(error @ ReadError::Damaged { .. })) => {
                self.end_replay(id, ReplayState::Failed { reason: error.to_string() });
            }
            Err(ReplayError::Log(error @ ReadError::Io { .. })) => {
                tracing::warn!(subscription = self.spec.name, %error, "a replay cannot read the log; trying again");
                replay.again_at = Some(Instant::now() + READ_RETRY_WAIT);
            }
            Err(ReplayError::State(error)) => {
                tracing::warn!(subscription = self.spec.name, %error, "a redrive cannot read dead letters; trying again");
                replay.again_at = Some(Instant::now() + READ_RETRY_WAIT);
            }
        }
    }

    /// Ends a replay early; what is on its way ends by itself. False when there is none of that number.
    pub(super) fn end_replay(&mut self, id: ReplayId, state: ReplayState) -> bool {
        let Some(index) = self.replays.iter().position(|replay| replay.id() == id) else { return false };
        let mut replay = self.replays.remove(index);
        tracing::info!(subscription = self.spec.name, replay = id.0, state = state.name(), "a replay ended");
        replay.record.progress.state = state;
        replay.record.progress.finished_at_micros = Some(self.clock.now_micros());
        self.checkpointer.unsaved.replay(id, replay.progress());
        true
    }

    fn end_replays_that_are_over(&mut self) {
        let ends = |replay: &Replay| replay.failed.is_some() || replay.is_over();
        while let Some(replay) = self.replays.iter().find(|replay| ends(replay)) {
            let state = match &replay.failed {
                Some(reason) => ReplayState::Failed { reason: reason.clone() },
                None => ReplayState::Done,
            };
            self.end_replay(replay.id(), state);
        }
    }
}
