//! Calls of every kind in a random order, on a directory: whatever happens, each event is in one object in the end.
//!
//! A history is a log that grows, a cursor in it and sinks that come and go. Its steps are what dispatchers, operators and
//! crashes do: batches at the cursor, calls that are dropped, an event that is given up, a restart from an older cursor,
//! redrives of single events, replays of ranges, behind the cursor and ahead of it, beside a live call too. A history that
//! fails says its number and its steps.

use std::sync::Arc;
use std::time::{Duration, Instant};

use eventrelay_event::Event;
use eventrelay_sinks::{Delivery, Purpose, Sink};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;

use crate::broker_events::dropped_after;
use crate::broker_events::{deliver_all, delivery, event};
use crate::stores::Store;

/// New histories are begun for so long.
const TIME: Duration = Duration::from_secs(5);
const MAX_HISTORIES: u64 = 100;
const STEPS: usize = 40;
const MAX_BATCH: u64 = 25;
/// How far a cursor goes back at most.
const MAX_STEP_BACK: u64 = 60;

struct History {
    random: StdRng,
    store: Store,
    sink: Arc<dyn Sink>,
    /// All below were delivered, or given up for a while.
    cursor: u64,
    /// All events at or above were never in a call.
    end: u64,
    /// Those that a call said are delivered.
    delivered: Vec<bool>,
    steps: Vec<String>,
}

impl History {
    fn begin(seed: u64) -> Self {
        let store = Store::local();
        let sink = store.sink(&json!({"path": "k={key}"}));
        let random = StdRng::seed_from_u64(seed);
        Self { random, store, sink, cursor: 0, end: 0, delivered: Vec::new(), steps: Vec::new() }
    }

    async fn step(&mut self) {
        match self.random.random_range(0..12_u32) {
            0..=3 => self.live().await,
            4 | 5 => self.dropped().await,
            6 => self.given_up().await,
            7 => self.restart().await,
            8 => self.redrive().await,
            9 | 10 => self.replay().await,
            _ => self.replay_beside_live().await,
        }
    }

    /// A batch at the cursor; some events are another filter's, or wait to be tried again.
    async fn live(&mut self) {
        let batch = self.batch_at_cursor();
        self.deliver("live", &batch).await;
        self.pass(&batch);
    }

    async fn dropped(&mut self) {
        let batch = self.batch_at_cursor();
        self.drop_on_the_way("dropped", &batch).await;
    }

    /// A call is dropped, and its first event becomes a dead letter for it.
    async fn given_up(&mut self) {
        let batch = self.batch_at_cursor();
        self.drop_on_the_way("given up", &batch).await;
        self.cursor += 1;
    }

    async fn restart(&mut self) {
        let back = self.random.random_range(0..=MAX_STEP_BACK);
        self.cursor = self.cursor.saturating_sub(back);
        let compression = ["none", "gzip", "zstd"][self.random.random_range(0..3_usize)];
        self.steps.push(format!("restart at {} with {compression}", self.cursor));
        self.sink.close().await;
        self.sink = self.store.sink(&json!({"path": "k={key}", "compression": compression}));
    }

    async fn redrive(&mut self) {
        let offset = self.random.random_range(0..self.end.max(1));
        self.deliver("redrive", &with(Purpose::Redrive, vec![of(offset)])).await;
    }

    async fn replay(&mut self) {
        let batch = self.range_anywhere();
        if self.random.random_bool(0.3) {
            self.drop_on_the_way("dropped replay", &batch).await;
        } else {
            self.deliver("replay", &batch).await;
        }
    }

    async fn replay_beside_live(&mut self) {
        let (live, replay) = (self.batch_at_cursor(), self.range_anywhere());
        self.note("live beside", &live);
        self.note("replay", &replay);
        tokio::join!(deliver_all(&self.sink, &live), deliver_all(&self.sink, &replay));
        self.mark(&replay);
        self.mark(&live);
        self.pass(&live);
    }

    fn batch_at_cursor(&mut self) -> Vec<Delivery> {
        let count = self.random.random_range(1..=MAX_BATCH);
        let left_out = self.random.random_range(0..4_u32);
        let first = self.cursor;
        let random = &mut self.random;
        (first..first + count)
            .filter(|offset| *offset == first || left_out > 0 || random.random_bool(0.7))
            .map(of)
            .collect()
    }

    /// Behind the cursor, about it, or ahead of it.
    fn range_anywhere(&mut self) -> Vec<Delivery> {
        let first = self.random.random_range(0..=self.cursor + 2 * MAX_BATCH);
        let count = self.random.random_range(1..=MAX_BATCH);
        with(Purpose::Replay, (first..first + count).map(of).collect())
    }

    async fn deliver(&mut self, what: &str, batch: &[Delivery]) {
        self.note(what, batch);
        deliver_all(&self.sink, batch).await;
        self.mark(batch);
    }

    async fn drop_on_the_way(&mut self, what: &str, batch: &[Delivery]) {
        let waits = self.random.random_range(1..12_usize);
        self.note(&format!("{what} after {waits} waits"), batch);
        // Where it came to its end, nobody heard of it.
        dropped_after(waits, self.sink.deliver(batch)).await;
    }

    fn note(&mut self, what: &str, batch: &[Delivery]) {
        let offsets: Vec<_> = batch.iter().map(|delivery| delivery.event.offset()).collect();
        self.steps.push(format!("{what}: {offsets:?}"));
        self.end = self.end.max(offsets.last().map_or(0, |last| last + 1));
        self.delivered.resize(usize::try_from(self.end).unwrap(), false);
    }

    fn mark(&mut self, batch: &[Delivery]) {
        for delivery in batch {
            self.delivered[usize::try_from(delivery.event.offset()).unwrap()] = true;
        }
    }

    fn pass(&mut self, batch: &[Delivery]) {
        self.cursor = batch.last().unwrap().event.offset() + 1;
    }

    /// What was said to be delivered is there, and nothing is there twice.
    fn check(&self, seed: u64) {
        let offsets = self.store.offsets();
        let told = || format!("history {seed}:\n{}\n{offsets:?}", self.steps.join("\n"));
        assert!(offsets.is_sorted_by(|one, next| one < next), "an event is there twice: {}", told());
        let lost = (0..)
            .zip(&self.delivered)
            .find(|(offset, delivered)| **delivered && offsets.binary_search(offset).is_err());
        assert!(lost.is_none(), "{lost:?} was lost: {}", told());
    }
}

/// The event at an offset: one of three folders'.
fn of(offset: u64) -> Delivery {
    let key = Some((offset * 7 % 3).to_string());
    delivery(offset, &Event { key, ..event("order.created", offset) })
}

fn with(purpose: Purpose, batch: Vec<Delivery>) -> Vec<Delivery> {
    batch.into_iter().map(|delivery| Delivery { purpose, ..delivery }).collect()
}

#[tokio::test]
async fn each_event_is_in_one_object_after_every_history() {
    let began = Instant::now();
    for seed in 0..MAX_HISTORIES {
        let mut history = History::begin(seed);
        for step in 0..STEPS {
            history.step().await;
            if step % 10 == 9 {
                history.check(seed);
            }
        }
        history.restart().await;
        let all: Vec<_> = (0..history.end).map(of).collect();
        history.deliver("all", &all).await;
        history.check(seed);
        if began.elapsed() > TIME {
            break;
        }
    }
}
