//! Exactly once: an entry's id is made from the event's offset, on a stream that nobody else writes to.
//!
//! The event at offset 12 becomes the entry `12-0`, and the one at 0 becomes `0-1`, since `0-0` is no id. Redis refuses an id that
//! is not above all that the stream has ever had, so a repetition is refused, and counts as delivered.
//!
//! What is refused may also have been passed without an entry: an event that was rejected or given up while those behind it were
//! appended. So that the two can be told apart after a crash, the transaction that passes such an event notes it (`ledger.rs`).
//!
//! | delivery | its id | what is done | outcome |
//! |---|---|---|---|
//! | live | above the stream's top | appended with it | delivered |
//! | live | passed, not noted | nothing, it is there, or was until it was trimmed | delivered |
//! | live | passed and noted | as a redrive | delivered |
//! | redrive | an entry has it | nothing | delivered |
//! | redrive | no entry has it | appended as `<top>-<next>`, no longer noted | delivered |
//! | replay | anything | appended as `<top>-<next>` | delivered |
//!
//! - What is appended as `<top>-<next>` is at least once: an answer that is lost leaves no trace of what it was about.
//! - A stream belongs to one subscription of one log; its owner stands beside it (`ledger.rs`), and is looked at before the
//!   first write over each connection, and in each transaction. Another subscription is refused, and so is a stream that was
//!   there before and has no owner: its ids are not offsets.
//! - One call at a time; the subscription's order is strict.

mod call;
mod ledger;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use self::call::Call;
pub(super) use self::ledger::Ledger;
use super::publish::{Item, Publisher, Settled, retry};
use crate::{Outcome, Purpose};

/// Events in memory that were tried in vain, of all streams. With strict order there are no more than one batch has.
const UNSETTLED_LIMIT: usize = 100_000;
/// Streams that are known to be ours. Others are looked at again.
const CLAIMS_LIMIT: usize = 10_000;

/// Delivers one subscription's events to streams of its own.
pub(super) struct OwnedStreams {
    ledger: Ledger,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The streams that are ours, as seen when there had been so many connections.
    claims: HashSet<String>,
    connections: u64,
    /// The offsets of each stream that were handed to us and are not settled.
    unsettled: HashMap<String, BTreeSet<u64>>,
    unsettled_count: usize,
}

impl OwnedStreams {
    pub(super) fn new(ledger: Ledger) -> Self {
        Self { ledger, state: Mutex::default() }
    }

    pub(super) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Appends events to their streams. Safe to drop at any await.
    pub(super) async fn append(
        &self,
        publisher: &Publisher,
        items: Vec<Item<'_>>,
        rejected: &[Item<'_>],
        deadline: Instant,
    ) -> Vec<Settled> {
        let Ok(mut state) = timeout_at(deadline, self.state.lock()).await else {
            let why = "the call before has not ended in time";
            return items.iter().map(|item| (item.place, retry(why.to_owned()))).collect();
        };
        for item in items.iter().chain(rejected) {
            state.expect(item);
        }
        let mut by_stream: BTreeMap<String, Vec<Item<'_>>> = BTreeMap::new();
        for item in items {
            by_stream.entry(item.stream.to_string()).or_default().push(item);
        }
        let mut settled = Vec::new();
        for (stream, items) in by_stream {
            let offsets: BTreeMap<_, _> =
                items.iter().map(|item| (item.place, item.delivery.event.offset())).collect();
            let mut call =
                Call { publisher, ledger: &self.ledger, state: &mut state, stream: &stream, deadline };
            let outcomes = call.append(items).await;
            let delivered = outcomes.iter().filter(|(_, outcome)| *outcome == Outcome::Delivered);
            for offset in delivered.filter_map(|(place, _)| offsets.get(place)) {
                state.settle(&stream, *offset);
            }
            settled.extend(outcomes);
        }
        settled
    }
}

impl State {
    /// Until it is delivered, it may be given up: also when this call is never answered.
    fn expect(&mut self, item: &Item<'_>) {
        if item.delivery.purpose == Purpose::Replay || self.unsettled_count >= UNSETTLED_LIMIT {
            return;
        }
        let offsets = self.unsettled.entry(item.stream.to_string()).or_default();
        self.unsettled_count += usize::from(offsets.insert(item.delivery.event.offset()));
    }

    /// It is delivered, or noted as passed.
    fn settle(&mut self, stream: &str, offset: u64) {
        let Some(offsets) = self.unsettled.get_mut(stream) else { return };
        self.unsettled_count -= usize::from(offsets.remove(&offset));
        if offsets.is_empty() {
            self.unsettled.remove(stream);
        }
    }

    /// What was tried in vain below an offset.
    fn unsettled_below(&self, stream: &str, offset: u64) -> BTreeSet<u64> {
        self.unsettled
            .get(stream)
            .map(|offsets| offsets.range(..offset).copied().collect())
            .unwrap_or_default()
    }

    fn is_claimed(&mut self, stream: &str, connections: u64) -> bool {
        if self.connections != connections || self.claims.len() >= CLAIMS_LIMIT {
            self.claims.clear();
            self.connections = connections;
        }
        self.claims.contains(stream)
    }
}
