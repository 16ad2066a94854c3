//! A client that publishes in every form there is, follows the server from life to life, and repeats what it got no
//! answer to with the same idempotency key.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::time::Duration;

use crate::findings::Kind;
use crate::harness::connection::Connection;
use crate::harness::http::Answer;
use crate::ledger::{Outcome, Receipt};
use crate::random::Random;
use crate::target::Life;
use crate::world::World;

const PATH: &str = "/v1/events";
const JSON: &str = "application/json";
/// How many acknowledged requests are kept for a later repetition.
const KEPT_REQUESTS: usize = 32;

/// A request that can be sent again.
#[derive(Debug, Clone)]
struct Publish {
    numbers: Range<u64>,
    content_type: &'static str,
    header_key: Option<String>,
    body: String,
    can_repeat: bool,
    /// Sent twice at the same time, over two connections.
    raced: bool,
}

/// One client, and what it remembers.
pub(crate) struct Producer<'a> {
    world: &'a World,
    random: Random,
    name: u64,
    requests: u64,
    /// Not acknowledged yet: to be repeated.
    open: VecDeque<Publish>,
    acknowledged: VecDeque<Publish>,
}

/// The connections of one life.
struct Connections {
    first: Connection,
    second: Connection,
}

impl<'a> Producer<'a> {
    pub(crate) fn new(world: &'a World, name: u64, seed: u64) -> Self {
        let random = Random::new(seed ^ (name + 1));
        Self { world, random, name, requests: 0, open: VecDeque::new(), acknowledged: VecDeque::new() }
    }

    /// Publishes until the last life, in which it settles what is open.
    pub(crate) fn run(mut self) {
        while let Some(life) = self.world.target.life() {
            if let Err(error) = self.live(life)
                && self.world.target.is_alive(life)
            {
                self.world.findings.add(Kind::Unexpected, format!("a connection broke: {error}"));
            }
            if self.world.target.is_finishing() && self.open.is_empty() {
                return;
            }
            // Whatever broke, broke with this life.
            self.world.target.pause(life, Duration::from_secs(1));
        }
    }

    fn live(&mut self, life: Life) -> io::Result<()> {
        let mut connections =
            Connections { first: Connection::open(life.address)?, second: Connection::open(life.address)? };
        while self.world.target.is_alive(life) {
            if let Some(publish) = self.open.pop_front() {
                self.send(&mut connections, publish)?;
                continue;
            }
            if self.world.target.is_finishing() {
                return Ok(());
            }
            self.act(&mut connections)?;
            let pause = self.random.time_up_to_ms(6);
            self.world.target.pause(life, pause);
            while self.world.is_behind() && self.world.target.is_alive(life) {
                self.world.target.pause(life, Duration::from_millis(20));
            }
        }
        Ok(())
    }

    /// One request of a random kind.
    fn act(&mut self, connections: &mut Connections) -> io::Result<()> {
        match self.random.below(100) {
            0..5 => match self.repeatable() {
                Some(publish) => self.send(connections, publish),
                None => Ok(()),
            },
            5..8 => self.reuse_a_key(connections),
            8..12 => self.look_up(connections),
            _ => {
                let publish = self.plan();
                self.send(connections, publish)
            }
        }
    }

    /// A new request in one of the forms.
    fn plan(&mut self) -> Publish {
        self.requests += 1;
        let request = format!("{}-{}", self.name, self.requests);
        let many = 2 + self.random.below(12);
        let form = self.random.below(100);
        let count = if matches!(form, 45..85) { many } else { 1 };
        let has_key = !matches!(form, 0..15 | 45..55);
        let numbers = self.world.ledger.intend(count, has_key);
        let workload = self.world.workload;
        let events = |key: &dyn Fn(u64) -> Option<String>, separator: &str| {
            let events = numbers.clone().map(|number| workload.event(number, key(number).as_deref()));
            events.collect::<Vec<_>>().join(separator)
        };
        let unnamed = |_| None;
        let named = |number| Some(format!("{request}-{number}"));
        let (content_type, header_key, body) = match form {
            0..15 => (JSON, false, events(&unnamed, "")),
            15..30 => (JSON, false, events(&named, "")),
            30..45 => (
                "application/cloudevents+json",
                false,
                workload.cloud_event(numbers.start, &format!("{request}-cloud")),
            ),
            45..55 => (JSON, false, format!("[{}]", events(&unnamed, ","))),
            55..70 => (JSON, true, format!("[{}]", events(&unnamed, ","))),
            70..85 => ("application/x-ndjson", false, events(&named, "\n")),
            _ => (JSON, true, events(&unnamed, "")),
        };
        let header_key = header_key.then_some(request);
        let raced = form >= 92;
        Publish { numbers, content_type, header_key, body, can_repeat: has_key, raced }
    }

    fn repeatable(&mut self) -> Option<Publish> {
        let kept = self.acknowledged.len() as u64;
        (kept > 0).then(|| self.acknowledged[self.random.below(kept) as usize].clone())
    }

    /// Sends a request and takes down what becomes of it.
    fn send(&mut self, connections: &mut Connections, publish: Publish) -> io::Result<()> {
        let Connections { first, second } = connections;
        let mut sent = vec![(publish.send(first), first)];
        if publish.raced {
            sent.push((publish.send(second), second));
        }
        let answers: Vec<_> =
            sent.into_iter().map(|(sent, connection)| sent.and_then(|()| connection.receive())).collect();
        let (mut broken, mut acknowledged) = (None, false);
        for answer in answers {
            let outcome = match answer {
                Ok(answer) => self.outcome(&publish, &answer),
                Err(error) => {
                    broken = Some(error);
                    Outcome::Unknown
                }
            };
            acknowledged |= matches!(outcome, Outcome::Acknowledged(_));
            self.world.ledger.record(publish.numbers.clone(), &outcome);
        }
        if acknowledged {
            self.keep(publish);
        } else if publish.can_repeat {
            self.open.push_back(publish);
        }
        broken.map_or(Ok(()), Err)
    }

    fn keep(&mut self, publish: Publish) {
        if !publish.can_repeat {
            return;
        }
        if self.acknowledged.len() == KEPT_REQUESTS {
            let forgotten = self.random.below(KEPT_REQUESTS as u64) as usize;
            self.acknowledged.swap_remove_back(forgotten);
        }
        self.acknowledged.push_back(publish);
    }

    fn outcome(&self, publish: &Publish, answer: &Answer) -> Outcome {
        if answer.status == 201 {
            let parsed = if answer.body.starts_with('[') {
                serde_json::from_str::<Vec<Receipt>>(&answer.body)
            } else {
                serde_json::from_str::<Receipt>(&answer.body).map(|receipt| vec![receipt])
            };
            if let Ok(receipts) = parsed {
                return Outcome::Acknowledged(receipts);
            }
        }
        match code(answer).as_deref() {
            Some("shutting_down" | "overloaded") => Outcome::Refused,
            Some("outcome_unknown" | "unconfirmed") => Outcome::Unknown,
            _ => {
                let what = format!("{answer:?} to events {:?}", publish.numbers);
                self.world.findings.add(Kind::Unexpected, what);
                Outcome::Unknown
            }
        }
    }

    /// Another event under an acknowledged one's key must never be taken.
    fn reuse_a_key(&mut self, connections: &mut Connections) -> io::Result<()> {
        let Some(Publish { header_key: Some(key), numbers, content_type: JSON, .. }) = self.repeatable()
        else {
            return Ok(());
        };
        if numbers.end - numbers.start > 1 {
            return Ok(());
        }
        let other = self.world.ledger.intend(1, true);
        let body = self.world.workload.event(other.start, None);
        let headers = [("Content-Type", JSON), ("Idempotency-Key", key.as_str())];
        // Whatever happens, this event must be absent.
        self.world.ledger.record(other.clone(), &Outcome::Refused);
        let answer = connections.first.post(PATH, &headers, body.as_bytes())?;
        match code(&answer).as_deref() {
            Some("idempotency_key_reused" | "shutting_down" | "overloaded") => {}
            _ => {
                let what = format!("{answer:?} to another event with the key {key} of {numbers:?}");
                self.world.findings.add(Kind::Double, what);
            }
        }
        Ok(())
    }

    /// What is acknowledged can be read at once.
    fn look_up(&mut self, connections: &mut Connections) -> io::Result<()> {
        let publish = self.plan();
        let number = publish.numbers.start;
        self.send(connections, publish)?;
        let Some((id, _)) = self.world.ledger.entry(number).acknowledged else { return Ok(()) };
        let answer = connections.first.get(&format!("{PATH}/{id}"))?;
        let found = (answer.status == 200).then(|| self.world.workload.recognise(&answer.json()["data"]));
        if found != Some(Ok(number)) && code(&answer).as_deref() != Some("shutting_down") {
            self.world.findings.add(Kind::Lost, format!("event {number} read back: {answer:?}"));
        }
        Ok(())
    }
}

impl Publish {
    fn send(&self, connection: &mut Connection) -> io::Result<()> {
        let mut headers = vec![("Content-Type", self.content_type)];
        if let Some(key) = &self.header_key {
            headers.push(("Idempotency-Key", key));
        }
        connection.send_post(PATH, &headers, self.body.as_bytes())
    }
}

/// The stable code of a refusal.
fn code(answer: &Answer) -> Option<String> {
    let problem: serde_json::Value = serde_json::from_str(&answer.body).ok()?;
    problem["code"].as_str().map(str::to_owned)
}
