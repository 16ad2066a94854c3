//! Models in memory of all that a dispatcher touches, for tests: a log, a store that forgets what was not saved, and a
//! sink that does as it is told.

#![expect(clippy::cast_possible_truncation, reason = "offsets in tests are small")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use eventrelay_event::{Event, StoredEvent, Tenant};
use eventrelay_log::{Damage, DamageKind, ReadError, Record};
use eventrelay_sinks::{Attempt, BatchLimit, BoxFuture, DeadLetterCopy, Delivery, Outcome, Purpose, Sink};
use eventrelay_state::{
    Checkpoint, DeadLetter, Lifecycle, Position, Progress, ReplayId, ReplayProgress, Retrying, StateError,
    SubscriptionId,
};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::event_log::{EventLog, RecordRun};
use crate::store::Store;

/// Records of this many offsets are read together.
const RUN_RECORDS: usize = 16;

/// Tells that something has happened that a test may wait for.
pub(crate) struct Activity(watch::Sender<u64>);

impl Activity {
    pub(crate) fn new() -> Self {
        Self(watch::channel(0).0)
    }

    fn happened(&self) {
        self.0.send_modify(|count| *count += 1);
    }

    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }
}

pub(crate) struct MemoryLog {
    records: Mutex<Vec<Record>>,
    durable: watch::Sender<u64>,
    oldest: AtomicU64,
    /// Whether reads are served from memory, or as from a disk.
    pub(crate) cached: AtomicBool,
    pub(crate) damaged_at: AtomicU64,
    pub(crate) refuse_reads: AtomicBool,
    pub(crate) gap: Mutex<Option<(u64, u64)>>,
    pub(crate) needed: AtomicU64,
    /// How often it was read.
    pub(crate) reads: AtomicUsize,
}

struct MemoryRun(Vec<Record>, u64);

impl RecordRun for MemoryRun {
    fn end_offset(&self) -> u64 {
        self.1
    }

    fn append_time_micros(&self) -> u64 {
        self.0.first().map_or(1, |record| record.append_time_micros)
    }

    fn memory_bytes(&self) -> usize {
        self.0.iter().map(|record| record.payload.len()).sum()
    }

    fn copy_records(&self, offset: u64, limit: usize, into: &mut VecDeque<Record>) {
        into.extend(self.0.iter().filter(|record| record.offset >= offset).take(limit).cloned());
    }
}

impl MemoryLog {
    pub(crate) fn new() -> Self {
        Self {
            records: Mutex::default(),
            durable: watch::channel(0).0,
            oldest: AtomicU64::new(0),
            cached: AtomicBool::new(true),
            damaged_at: AtomicU64::new(u64::MAX),
            refuse_reads: AtomicBool::new(false),
            gap: Mutex::default(),
            needed: AtomicU64::new(0),
            reads: AtomicUsize::new(0),
        }
    }

    pub(crate) fn append(&self, event: &Event) {
        let mut bytes = Vec::new();
        StoredEvent::encode(event, &mut bytes);
        self.append_bytes(bytes.into());
    }

    pub(crate) fn append_bytes(&self, payload: Bytes) {
        let mut records = self.records.lock().unwrap();
        let offset = records.len() as u64;
        records.push(Record { offset, append_time_micros: 1_000_000 + offset, key: None, payload });
        self.durable.send_replace(offset + 1);
    }

    /// Adds events of type `t`, with keys in turn where there are any.
    pub(crate) fn append_many(&self, count: usize, keys: &[&str]) {
        for n in 0..count {
            let key = (!keys.is_empty()).then(|| keys[n % keys.len()]);
            self.append(&event("t", key));
        }
    }

    pub(crate) fn trim(&self, oldest: u64) {
        self.oldest.store(oldest, Ordering::Relaxed);
    }

    pub(crate) fn payload(&self, offset: u64) -> Bytes {
        self.records.lock().unwrap()[offset as usize].payload.clone()
    }

    fn run(&self, offset: u64) -> Result<Option<Box<dyn RecordRun>>, ReadError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let oldest = self.oldest.load(Ordering::Relaxed);
        if offset < oldest {
            return Err(ReadError::Trimmed { offset, oldest });
        }
        if self.refuse_reads.load(Ordering::Relaxed) {
            let error = std::io::Error::other("too many open files").into();
            return Err(ReadError::Io { path: PathBuf::from("segment"), error });
        }
        let damaged_at = self.damaged_at.load(Ordering::Relaxed);
        if offset == damaged_at {
            let kind = DamageKind::Frame;
            return Err(Damage { segment: PathBuf::from("segment"), position: 4096, offset, kind }.into());
        }
        let gap = *self.gap.lock().unwrap();
        if let Some((start, end)) = gap.filter(|(start, end)| (*start..*end).contains(&offset)) {
            assert!(start <= offset);
            return Ok(Some(Box::new(MemoryRun(Vec::new(), end))));
        }
        let records = self.records.lock().unwrap();
        let start = offset as usize / RUN_RECORDS * RUN_RECORDS;
        let gap_start = gap.filter(|(start, _)| offset < *start).map_or(u64::MAX, |(start, _)| start);
        let end = records.len().min(start + RUN_RECORDS).min(damaged_at.min(gap_start) as usize);
        if offset as usize >= records.len() {
            return Ok(None);
        }
        Ok(Some(Box::new(MemoryRun(records[start..end].to_vec(), end as u64))))
    }
}

impl EventLog for MemoryLog {
    fn oldest_offset(&self) -> u64 {
        self.oldest.load(Ordering::Relaxed)
    }

    fn durable_offset(&self) -> u64 {
        *self.durable.borrow()
    }

    fn watch_durable_offset(&self) -> watch::Receiver<u64> {
        self.durable.subscribe()
    }

    fn read_cached(&self, offset: u64) -> Option<Box<dyn RecordRun>> {
        if self.cached.load(Ordering::Relaxed) { self.run(offset).ok().flatten() } else { None }
    }

    fn read(&self, offset: u64) -> Result<Option<Box<dyn RecordRun>>, ReadError> {
        self.run(offset)
    }

    fn seek_time(&self, micros: u64) -> Result<u64, ReadError> {
        let records = self.records.lock().unwrap();
        Ok(records.partition_point(|record| record.append_time_micros < micros) as u64)
    }

    fn set_needed_offset(&self, offset: u64) {
        self.needed.store(offset, Ordering::Relaxed);
    }
}

pub(crate) fn event(event_type: &str, key: Option<&str>) -> Event {
    Event {
        key: key.map(str::to_owned),
        ..Event::new(Tenant::default(), event_type.to_owned(), "/test".to_owned())
    }
}

/// What is durable of one subscription.
#[derive(Debug, Clone)]
pub(crate) struct Durable {
    pub(crate) progress: Progress,
    pub(crate) retrying: BTreeMap<u64, Retrying>,
    pub(crate) dead_letters: BTreeMap<u64, DeadLetter>,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) replays: BTreeMap<ReplayId, ReplayProgress>,
    pub(crate) saves: usize,
}

pub(crate) struct MemoryStore {
    durable: std::sync::Arc<Mutex<Durable>>,
    pub(crate) full: std::sync::Arc<AtomicBool>,
    /// A seek was asked for: the cursor may go back.
    pub(crate) allow_seek: std::sync::Arc<AtomicBool>,
    pub(crate) activity: std::sync::Arc<Activity>,
}

impl MemoryStore {
    pub(crate) fn new(cursor: u64, activity: std::sync::Arc<Activity>) -> Self {
        let durable = Durable {
            progress: Progress::new(cursor),
            retrying: BTreeMap::new(),
            dead_letters: BTreeMap::new(),
            lifecycle: Lifecycle::Enabled,
            replays: BTreeMap::new(),
            saves: 0,
        };
        let allow_seek = AtomicBool::new(false).into();
        Self {
            durable: Mutex::new(durable).into(),
            full: AtomicBool::new(false).into(),
            allow_seek,
            activity,
        }
    }

    pub(crate) fn durable(&self) -> Durable {
        self.durable.lock().unwrap().clone()
    }

    pub(crate) fn position(&self) -> Position {
        let durable = self.durable();
        Position { progress: durable.progress, retrying: durable.retrying.into_values().collect() }
    }
}

impl Store for MemoryStore {
    /// Takes a moment, and counts only at its end: a crash before it forgets everything.
    fn save(&self, checkpoint: Checkpoint) -> BoxFuture<'static, Result<(), StateError>> {
        let (durable, full) = (self.durable.clone(), self.full.clone());
        let (activity, allow_seek) = (self.activity.clone(), self.allow_seek.clone());
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(2)).await;
            if full.load(Ordering::Relaxed) {
                return Err(StateError::DiskFull);
            }
            let mut durable = durable.lock().unwrap();
            let goes_back = checkpoint.progress.cursor() < durable.progress.cursor();
            assert!(
                !goes_back || allow_seek.load(Ordering::Relaxed),
                "a cursor goes back only when it is told to"
            );
            durable.progress = checkpoint.progress;
            for offset in checkpoint.no_longer_retrying {
                durable.retrying.remove(&offset);
            }
            durable.retrying.extend(checkpoint.retrying.into_iter().map(|row| (row.offset, row)));
            for offset in checkpoint.no_longer_dead {
                durable.dead_letters.remove(&offset);
            }
            durable.replays.extend(checkpoint.replays);
            for mut letter in checkpoint.dead_letters {
                if let Some(before) = durable.dead_letters.get(&letter.offset) {
                    letter.event = letter.event.or_else(|| before.event.clone());
                    letter.append_time_micros = letter.append_time_micros.or(before.append_time_micros);
                }
                durable.dead_letters.insert(letter.offset, letter);
            }
            match (&durable.lifecycle, checkpoint.lifecycle) {
                (Lifecycle::Enabled, Some(found @ Lifecycle::Disabled { .. }))
                | (Lifecycle::Disabled { .. }, Some(found @ Lifecycle::Enabled)) => durable.lifecycle = found,
                _ => {}
            }
            durable.saves += 1;
            drop(durable);
            activity.happened();
            Ok(())
        })
    }

    fn dead_letters(
        &self,
        _: SubscriptionId,
        from: u64,
        limit: u32,
    ) -> BoxFuture<'static, Result<Vec<DeadLetter>, StateError>> {
        let durable = self.durable.clone();
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let durable = durable.lock().unwrap();
            Ok(durable
                .dead_letters
                .range(from..)
                .take(limit as usize)
                .map(|(_, letter)| letter.clone())
                .collect())
        })
    }
}

/// What the sink does with an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Deliver,
    DeliverAfter(Duration),
    Retry,
    RetryAfter(Duration),
    Reject,
    Gone,
    Panic,
    Hang,
}

/// One event in one call of the sink.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) offset: u64,
    pub(crate) attempt: u32,
    pub(crate) purpose: Purpose,
    pub(crate) at: Instant,
    pub(crate) delivered: bool,
    /// Calls on their way when this one began, itself included.
    pub(crate) calls_at_once: usize,
    /// Events in the call.
    pub(crate) batch: usize,
}

type Script = Box<dyn Fn(&Delivery) -> Step + Send + Sync>;

pub(crate) struct ScriptedSink {
    pub(crate) script: Mutex<Script>,
    seen: Mutex<Vec<Seen>>,
    calls_at_once: AtomicUsize,
    batch_events: usize,
    activity: std::sync::Arc<Activity>,
    pub(crate) closed: AtomicBool,
    /// What it does with copies of dead letters; none keeps none.
    pub(crate) copying: Mutex<Option<Copying>>,
    /// The offsets of the copies that it was given, with whether it took them.
    copies: Mutex<Vec<(u64, bool)>>,
}

/// What the sink does with copies of dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Copying {
    Take,
    Refuse,
    Hang,
}

impl ScriptedSink {
    pub(crate) fn new(
        batch_events: usize,
        activity: std::sync::Arc<Activity>,
        script: impl Fn(&Delivery) -> Step + Send + Sync + 'static,
    ) -> Self {
        Self {
            script: Mutex::new(Box::new(script)),
            seen: Mutex::default(),
            calls_at_once: AtomicUsize::new(0),
            batch_events,
            activity,
            closed: AtomicBool::new(false),
            copying: Mutex::default(),
            copies: Mutex::default(),
        }
    }

    /// The copies of dead letters that it has taken.
    pub(crate) fn copies_taken(&self) -> Vec<u64> {
        self.copies.lock().unwrap().iter().filter(|(_, taken)| *taken).map(|(offset, _)| *offset).collect()
    }

    /// How many copies it was given, taken or not.
    pub(crate) fn copies_seen(&self) -> usize {
        self.copies.lock().unwrap().len()
    }

    pub(crate) fn become_(&self, script: impl Fn(&Delivery) -> Step + Send + Sync + 'static) {
        *self.script.lock().unwrap() = Box::new(script);
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn delivered(&self) -> BTreeSet<u64> {
        self.seen.lock().unwrap().iter().filter(|seen| seen.delivered).map(|seen| seen.offset).collect()
    }

    /// The offsets in the order of their first successful delivery.
    pub(crate) fn first_deliveries(&self) -> Vec<u64> {
        let mut known = BTreeSet::new();
        let seen = self.seen();
        seen.iter()
            .filter(|seen| seen.delivered && known.insert(seen.offset))
            .map(|seen| seen.offset)
            .collect()
    }

    async fn answer(&self, batch: &[Delivery]) -> Vec<Attempt> {
        let calls_at_once = self.calls_at_once.fetch_add(1, Ordering::Relaxed) + 1;
        let _leave = Leave(&self.calls_at_once);
        let mut attempts = Vec::new();
        for delivery in batch {
            let step = (self.script.lock().unwrap())(delivery);
            let at = Instant::now();
            let outcome = self.act(step).await;
            let delivered = outcome == Outcome::Delivered;
            let (offset, attempt) = (delivery.event.offset(), delivery.attempt);
            let purpose = delivery.purpose;
            let seen = Seen { offset, attempt, purpose, at, delivered, calls_at_once, batch: batch.len() };
            self.seen.lock().unwrap().push(seen);
            self.activity.happened();
            attempts.push(Attempt {
                outcome,
                started: SystemTime::now(),
                took: at.elapsed(),
                response: None,
                exchange: None,
            });
        }
        attempts
    }

    async fn act(&self, step: Step) -> Outcome {
        let why = "as told".to_owned();
        match step {
            Step::Deliver => Outcome::Delivered,
            Step::DeliverAfter(wait) => {
                tokio::time::sleep(wait).await;
                Outcome::Delivered
            }
            Step::Retry => Outcome::Retry { after: None, why },
            Step::RetryAfter(wait) => Outcome::Retry { after: Some(wait), why },
            Step::Reject => Outcome::Reject { why },
            Step::Gone => Outcome::Gone { why },
            Step::Panic => {
                self.activity.happened();
                std::panic::resume_unwind(Box::new("as told"))
            }
            Step::Hang => {
                self.activity.happened();
                std::future::pending().await
            }
        }
    }
}

struct Leave<'a>(&'a AtomicUsize);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Sink for ScriptedSink {
    fn kind(&self) -> &'static str {
        "scripted"
    }

    fn batch_limit(&self) -> BatchLimit {
        BatchLimit { events: self.batch_events, bytes: 1 << 20 }
    }

    fn deliver<'a>(&'a self, batch: &'a [Delivery]) -> BoxFuture<'a, Vec<Attempt>> {
        Box::pin(self.answer(batch))
    }

    fn keeps_order_within_batch(&self) -> bool {
        false
    }

    fn takes_dead_letters(&self) -> bool {
        self.copying.lock().unwrap().is_some()
    }

    fn dead_letters<'a>(&'a self, letters: &'a [DeadLetterCopy]) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async {
            let copying = *self.copying.lock().unwrap();
            let taken = copying == Some(Copying::Take);
            self.copies.lock().unwrap().extend(letters.iter().map(|letter| (letter.event.offset(), taken)));
            self.activity.happened();
            match copying {
                Some(Copying::Take) | None => Ok(()),
                Some(Copying::Refuse) => Err("as told".to_owned()),
                Some(Copying::Hang) => std::future::pending().await,
            }
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.closed.store(true, Ordering::Relaxed);
        Box::pin(async {})
    }
}
