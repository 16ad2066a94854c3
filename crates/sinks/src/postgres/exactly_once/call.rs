//! One call of the sink: each delivery is found its line in the table of `mod.rs`.

use tokio::time::Instant;

use super::State;
use super::gaps::Ranges;
use super::ledger::Ledger;
use super::session::{Cursor, Known, Session, Step};
use crate::bisect::Bisection;
use crate::postgres::Target;
use crate::postgres::failure::Failure;
use crate::{BatchFailure, Delivery, Outcome, Purpose};

/// Ranges in one row of skipped offsets: a few KB.
const SKIPPED_RANGES_A_ROW: usize = 256;
/// How much of a reason is kept in the database.
const REASON_CHARS: usize = 500;

/// One call of the sink.
pub(super) struct Call<'a> {
    pub(super) target: &'a Target,
    pub(super) ledger: &'a Ledger,
    pub(super) state: &'a mut State,
    pub(super) session: Option<Session>,
    pub(super) deadline: Instant,
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

impl Run {
    fn of(batch: &[Delivery], next_offset: u64) -> Self {
        let Some(first) = batch.first() else { return Self::Fresh(0) };
        if first.purpose == Purpose::Replay {
            return Self::Replayed(batch.iter().take_while(|it| it.purpose == Purpose::Replay).count());
        }
        // Only as far as offsets rise: what is known of one would not be true of its repetition.
        let is_seen = |delivery: &Delivery| delivery.event.offset() < next_offset;
        let pairs = batch.iter().zip(&batch[1..]).take_while(|(one, next)| {
            let rises = one.event.offset() < next.event.offset();
            rises && next.purpose != Purpose::Replay && is_seen(next) == is_seen(first)
        });
        let count = 1 + pairs.count();
        if is_seen(first) { Self::Seen(count) } else { Self::Fresh(count) }
    }
}

impl Call<'_> {
    /// The outcome of each delivery, in their order.
    pub(super) async fn deliver(&mut self, batch: &[Delivery]) -> Vec<Outcome> {
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
    fn begin(&mut self) -> Result<(Cursor, Session), Failure> {
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
