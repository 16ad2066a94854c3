//! The end of a run: everything that was sent, answered, shown and delivered, against what the log holds.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;

use serde_json::Value;

use crate::deliveries::{Seen, offset_of};
use crate::findings::Kind;
use crate::harness::connection::Connection;
use crate::harness::{run, stdout};
use crate::ledger::Entry;
use crate::watcher::Sighting;
use crate::world::World;

/// An event as the log has it.
struct Logged {
    id: String,
    number: u64,
    /// As `eventrelay tail` prints it.
    line: String,
}

/// The log and everything it is held against.
pub(crate) struct Audit<'a> {
    world: &'a World,
    entries: Vec<Entry>,
    /// By offset.
    log: Vec<Logged>,
    /// Where in `log` an event is, by its number.
    places: HashMap<u64, usize>,
}

impl<'a> Audit<'a> {
    /// Reads the whole log with `eventrelay tail`.
    pub(crate) fn read(world: &'a World, directory: &Path, url: &str, end_offset: u64) -> Self {
        let mut audit =
            Self { world, entries: world.ledger.entries(), log: Vec::new(), places: HashMap::new() };
        let count = end_offset.to_string();
        let output = run(directory, ["tail", "--from", "earliest", "--count", &count, "--url", url]);
        assert!(output.status.success(), "{output:?}");
        for line in stdout(&output).lines() {
            audit.admit(line);
        }
        if audit.log.len() as u64 != end_offset {
            let what = format!("the log ends at {end_offset}, but has {} events", audit.log.len());
            world.findings.add(Kind::Lost, what);
        }
        audit
    }

    /// The number of events in the log.
    pub(crate) fn events(&self) -> usize {
        self.log.len()
    }

    /// The number of those that only the refusing target gets.
    pub(crate) fn poison_events(&self) -> usize {
        self.log.iter().filter(|logged| self.world.workload.is_poison(logged.number)).count()
    }

    fn admit(&mut self, line: &str) {
        let place = self.log.len();
        let event: Value = serde_json::from_str(line).unwrap();
        let (Some(id), Some(offset)) = (event["id"].as_str(), event["offset"].as_u64()) else {
            return self.find(Kind::Corrupt, format!("an event without id or offset: {line}"));
        };
        if offset != place as u64 || offset_of(id) != Some(offset) {
            self.find(Kind::Corrupt, format!("{id} at offset {offset}, place {place}"));
        }
        let number = match self.world.workload.recognise(&event["data"]) {
            Ok(number) => number,
            Err(why) => return self.find(Kind::Corrupt, format!("offset {offset}: {why}")),
        };
        let (workload, key) = (self.world.workload, event["key"].as_str().map(str::to_owned));
        if key != workload.order_key(number) || event["type"] != workload.event_type(number) {
            self.find(Kind::Corrupt, format!("event {number}: {line}"));
        }
        if number >= self.entries.len() as u64 {
            self.find(Kind::Ghost, format!("event {number} was never sent"));
        }
        if let Some(before) = self.places.insert(number, place) {
            self.find(Kind::Double, format!("event {number} is at offsets {before} and {offset}"));
        }
        self.log.push(Logged { id: id.to_owned(), number, line: line.to_owned() });
    }

    /// What was answered is what is there.
    pub(crate) fn check_answers(&self) {
        let mut requests: HashMap<u64, (usize, usize)> = HashMap::new();
        for (number, entry) in self.entries.iter().enumerate() {
            let place = self.places.get(&(number as u64)).copied();
            if let Some((id, offset)) = &entry.acknowledged {
                let found = place.map(|place| (&self.log[place].id, place as u64));
                if found != Some((id, *offset)) {
                    let what =
                        format!("event {number} was acknowledged as {id} at {offset}, and is {found:?}");
                    self.find(Kind::Lost, what);
                }
            }
            if entry.must_be_absent() && place.is_some() {
                self.find(Kind::Ghost, format!("event {number} was refused, and is at {place:?}"));
            }
            let (present, all) = requests.entry(entry.request).or_default();
            *present += usize::from(place.is_some());
            *all += 1;
        }
        for (request, (present, all)) in requests {
            if present != 0 && present != all {
                self.find(Kind::Halved, format!("{present} of the {all} events of request {request}"));
            }
        }
    }

    /// What a reader was shown is still there.
    pub(crate) fn check_sightings(&self, sightings: &[Sighting]) {
        for (offset, id) in sightings {
            if self.log.get(*offset as usize).is_none_or(|logged| logged.id != *id) {
                self.find(Kind::Ghost, format!("the stream showed {id} at {offset}"));
            }
        }
    }

    /// Every event of the log has come to those who want it, and nothing else has. Gives events and deliveries.
    pub(crate) fn check_deliveries(&self, name: &str, seen: &Seen, refuses: bool) {
        let wanted = |number: u64| self.world.workload.is_poison(number) == refuses;
        for logged in self.log.iter().filter(|logged| wanted(logged.number)) {
            let taken = seen.events.get(&logged.number).is_some_and(|sighting| refuses || sighting.taken > 0);
            if !taken {
                self.find(Kind::Lost, format!("{name}: event {} ({})", logged.number, logged.id));
            }
        }
        for (number, sighting) in &seen.events {
            let place = self.places.get(number);
            if place.is_none_or(|place| self.log[*place].id != sighting.id) {
                self.find(Kind::Ghost, format!("{name}: event {number} came as {}", sighting.id));
            }
        }
    }

    /// The file sink's lines, as often as they came: every event at least once, each as the log has it.
    pub(crate) fn check_files(&self, directory: &Path) -> Seen {
        let mut seen = Seen::default();
        let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        for path in entries.filter(|path| path.extension().is_some_and(|extension| extension == "ndjson")) {
            for line in std::fs::read_to_string(&path).unwrap().lines() {
                let offset = serde_json::from_str::<Value>(line).unwrap()["offset"].as_u64().unwrap();
                match self.log.get(offset as usize) {
                    Some(logged) if logged.line == line => seen.add(logged.number, &logged.id),
                    _ => self.find(Kind::Ghost, format!("{}: {line}", path.display())),
                }
            }
        }
        self.check_deliveries("file", &seen, false);
        seen
    }

    /// Every event can be looked up, and is the same.
    pub(crate) fn check_look_ups(&self, server: SocketAddr) {
        std::thread::scope(|scope| {
            for part in self.log.chunks(self.log.len().div_ceil(4).max(1)) {
                scope.spawn(move || {
                    let mut connection = Connection::open(server).unwrap();
                    for logged in part {
                        let answer = connection.get(&format!("/v1/events/{}", logged.id)).unwrap();
                        if answer.status != 200 || answer.body != logged.line {
                            self.find(Kind::Lost, format!("{} looked up: {answer:?}", logged.id));
                        }
                    }
                });
            }
        });
    }

    fn find(&self, kind: Kind, what: String) {
        self.world.findings.add(kind, what);
    }
}
