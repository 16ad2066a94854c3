//! Finds the events that a target refuses, where it refuses a batch as a whole.
//!
//! A batch that is refused is halved, and each half sent by itself, in order, until what is refused is one event. So one
//! poison event among n costs about 2 log₂ n calls, and its neighbours are delivered.

use std::ops::Range;
use std::time::Duration;

use crate::{Delivery, Outcome};

/// Why a batch was not delivered; none of it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BatchFailure {
    /// The target can take nothing now.
    Unavailable {
        /// What it asks us to wait.
        after: Option<Duration>,
        why: String,
    },
    /// It can, but not these events; which of them is not known.
    Refused { why: String },
}

/// Delivers a batch by calls that succeed or fail as a whole. Gives the outcome of each delivery, in their order.
#[allow(dead_code)]
pub(crate) async fn bisect(
    batch: &[Delivery],
    mut send: impl AsyncFnMut(&[Delivery]) -> Result<(), BatchFailure>,
) -> Vec<Outcome> {
    let mut bisection = Bisection::new(batch);
    while let Some(part) = bisection.next() {
        let result = send(part).await;
        bisection.answer(result);
    }
    bisection.into_outcomes()
}

/// The same without the calls, for a caller whose calls borrow what a closure cannot lend: [`Bisection::next`] is what to
/// send, and [`Bisection::answer`] what came of it, by turns.
pub(crate) struct Bisection<'a> {
    batch: &'a [Delivery],
    /// The ranges that are yet to be sent, the next one last.
    waiting: Vec<Range<usize>>,
    /// What is being sent.
    sent: Range<usize>,
    outcomes: Vec<Outcome>,
}

impl<'a> Bisection<'a> {
    pub(crate) fn new(batch: &'a [Delivery]) -> Self {
        let waiting = std::iter::once(0..batch.len()).collect();
        Self { batch, waiting, sent: 0..0, outcomes: Vec::with_capacity(batch.len()) }
    }

    /// What is to be sent; none when all have their outcomes.
    pub(crate) fn next(&mut self) -> Option<&'a [Delivery]> {
        self.sent = self.waiting.pop().filter(|range| !range.is_empty())?;
        Some(&self.batch[self.sent.clone()])
    }

    /// Takes what came of it.
    pub(crate) fn answer(&mut self, result: Result<(), BatchFailure>) {
        let range = std::mem::replace(&mut self.sent, 0..0);
        match result {
            Ok(()) => self.outcomes.extend(range.map(|_| Outcome::Delivered)),
            Err(BatchFailure::Refused { why }) if range.len() == 1 => {
                self.outcomes.push(Outcome::Reject { why });
            }
            Err(BatchFailure::Refused { .. }) => {
                let middle = range.start + range.len() / 2;
                self.waiting.push(middle..range.end);
                self.waiting.push(range.start..middle);
            }
            Err(BatchFailure::Unavailable { after, why }) => {
                // Neither it nor what comes behind it, which must not overtake it.
                self.waiting.clear();
                self.outcomes.resize(self.batch.len(), Outcome::Retry { after, why });
            }
        }
    }

    /// The outcome of each delivery, in their order.
    pub(crate) fn into_outcomes(self) -> Vec<Outcome> {
        assert_eq!(self.outcomes.len(), self.batch.len(), "every delivery has an outcome");
        self.outcomes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::delivery;

    fn batch(count: u64) -> Vec<Delivery> {
        (0..count).map(|offset| delivery(offset, b"1")).collect()
    }

    #[tokio::test]
    async fn poison_events_are_refused_alone_and_all_others_delivered_in_their_order() {
        let batch = batch(100);
        let poison = [0, 41, 42, 99];
        let (mut sent, mut calls) = (Vec::new(), 0);
        let outcomes = bisect(&batch, async |part: &[Delivery]| {
            calls += 1;
            if part.iter().any(|it| poison.contains(&it.event.offset())) {
                return Err(BatchFailure::Refused { why: "poison".to_owned() });
            }
            sent.extend(part.iter().map(|it| it.event.offset()));
            Ok(())
        })
        .await;
        for (offset, outcome) in outcomes.iter().enumerate() {
            let expected = match poison.contains(&(offset as u64)) {
                true => Outcome::Reject { why: "poison".to_owned() },
                false => Outcome::Delivered,
            };
            assert_eq!(*outcome, expected, "{offset}");
        }
        assert!(sent.is_sorted() && sent.len() == 96);
        assert!(calls < 60, "{calls} calls");
    }

    #[tokio::test]
    async fn when_the_target_goes_away_in_the_middle_nothing_behind_it_is_sent() {
        let batch = batch(8);
        let mut calls = 0;
        let outcomes = bisect(&batch, async |part: &[Delivery]| {
            calls += 1;
            match (part.len(), part[0].event.offset()) {
                (8, _) => Err(BatchFailure::Refused { why: "one of them".to_owned() }),
                (4, 0) => Ok(()),
                _ => Err(BatchFailure::Unavailable { after: None, why: "gone".to_owned() }),
            }
        })
        .await;
        assert!(outcomes[..4].iter().all(|outcome| *outcome == Outcome::Delivered));
        assert!(outcomes[4..].iter().all(|outcome| matches!(outcome, Outcome::Retry { .. })));
        assert_eq!(calls, 3);
    }
}
