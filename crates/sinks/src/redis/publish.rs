//! Appends a batch to its streams, with ids that Redis chooses.
//!
//! All of a batch goes in one transaction; on a cluster, which has no transactions over several slots, one for each slot, side by
//! side. What one event is refused for is that event's outcome alone:
//!
//! | refused | neighbours |
//! |---|---|
//! | when it was its turn (`WRONGTYPE`) | were appended by the same transaction |
//! | before (`NOPERM`) | are sent once more without it, since the transaction was discarded |

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use redis::{Cmd, Value};
use tokio::time::Instant;

use super::connection::LEAST_ARGUMENT_BYTES;
use super::entry::{self, EntryTemplate};
use super::exchange::Exchange;
use super::nodes::Nodes;
use super::reply::{Meaning, ServerWord};
use super::slot::slot;
use super::transaction::{Executed, Transaction};
use crate::{DeadLetterCopy, Delivery, Outcome};

/// An event on its way to a stream.
#[derive(Debug)]
pub(super) struct Item<'a> {
    /// Its place in the batch.
    pub(super) place: usize,
    pub(super) delivery: &'a Delivery,
    pub(super) stream: Cow<'a, str>,
}

/// What came of the event at a place.
pub(super) type Settled = (usize, Outcome);

/// A batch, looked through.
pub(super) struct Prepared<'a> {
    pub(super) items: Vec<Item<'a>>,
    /// What has a stream and can never be sent; it is among the settled.
    pub(super) rejected: Vec<Item<'a>>,
    pub(super) settled: Vec<Settled>,
}

/// What batches are written with.
pub(super) struct Publisher {
    pub(super) template: EntryTemplate,
    pub(super) group: Option<String>,
    pub(super) nodes: Nodes,
    pub(super) replicas: u8,
}

impl Publisher {
    pub(super) fn exchange(&self, deadline: Instant) -> Exchange<'_> {
        Exchange { nodes: &self.nodes, replicas: self.replicas, deadline }
    }

    /// The slot of a key; one and the same without a cluster.
    pub(super) fn slot(&self, key: &str) -> u16 {
        if self.nodes.has_slots() { slot(key.as_bytes()) } else { 0 }
    }

    /// Finds each event's stream, and looks whether it can be sent at all.
    pub(super) async fn prepare<'a>(&'a self, batch: &'a [Delivery], deadline: Instant) -> Prepared<'a> {
        let mut prepared =
            Prepared { items: Vec::with_capacity(batch.len()), rejected: Vec::new(), settled: Vec::new() };
        for (place, delivery) in batch.iter().enumerate() {
            let stream = match self.template.stream(&delivery.event) {
                Ok(stream) => stream,
                Err(why) => {
                    prepared.settled.push((place, Outcome::Reject { why }));
                    continue;
                }
            };
            let item = Item { place, delivery, stream };
            match self.fits(&item, deadline).await {
                Ok(None) => prepared.items.push(item),
                Ok(Some(why)) => {
                    prepared.settled.push((place, Outcome::Reject { why }));
                    prepared.rejected.push(item);
                }
                // Nobody can be asked, so nothing behind it goes either.
                Err(why) => {
                    let rest = (place..batch.len()).map(|place| (place, retry(why.clone())));
                    prepared.settled.extend(rest);
                    break;
                }
            }
        }
        prepared
    }

    /// Looks whether Redis takes an argument that large, for it ends the connection of who sends a larger one. Gives why not;
    /// an error is why that is not known.
    async fn fits(&self, item: &Item<'_>, deadline: Instant) -> Result<Option<String>, String> {
        let bytes = entry::largest_argument_bytes(&item.delivery.event);
        if bytes <= LEAST_ARGUMENT_BYTES {
            return Ok(None);
        }
        let limit = async {
            let node = self.nodes.node_of(self.slot(&item.stream), deadline).await;
            let node = node.map_err(|failure| failure.to_string())?;
            let connection = self.nodes.connection(&node).await.map_err(|failure| failure.to_string())?;
            let suspect = node.suspect(&connection);
            let limit = connection.argument_bytes(deadline).await.map_err(|error| error.to_string())?;
            suspect.acquit();
            Ok::<_, String>(limit)
        };
        let limit = tokio::time::timeout_at(deadline, limit).await;
        let limit = limit
            .unwrap_or_else(|_elapsed| Err("Redis could not be asked for its limits in time".to_owned()))?;
        let too_many =
            format!("its data has {bytes} bytes, more than Redis takes (proto-max-bulk-len is {limit})");
        Ok((bytes > limit).then_some(too_many))
    }

    /// Appends events to their streams.
    pub(super) async fn append(&self, items: Vec<Item<'_>>, deadline: Instant) -> Vec<Settled> {
        let mut by_slot: BTreeMap<u16, Vec<Item<'_>>> = BTreeMap::new();
        for item in items {
            by_slot.entry(self.slot(&item.stream)).or_default().push(item);
        }
        let appending = by_slot.into_iter().map(|(slot, items)| self.append_to_slot(slot, items, deadline));
        join_all(appending).await.into_iter().flatten().collect()
    }

    async fn append_to_slot(&self, slot: u16, mut items: Vec<Item<'_>>, deadline: Instant) -> Vec<Settled> {
        let exchange = self.exchange(deadline);
        let mut settled = Vec::with_capacity(items.len());
        while !items.is_empty() {
            let before = self.groups(&items).len();
            let executed = exchange.run(slot, || {
                let mut transaction = Transaction::with_capacity(items.len() + before);
                for command in self.groups(&items) {
                    transaction.push(command);
                }
                for item in &items {
                    transaction.push(self.template.append(item.delivery, &item.stream, "*"));
                }
                transaction
            });
            let refused = match executed.await {
                Ok(Executed::Done(answers)) => {
                    let outcomes = answers.into_iter().skip(before).map(outcome);
                    settled.extend(items.iter().map(|item| item.place).zip(outcomes));
                    return settled;
                }
                Ok(Executed::Discarded { refused, word }) => {
                    if let Some(why) = not_about_one(before, &refused, &word) {
                        settled.extend(items.iter().map(|item| (item.place, retry(why.clone()))));
                        return settled;
                    }
                    refused
                }
                Ok(Executed::TooFewReplicas(count)) => {
                    let why = self.too_few_replicas(count);
                    settled.extend(items.iter().map(|item| (item.place, retry(why.clone()))));
                    return settled;
                }
                Err(why) => {
                    settled.extend(items.iter().map(|item| (item.place, retry(why.clone()))));
                    return settled;
                }
            };
            let mut refused: BTreeMap<usize, ServerWord> = refused.into_iter().collect();
            let mut place_in_transaction = before;
            items.retain(|item| {
                let word = refused.remove(&place_in_transaction);
                place_in_transaction += 1;
                let is_left = word.is_none();
                settled.extend(word.map(|word| (item.place, outcome(Err(word)))));
                is_left
            });
        }
        settled
    }

    /// Commands that make the consumer group on each stream where it is missing. Where it is there, they answer with an error
    /// that says so, and change nothing.
    pub(super) fn groups(&self, items: &[Item<'_>]) -> Vec<Cmd> {
        let Some(group) = &self.group else { return Vec::new() };
        let streams: BTreeSet<&str> = items.iter().map(|item| &*item.stream).collect();
        let create = |stream| {
            let mut command = redis::cmd("XGROUP");
            command.arg("CREATE").arg(stream).arg(group).arg("0").arg("MKSTREAM");
            command
        };
        streams.into_iter().map(create).collect()
    }

    pub(super) fn too_few_replicas(&self, count: i64) -> String {
        format!("only {count} of {} replicas have it in time", self.replicas)
    }

    /// Appends copies of dead letters to their stream. An error is why they are to be given once more, perhaps all of them.
    pub(super) async fn append_dead_letters(
        &self,
        letters: &[DeadLetterCopy],
        deadline: Instant,
    ) -> Result<(), String> {
        let mut by_slot: BTreeMap<u16, Vec<(&DeadLetterCopy, Cow<'_, str>)>> = BTreeMap::new();
        for letter in letters {
            match self.template.dead_letter_stream(&letter.event) {
                Ok(stream) => by_slot.entry(self.slot(&stream)).or_default().push((letter, stream)),
                // No later try would find one.
                Err(why) => {
                    tracing::warn!(
                        offset = letter.event.offset(),
                        why,
                        "a dead letter goes to no stream of Redis"
                    );
                }
            }
        }
        let exchange = self.exchange(deadline);
        for (slot, letters) in by_slot {
            let executed = exchange.run(slot, || {
                let mut transaction = Transaction::with_capacity(letters.len());
                for (letter, stream) in &letters {
                    transaction.push(self.template.append_dead_letter(letter, stream));
                }
                transaction
            });
            match executed.await? {
                Executed::Done(answers) => {
                    if let Some(word) = answers.into_iter().find_map(Result::err) {
                        return Err(word.to_string());
                    }
                }
                Executed::Discarded { refused, word } => {
                    return Err(refused.first().map_or(word, |(_, word)| word.clone()).to_string());
                }
                Executed::TooFewReplicas(count) => return Err(self.too_few_replicas(count)),
            }
        }
        Ok(())
    }
}

/// Why nothing of a discarded transaction can be carried out now; none where single commands are to blame, of which the first
/// `before` are no events'.
pub(super) fn not_about_one(
    before: usize,
    refused: &[(usize, ServerWord)],
    word: &ServerWord,
) -> Option<String> {
    let about_one = |word: &ServerWord| matches!(word.meaning(), Meaning::Never | Meaning::NotNow);
    match refused.iter().find(|(place, word)| *place < before || !about_one(word)) {
        Some((_, word)) => Some(word.to_string()),
        None if refused.is_empty() => Some(word.to_string()),
        None => None,
    }
}

/// What the answer to an append means for the event.
pub(super) fn outcome(answer: Result<Value, ServerWord>) -> Outcome {
    match answer {
        Ok(_) => Outcome::Delivered,
        Err(word) if word.meaning() == Meaning::Never => Outcome::Reject { why: word.to_string() },
        Err(word) => retry(word.to_string()),
    }
}

pub(super) fn retry(why: String) -> Outcome {
    Outcome::Retry { after: None, why }
}
