//! Exactly once: the subscription's cursor is a row in the database that moves in the transaction that inserts the rows.
//!
//! The invariant, whatever crashes: an event below `next_offset` has its row in the table, unless its offset is in
//! `eventrelay_rejected` or `eventrelay_skipped` (`ledger.rs`). So what is to be done for a delivery is always known:
//!
//! | delivery | the ledger says | what is done | outcome |
//! |---|---|---|---|
//! | live or redrive | at the cursor or above it | row inserted, cursor moved behind it | delivered |
//! | live | below it, rejected | nothing | rejected, with the reason of then |
//! | redrive | below it, rejected | row inserted, no longer rejected | delivered |
//! | live or redrive | below it, skipped | row inserted, no longer skipped | delivered |
//! | live or redrive | below it, neither | nothing, it is there | delivered |
//! | replay | anything | row inserted | delivered |
//!
//! - Each line is one statement, hence one transaction and one round trip. It names the epoch and the revision that this
//!   instance knows of the row; when the row has others, it does nothing (`ownership.rs`).
//! - An event that the database refuses is entered as rejected by the transaction that moves the cursor past it. Were it only
//!   answered, a crash before the dead letter is saved would find the cursor behind it and take it for delivered. The same
//!   goes for an event that was tried in vain and then passed over, which the dispatcher does when it gives one up.
//! - Offsets that the cursor passes without having seen them are entered as skipped: another filter, a transform that failed,
//!   another tenant. So when the subscription is set back, or a database is restored from a backup, exactly what is missing
//!   is inserted.
//! - When no answer comes, the next call makes a new connection and looks at the row, which says whether the transaction
//!   came to be. Should the old one still be under way, one of the two finds the revision changed and does nothing.
//! - A replay is asked for to have rows once more; a replayed delivery that is repeated after a crash inserts again.

mod gaps;
mod ledger;
mod ownership;
mod session;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use self::gaps::Ranges;
use self::ledger::Ledger;
use self::ownership::Ownership;
use self::session::{Known, Session, Step};
use super::Target;
use super::failure::Failure;
use super::identifier::TableName;
use crate::bisect::Bisection;
use crate::{BatchFailure, Delivery, Outcome, Owner, Purpose};

/// Ranges in one row of skipped offsets: a few KB.
const SKIPPED_RANGES_A_ROW: usize = 256;
/// Events in memory that were tried in vain. With strict order there are no more than one batch has.
const UNSETTLED_LIMIT: usize = 100_000;
/// How much of a reason is kept in the database.
const REASON_CHARS: usize = 500;

/// Delivers one subscription's events, one call at a time.
pub(super) struct ExactlyOnce {
    ledger: Ledger,
    state: Mutex<State>,
}

struct State {
    ownership: Ownership,
    /// None while it is in use: a call that is dropped in the middle leaves none behind.
    session: Option<Session>,
    /// Events that were handed to us and are not settled, and why.
    unsettled: BTreeMap<u64, Arc<str>>,
    /// The row that skipped offsets are added to, and how many ranges it has.
    skipped_row: Option<(u64, usize)>,
}

/// One call of the sink.
struct Call<'a> {
    target: &'a Target,
    ledger: &'a Ledger,
    state: &'a mut State,
    session: Option<Session>,
    deadline: Instant,
}

/// The deliveries at the front of a batch that are dealt with alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Run {
    /// At the cursor or above it, in their order.
    Fresh(usize),
    /// Below it.
    Seen(usize),
    /// Asked for once more.
    Replayed(usize),
}

/// What is done with a run.
#[derive(Debug, Clone, Copy)]
enum Work {
    Append,
    InsertMissing,
    InsertAgain,
}

impl ExactlyOnce {
    pub(super) fn new(table: &TableName, owner: &Owner) -> Self {
        let state = State {
            ownership: Ownership::new(),
            session: None,
            unsettled: BTreeMap::new(),
            skipped_row: None,
        };
        Self { ledger: Ledger::new(table, owner), state: Mutex::new(state) }
    }

    /// Delivers a batch. Safe to drop at any await.
    pub(super) async fn deliver(
        &self,
        target: &Target,
        batch: &[Delivery],
        deadline: Instant,
    ) -> Vec<Outcome> {
        let Ok(mut state) = timeout_at(deadline, self.state.lock()).await else {
            let why = "the call before has not ended in time".to_owned();
            return vec![Outcome::Retry { after: None, why }; batch.len()];
        };
        let session = state.session.take().filter(|session| session.connection.is_usable());
        state.expect(batch);
        let mut call = Call { target, ledger: &self.ledger, state: &mut state, session, deadline };
        let outcomes = call.deliver(batch).await;
        let session = call.session.take();
        state.session = session;
        state.take_note(batch, &outcomes);
        outcomes
    }

    /// Whether deliveries would find all that they need, and be allowed to use it.
    pub(super) async fn rehearse(&self, target: &Target, deadline: Instant) -> Result<(), Failure> {
        let session = Session::open(target, &self.ledger, deadline).await?;
        session.rehearse(target, &self.ledger, deadline).await?;
        session.connection.close().await;
        Ok(())
    }

    pub(super) async fn close(&self) {
        let session = self.state.lock().await.session.take();
        if let Some(session) = session {
            session.connection.close().await;
        }
    }
}

impl State {
    /// Until they are settled, these may be given up: also when this call is never answered.
    fn expect(&mut self, batch: &[Delivery]) {
        let why: Arc<str> = Arc::from("it was not answered in time");
        for delivery in batch.iter().filter(|delivery| delivery.purpose != Purpose::Replay) {
            if self.unsettled.len() < UNSETTLED_LIMIT {
                self.unsettled.entry(delivery.event.offset()).or_insert_with(|| Arc::clone(&why));
            }
        }
    }

    /// Keeps why events are to be tried again; all others are settled.
    fn take_note(&mut self, batch: &[Delivery], outcomes: &[Outcome]) {
        let mut last: Option<Arc<str>> = None;
        for (delivery, outcome) in batch.iter().zip(outcomes) {
            let offset = delivery.event.offset();
            match outcome {
                Outcome::Retry { why, .. } => {
                    let why = last.filter(|last| **last == **why).unwrap_or_else(|| Arc::from(why.as_str()));
                    if let Some(known) = self.unsettled.get_mut(&offset) {
                        *known = Arc::clone(&why);
                    }
                    last = Some(why);
                }
                Outcome::Delivered | Outcome::Reject { .. } | Outcome::Gone { .. } => {
                    self.unsettled.remove(&offset);
                }
            }
        }
    }
}

impl Run {
    fn of(batch: &[Delivery], next_offset: u64) -> Self {
        let offset = |delivery: &Delivery| delivery.event.offset();
        let Some(first) = batch.first() else { return Self::Fresh(0) };
        let same = |alike: &dyn Fn(&Delivery) -> bool| batch.iter().take_while(|it| alike(it)).count();
        if first.purpose == Purpose::Replay {
            return Self::Replayed(same(&|it| it.purpose == Purpose::Replay));
        }
        if offset(first) < next_offset {
            return Self::Seen(same(&|it| it.purpose != Purpose::Replay && offset(it) < next_offset));
        }
        let rising = batch
            .windows(2)
            .take_while(|pair| pair[1].purpose != Purpose::Replay && offset(&pair[0]) < offset(&pair[1]));
        Self::Fresh(1 + rising.count())
    }
}

impl Call<'_> {
    async fn deliver(&mut self, batch: &[Delivery]) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(batch.len());
        while outcomes.len() < batch.len() {
            let rest = &batch[outcomes.len()..];
            let cursor = match self.ready().await {
                Ok(next_offset) => next_offset,
                Err(failure) => {
                    outcomes.resize(batch.len(), Outcome::Retry { after: None, why: failure.why() });
                    break;
                }
            };
            outcomes.extend(match Run::of(rest, cursor) {
                Run::Fresh(count) => self.parts(&rest[..count], Work::Append).await,
                Run::Seen(count) => self.repeat(&rest[..count]).await,
                Run::Replayed(count) => self.parts(&rest[..count], Work::InsertAgain).await,
            });
            // What comes behind must not overtake it.
            if let Some(retry @ Outcome::Retry { .. }) = outcomes.last().cloned() {
                outcomes.resize(batch.len(), retry);
            }
        }
        outcomes
    }

    /// Does the work on a run of deliveries, so that those that are refused are found.
    async fn parts(&mut self, run: &[Delivery], work: Work) -> Vec<Outcome> {
        let mut parts = Bisection::new(run);
        while let Some(part) = parts.next() {
            parts.answer(match work {
                Work::Append => self.append(part).await,
                Work::InsertMissing => self.insert_missing(part).await,
                Work::InsertAgain => self.insert_again(part).await,
            });
        }
        parts.into_outcomes()
    }

    /// Makes sure of a session and of the row. Gives the cursor.
    async fn ready(&mut self) -> Result<u64, Failure> {
        if self.state.ownership.is_fenced() {
            return Err(Failure::Fenced);
        }
        if let (Some(_), Some(cursor)) = (&self.session, self.state.ownership.cursor()) {
            return Ok(cursor.next_offset);
        }
        let session = Session::open(self.target, self.ledger, self.deadline).await?;
        self.state.ownership.synchronise(&session, self.ledger, self.deadline).await?;
        self.state.skipped_row = None;
        self.session = Some(session);
        let cursor = self.state.ownership.cursor().ok_or(Failure::Fenced)?;
        self.state.unsettled = self.state.unsettled.split_off(&cursor.next_offset);
        Ok(cursor.next_offset)
    }

    /// Inserts events at the cursor or above it, and moves it behind the last. One that is refused alone is entered as
    /// rejected.
    async fn append(&mut self, part: &[Delivery]) -> Result<(), BatchFailure> {
        let step = self.step(part);
        match self.advance(part, step).await {
            Err(failure) if failure.is_refusal() && part.len() == 1 => {
                let why = failure.why();
                let mut step = self.step(part);
                step.rejected.extend(part.iter().map(|it| (it.event.offset(), shortened(&why))));
                match self.advance(&[], step).await {
                    Ok(()) => Err(BatchFailure::Refused { why }),
                    Err(failure) => Err(BatchFailure::Unavailable { after: None, why: failure.why() }),
                }
            }
            result => result.map_err(|failure| failure.of_batch()),
        }
    }

    /// Where the cursor goes with these events, and what it passes.
    fn step(&self, part: &[Delivery]) -> Step {
        let start = self.state.ownership.cursor().map_or(0, |cursor| cursor.next_offset);
        let next_offset = part.last().map_or(start, |last| last.event.offset() + 1);
        let offsets: Vec<u64> = part.iter().map(|delivery| delivery.event.offset()).collect();
        let passed = self.state.unsettled.range(start..next_offset);
        let given_up: Vec<_> = passed.filter(|(offset, _)| offsets.binary_search(offset).is_err()).collect();
        let mut taken: Vec<u64> =
            offsets.iter().copied().chain(given_up.iter().map(|(offset, _)| **offset)).collect();
        taken.sort_unstable();
        let rejected =
            given_up.into_iter().map(|(&offset, why)| (offset, shortened(&format!("given up: {why}"))));
        let rejected = rejected.collect();
        let skipped = Ranges::gaps(start..next_offset, taken.into_iter());
        let skipped_in = skipped.first().map(|first| match self.state.skipped_row {
            Some((row, ranges)) if ranges + skipped.len() <= SKIPPED_RANGES_A_ROW => row,
            _ => first,
        });
        Step { next_offset, skipped, skipped_in, rejected }
    }

    async fn advance(&mut self, part: &[Delivery], step: Step) -> Result<(), Failure> {
        let (cursor, session) = self.begin()?;
        let moved = session.advance(self.target, self.ledger, cursor, &step, part, self.deadline).await;
        self.end(session, moved, step.next_offset).await?;
        self.state.unsettled = self.state.unsettled.split_off(&step.next_offset);
        if let Some(row) = step.skipped_in {
            let ranges =
                self.state.skipped_row.filter(|(known, _)| *known == row).map_or(0, |(_, ranges)| ranges);
            self.state.skipped_row = Some((row, ranges + step.skipped.len()));
        }
        Ok(())
    }

    /// Deals with events below the cursor: what the ledger says of each.
    async fn repeat(&mut self, run: &[Delivery]) -> Vec<Outcome> {
        let known = match self.look_up(run).await {
            Ok(known) => known,
            Err(failure) => return vec![Outcome::Retry { after: None, why: failure.why() }; run.len()],
        };
        let is_open = |index: usize| {
            let Known { rejected, skipped } = &known[index];
            if rejected.is_some() { run[index].purpose == Purpose::Redrive } else { *skipped }
        };
        let mut outcomes = Vec::with_capacity(run.len());
        while outcomes.len() < run.len() {
            let index = outcomes.len();
            if is_open(index) {
                let count = (index..run.len()).take_while(|&index| is_open(index)).count();
                let open = &run[index..index + count];
                outcomes.extend(self.parts(open, Work::InsertMissing).await);
                if let Some(retry @ Outcome::Retry { .. }) = outcomes.last().cloned() {
                    outcomes.resize(run.len(), retry);
                }
            } else {
                outcomes.push(match &known[index].rejected {
                    Some(why) => Outcome::Reject { why: why.clone() },
                    None => Outcome::Delivered,
                });
            }
        }
        outcomes
    }

    async fn look_up(&mut self, run: &[Delivery]) -> Result<Vec<Known>, Failure> {
        let (_, session) = self.begin()?;
        let known = session.look_up(self.ledger, run, self.deadline).await;
        if known.as_ref().err().is_none_or(Failure::leaves_connection) {
            self.session = Some(session);
        }
        known
    }

    /// Inserts events that the cursor has passed without a row. One that is refused alone is entered as rejected.
    async fn insert_missing(&mut self, part: &[Delivery]) -> Result<(), BatchFailure> {
        match self.fill(part, true).await {
            Err(failure) if failure.is_refusal() && part.len() == 1 => {
                let why = failure.why();
                let rejected = part.iter().map(|it| (it.event.offset(), shortened(&why))).collect();
                let next_offset = self.state.ownership.cursor().map_or(0, |cursor| cursor.next_offset);
                let step = Step { next_offset, rejected, ..Step::default() };
                match self.advance(&[], step).await {
                    Ok(()) => Err(BatchFailure::Refused { why }),
                    Err(failure) => Err(BatchFailure::Unavailable { after: None, why: failure.why() }),
                }
            }
            result => result.map_err(|failure| failure.of_batch()),
        }
    }

    /// Inserts events whether they have rows or not.
    async fn insert_again(&mut self, part: &[Delivery]) -> Result<(), BatchFailure> {
        self.fill(part, false).await.map_err(|failure| failure.of_batch())
    }

    async fn fill(&mut self, part: &[Delivery], free: bool) -> Result<(), Failure> {
        let (cursor, session) = self.begin()?;
        let moved = session.fill(self.target, self.ledger, cursor, free, part, self.deadline).await;
        self.end(session, moved, cursor.next_offset).await
    }

    /// Takes the session out: it comes back once its statement has an answer.
    fn begin(&mut self) -> Result<(session::Cursor, Session), Failure> {
        let session = self.session.take().ok_or_else(|| Failure::lost("the connection is gone"))?;
        let cursor = self.state.ownership.cursor().ok_or(Failure::Fenced)?;
        Ok((cursor, session))
    }

    /// Takes note of a statement's answer. Where the row was not as we know it, nothing was done, and it is looked at.
    async fn end(
        &mut self,
        mut session: Session,
        moved: Result<bool, Failure>,
        next_offset: u64,
    ) -> Result<(), Failure> {
        session.connection.touch();
        match moved {
            Ok(true) => {
                self.state.ownership.moved(next_offset);
                self.session = Some(session);
                Ok(())
            }
            Ok(false) => {
                // Ours, from a connection that was lost; or somebody else's, and then this fails.
                self.state.ownership.synchronise(&session, self.ledger, self.deadline).await?;
                Err(Failure::lost("the cursor in the database had moved; trying again from there"))
            }
            Err(failure) => {
                if failure.leaves_connection() {
                    self.session = Some(session);
                }
                Err(failure)
            }
        }
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(REASON_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::delivery;

    fn batch(offsets: &[u64], purpose: Purpose) -> Vec<Delivery> {
        offsets.iter().map(|&offset| Delivery { purpose, ..delivery(offset, b"1") }).collect()
    }

    #[test]
    fn a_batch_is_taken_in_runs_that_keep_its_order() {
        let mixed = [
            batch(&[3, 4], Purpose::Live),
            batch(&[5, 9], Purpose::Live),
            batch(&[9], Purpose::Live),
            batch(&[12], Purpose::Redrive),
            batch(&[1, 20], Purpose::Replay),
        ]
        .concat();
        assert_eq!(Run::of(&mixed, 5), Run::Seen(2));
        assert_eq!(Run::of(&mixed[2..], 5), Run::Fresh(2));
        // The same offset once more, or a lower one: after the first it lies below the cursor.
        assert_eq!(Run::of(&mixed[4..], 10), Run::Seen(1));
        assert_eq!(Run::of(&mixed[5..], 10), Run::Fresh(1));
        assert_eq!(Run::of(&mixed[6..], 13), Run::Replayed(2));
    }
}
