//! Appends the events of one call to one owned stream. The table is in the module's own docs.

use redis::{Cmd, Value};
use tokio::time::Instant;

use super::super::publish::{Item, Publisher, Settled, not_about_one, outcome, retry};
use super::super::reply::{self, Meaning, ServerWord};
use super::super::transaction::{Executed, Transaction};
use super::State;
use super::ledger::{EntryId, Ledger, no_owner};
use crate::{Outcome, Purpose};

/// What a stream tells of itself has its first and its last entry in full.
const INFO_BYTES: u64 = 160 * 1024 * 1024;
/// An entry that is read back has names and ids beside its event.
const ENTRY_OVERHEAD_BYTES: u64 = 16 * 1024;

pub(super) struct Call<'a> {
    pub(super) publisher: &'a Publisher,
    pub(super) ledger: &'a Ledger,
    pub(super) state: &'a mut State,
    pub(super) stream: &'a str,
    pub(super) deadline: Instant,
}

/// Answers, one for each command.
type Answers = Vec<Result<Value, ServerWord>>;

impl Call<'_> {
    /// Appends events in the order of their offsets.
    pub(super) async fn append(&mut self, items: Vec<Item<'_>>) -> Vec<Settled> {
        let all = |outcome: &Outcome| items.iter().map(|item| (item.place, outcome.clone())).collect();
        let Some(key) = Ledger::key(self.stream) else {
            let why = format!("with braces as in {:?}, no key beside the stream is in its slot", self.stream);
            return all(&Outcome::Reject { why });
        };
        if let Err(outcome) = self.claim(&key).await {
            return all(&outcome);
        }
        let (live, mut again): (Vec<_>, Vec<_>) =
            items.into_iter().partition(|item| item.delivery.purpose == Purpose::Live);
        let mut settled = Vec::with_capacity(live.len() + again.len());
        let passed = self.append_live(&key, live, &mut settled).await;
        again.extend(self.without_entry(&key, passed, &mut settled).await);
        let again = self.not_there(again, &mut settled).await;
        self.append_behind(&key, again, &mut settled).await;
        settled
    }

    /// Makes the stream ours, or says why it is not.
    async fn claim(&mut self, key: &str) -> Result<(), Outcome> {
        if self.state.is_claimed(self.stream, self.publisher.nodes.connections_made()) {
            return Ok(());
        }
        let (owner, top) = self.look(vec![], key).await?;
        if owner.is_none() {
            if top.is_some_and(|top| top > EntryId { first: 0, second: 0 }) {
                return Err(retry(no_owner(self.stream)));
            }
            let (owner, top) = self.look(vec![self.ledger.claim(key)], key).await?;
            self.refuse_others(owner.as_deref())?;
            if top.is_some_and(|top| top > EntryId { first: 0, second: 0 }) {
                // Somebody was faster, and asks for no owner.
                self.run(|| vec![Ledger::give_up(key)], 0).await?;
                return Err(retry(no_owner(self.stream)));
            }
        } else {
            self.refuse_others(owner.as_deref())?;
        }
        self.state.is_claimed(self.stream, self.publisher.nodes.connections_made());
        self.state.claims.insert(self.stream.to_owned());
        Ok(())
    }

    /// The owner, and the highest id that the stream has ever had, if there is a stream.
    async fn look(
        &mut self,
        first: Vec<Cmd>,
        key: &str,
    ) -> Result<(Option<String>, Option<EntryId>), Outcome> {
        let before = first.len();
        let commands = || {
            let mut commands = first.clone();
            commands.extend([Ledger::read_owner(key), info(self.stream)]);
            commands
        };
        let answers = self.exchange(commands, INFO_BYTES).await?;
        let mut answers = answers.into_iter().skip(before);
        let owner = answers.next().unwrap_or(Ok(Value::Nil)).map_err(|word| outcome(Err(word)))?;
        let top = match answers.next().unwrap_or(Ok(Value::Nil)) {
            Ok(info) => last_generated_id(&info),
            Err(word) if word.to_string().contains("no such key") => None,
            Err(word) => return Err(outcome(Err(word))),
        };
        Ok((reply::text(&owner).map(str::to_owned), top))
    }

    fn refuse_others(&mut self, owner: Option<&str>) -> Result<(), Outcome> {
        match self.ledger.refusal(self.stream, owner) {
            None => Ok(()),
            Some(why) => {
                self.state.claims.remove(self.stream);
                Err(retry(why))
            }
        }
    }

    /// Appends events under their own ids. Gives those that the stream's top has passed.
    async fn append_live<'b>(
        &mut self,
        key: &str,
        items: Vec<Item<'b>>,
        settled: &mut Vec<Settled>,
    ) -> Vec<Item<'b>> {
        let offset = |item: &Item<'_>| item.delivery.event.offset();
        let Some(last) = items.iter().map(offset).max() else { return Vec::new() };
        let mut noted = self.state.unsettled_below(self.stream, last);
        for item in &items {
            noted.remove(&offset(item));
        }
        let note = (!noted.is_empty()).then(|| Ledger::note_passed(key, noted.iter().copied()));
        let id = |_, item: &Item<'_>| EntryId::of_offset(offset(item));
        let answers = match self.append_with(key, note, &items, id).await {
            Ok(answers) => answers,
            Err(outcome) => {
                settled.extend(items.iter().map(|item| (item.place, outcome.clone())));
                return Vec::new();
            }
        };
        for offset in noted {
            self.state.settle(self.stream, offset);
        }
        let mut passed = Vec::new();
        for (item, answer) in items.into_iter().zip(answers) {
            match answer {
                Err(word) if word.meaning() == Meaning::Passed => passed.push(item),
                answer => settled.push((item.place, outcome(answer))),
            }
        }
        passed
    }

    /// Of events that the top has passed, gives those that were noted as having no entry. The others are delivered.
    async fn without_entry<'b>(
        &mut self,
        key: &str,
        items: Vec<Item<'b>>,
        settled: &mut Vec<Settled>,
    ) -> Vec<Item<'b>> {
        if items.is_empty() {
            return items;
        }
        let offsets = || items.iter().map(|item| item.delivery.event.offset());
        let answer = self.run(|| vec![Ledger::read_passed(key, offsets())], 0).await;
        let noted = match answer {
            Ok(answer) => answer,
            Err(outcome) => {
                settled.extend(items.iter().map(|item| (item.place, outcome.clone())));
                return Vec::new();
            }
        };
        let mut without = Vec::new();
        let noted = reply::items(&noted);
        for (place, item) in items.into_iter().enumerate() {
            if noted.get(place).is_some_and(|noted| *noted != Value::Nil) {
                without.push(item);
            } else {
                settled.push((item.place, Outcome::Delivered));
            }
        }
        without
    }

    /// Gives the events that are to be appended once more: replays, and all others whose own id no entry has.
    async fn not_there<'b>(&mut self, items: Vec<Item<'b>>, settled: &mut Vec<Settled>) -> Vec<Item<'b>> {
        let is_replay = |item: &Item<'_>| item.delivery.purpose == Purpose::Replay;
        if items.iter().all(is_replay) {
            return items;
        }
        let find = |item: &Item<'_>| {
            let id = EntryId::of_offset(item.delivery.event.offset()).to_string();
            let mut command = redis::cmd("XRANGE");
            command.arg(self.stream).arg(&id).arg(&id).arg("COUNT").arg(1);
            command
        };
        let bytes =
            items.iter().map(|item| item.delivery.event.encoded().len() as u64 * 2 + ENTRY_OVERHEAD_BYTES);
        let (bytes, commands) = (bytes.sum(), || items.iter().map(find).collect());
        let answers = match self.exchange(commands, bytes).await {
            Ok(answers) => answers,
            Err(outcome) => {
                settled.extend(items.iter().map(|item| (item.place, outcome.clone())));
                return Vec::new();
            }
        };
        let mut left = Vec::new();
        for (item, answer) in items.into_iter().zip(answers) {
            match answer {
                Err(word) => settled.push((item.place, outcome(Err(word)))),
                Ok(found) if !reply::items(&found).is_empty() && !is_replay(&item) => {
                    settled.push((item.place, Outcome::Delivered));
                }
                Ok(_) => left.push(item),
            }
        }
        left
    }

    /// Appends events behind the top.
    async fn append_behind(&mut self, key: &str, items: Vec<Item<'_>>, settled: &mut Vec<Settled>) {
        if items.is_empty() {
            return;
        }
        let top = self.look(vec![], key).await.map(|(_, top)| top.unwrap_or(EntryId { first: 0, second: 0 }));
        let answers = match top {
            Ok(top) => {
                let noted = items.iter().filter(|item| item.delivery.purpose != Purpose::Replay);
                let noted: Vec<_> = noted.map(|item| item.delivery.event.offset()).collect();
                let note = (!noted.is_empty()).then(|| Ledger::no_longer_passed(key, noted));
                self.append_with(key, note, &items, |nth, _: &Item<'_>| top.behind(nth + 1)).await
            }
            Err(outcome) => Err(outcome),
        };
        match answers {
            Ok(answers) => {
                let outcomes = answers.into_iter().map(outcome);
                settled.extend(items.iter().map(|item| item.place).zip(outcomes));
            }
            Err(outcome) => settled.extend(items.iter().map(|item| (item.place, outcome.clone()))),
        }
    }

    /// One transaction: the owner, a note, the consumer group, the entries. Gives the answers to the entries.
    async fn append_with(
        &mut self,
        key: &str,
        note: Option<Cmd>,
        items: &[Item<'_>],
        id: impl Fn(u64, &Item<'_>) -> EntryId,
    ) -> Result<Answers, Outcome> {
        let publisher = self.publisher;
        let mut first = vec![self.ledger.claim(key), Ledger::read_owner(key)];
        first.extend(note);
        first.extend(publisher.groups(items));
        let before = first.len();
        let commands = || {
            let mut commands = first.clone();
            let entry = |(nth, item): (usize, &Item<'_>)| {
                publisher.template.append(item.delivery, self.stream, &id(nth as u64, item).to_string())
            };
            commands.extend(items.iter().enumerate().map(entry));
            if publisher.replicas > 0 {
                commands.push(Ledger::count_batch(key));
            }
            commands
        };
        let mut answers = self.exchange(commands, 0).await?;
        let entries = answers.split_off(before.min(answers.len()));
        let owner = answers.get(1).and_then(|answer| answer.as_ref().ok()).and_then(reply::text);
        let owner = owner.map(str::to_owned);
        self.refuse_others(owner.as_deref())?;
        Ok(entries)
    }

    /// Carries out one command.
    async fn run(&mut self, command: impl Fn() -> Vec<Cmd>, reply_bytes: u64) -> Result<Value, Outcome> {
        let answer = self.exchange(command, reply_bytes).await?.pop().unwrap_or(Ok(Value::Nil));
        answer.map_err(|word| outcome(Err(word)))
    }

    /// Carries out commands together. An error is what it means for all events of the call.
    async fn exchange(&self, commands: impl Fn() -> Vec<Cmd>, reply_bytes: u64) -> Result<Answers, Outcome> {
        let exchange = self.publisher.exchange(self.deadline);
        let executed = exchange.run(self.publisher.slot(self.stream), || {
            let commands = commands();
            let mut transaction = Transaction::with_capacity(commands.len());
            transaction.reply_bytes = reply_bytes;
            commands.into_iter().for_each(|command| transaction.push(command));
            transaction
        });
        match executed.await.map_err(retry)? {
            Executed::Done(answers) => Ok(answers),
            Executed::TooFewReplicas(count) => Err(retry(self.publisher.too_few_replicas(count))),
            // All commands are about one stream, so what one is refused for, all are.
            Executed::Discarded { refused, word } => {
                let why = not_about_one(usize::MAX, &refused, &word);
                Err(retry(why.unwrap_or_else(|| word.to_string())))
            }
        }
    }
}

fn info(stream: &str) -> Cmd {
    let mut command = redis::cmd("XINFO");
    command.arg("STREAM").arg(stream);
    command
}

/// The highest id that a stream has ever had, from what it tells of itself.
fn last_generated_id(info: &Value) -> Option<EntryId> {
    let mut pairs = reply::items(info).chunks_exact(2);
    let found = pairs.find(|pair| reply::text(&pair[0]) == Some("last-generated-id"))?;
    EntryId::parse(reply::text(&found[1])?)
}
