//! What the webhook subscriptions get: counted and judged by the receiver, which outlives every server.
//!
//! It is an unkind receiver: it refuses some deliveries, hangs up on some, and on some after it has taken them, so that
//! order and counts are kept by the server and not by luck. What it does follows from the seed, the event and how often
//! it has seen the event.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::findings::{Findings, Kind};
use crate::harness::receiver::{Reply, Request};
use crate::random::{Random, mix};
use crate::workload::Workload;

/// What a webhook subscription promises about order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    None,
    ByKey,
    Strict,
}

/// A webhook subscription as the receiver sees it.
#[derive(Debug)]
pub(crate) struct Board {
    name: &'static str,
    order: Order,
    /// The body holds nothing but the data.
    bare_data: bool,
    /// Every delivery is refused.
    refuses: bool,
    seen: Mutex<Seen>,
}

/// All that a subscription got.
#[derive(Debug, Default, Clone)]
pub(crate) struct Seen {
    /// By the event's number.
    pub(crate) events: HashMap<u64, Sighting>,
    pub(crate) deliveries: u64,
    /// By ordering key: the offset of the latest first success.
    latest: HashMap<String, u64>,
}

/// What a subscription got of one event.
#[derive(Debug, Clone)]
pub(crate) struct Sighting {
    pub(crate) id: String,
    /// How often it came.
    pub(crate) deliveries: u32,
    /// How often it was taken.
    pub(crate) taken: u32,
}

impl Board {
    pub(crate) fn new(name: &'static str, order: Order) -> Self {
        Self { name, order, bare_data: false, refuses: false, seen: Mutex::default() }
    }

    pub(crate) fn of_bare_data(self) -> Self {
        Self { bare_data: true, ..self }
    }

    pub(crate) fn refusing(self) -> Self {
        Self { refuses: true, ..self }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn refuses(&self) -> bool {
        self.refuses
    }

    /// A copy of all that it got.
    pub(crate) fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }

    /// Events that were taken at least once, or that came at all where none is taken.
    pub(crate) fn distinct(&self) -> usize {
        self.seen.lock().unwrap().events.len()
    }
}

impl Seen {
    /// Takes down a delivery that was taken.
    pub(crate) fn add(&mut self, number: u64, id: &str) {
        self.deliveries += 1;
        let sighting = self.events.entry(number).or_insert_with(|| Sighting::new(id));
        sighting.deliveries += 1;
        sighting.taken += 1;
    }

    /// Events that were taken, and how often one was taken again.
    pub(crate) fn taken(&self) -> (u64, u64) {
        let taken = self.events.values().filter(|sighting| sighting.taken > 0);
        taken.fold((0, 0), |(events, again), sighting| (events + 1, again + u64::from(sighting.taken - 1)))
    }
}

impl Sighting {
    fn new(id: &str) -> Self {
        Self { id: id.to_owned(), deliveries: 0, taken: 0 }
    }
}

/// Judges what comes.
#[derive(Debug)]
pub(crate) struct Judge {
    pub(crate) boards: Vec<Board>,
    pub(crate) workload: Workload,
    pub(crate) seed: u64,
    pub(crate) findings: Arc<Findings>,
}

impl Judge {
    /// The subscription of this name.
    pub(crate) fn board(&self, name: &str) -> &Board {
        self.boards.iter().find(|board| board.name == name).unwrap()
    }

    /// Takes a delivery down, and says what the receiver does with it.
    pub(crate) fn receive(&self, request: &Request) -> Reply {
        let Some(board) = self.boards.iter().find(|board| request.path[1..] == *board.name) else {
            self.findings.add(Kind::Unexpected, format!("a delivery to {}", request.path));
            return Reply::Status(404);
        };
        match self.identify(board, request) {
            Ok((number, id)) => self.take_down(board, number, id),
            Err(why) => {
                self.findings.add(Kind::Corrupt, format!("{}: {why}", board.name));
                Reply::Status(500)
            }
        }
    }

    /// The event's number and id, if it is whole.
    fn identify<'a>(&self, board: &Board, request: &'a Request) -> Result<(u64, &'a str), String> {
        let body: Value = serde_json::from_slice(&request.body).map_err(|error| error.to_string())?;
        let number = self.workload.recognise(if board.bare_data { &body } else { &body["data"] })?;
        if self.workload.is_poison(number) != board.refuses {
            return Err(format!("event {number} does not match the filter"));
        }
        let id = request.header("webhook-id").ok_or("no webhook-id")?;
        Ok((number, id))
    }

    fn take_down(&self, board: &Board, number: u64, id: &str) -> Reply {
        let mut seen = board.seen.lock().unwrap();
        seen.deliveries += 1;
        let sighting = seen.events.entry(number).or_insert_with(|| Sighting::new(id));
        if sighting.id != id {
            let what = format!("{}: event {number} came as {} and as {id}", board.name, sighting.id);
            self.findings.add(Kind::Double, what);
        }
        sighting.deliveries += 1;
        if board.refuses {
            return Reply::Status(500);
        }
        let mut random = Random::new(mix(self.seed, number) ^ u64::from(sighting.deliveries));
        if random.one_in(40) {
            return if random.one_in(3) { Reply::HangUp } else { Reply::Status(503) };
        }
        sighting.taken += 1;
        if sighting.taken == 1 {
            self.check_order(board, &mut seen, number, id);
        }
        // Taken, but the server does not get to hear it.
        if random.one_in(100) { Reply::HangUp } else { Reply::Status(204) }
    }

    fn check_order(&self, board: &Board, seen: &mut Seen, number: u64, id: &str) {
        let key = match board.order {
            Order::None => return,
            Order::Strict => String::new(),
            Order::ByKey => match self.workload.order_key(number) {
                Some(key) => key,
                None => return,
            },
        };
        let Some(offset) = offset_of(id) else {
            return self.findings.add(Kind::Unexpected, format!("{}: {id} is no event id", board.name));
        };
        if let Some(before) = seen.latest.insert(key, offset)
            && before > offset
        {
            let what = format!("{}: offset {offset} (event {number}) after {before}", board.name);
            self.findings.add(Kind::Inversion, what);
        }
    }
}

/// The offset that an event id holds in its low 62 bits.
pub(crate) fn offset_of(id: &str) -> Option<u64> {
    let digits: String = id.split('-').collect();
    let number = u128::from_str_radix(&digits, 16).ok()?;
    u64::try_from(number & ((1 << 62) - 1)).ok()
}
