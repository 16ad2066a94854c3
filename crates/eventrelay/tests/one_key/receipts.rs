//! The receipts of all publishers, and what must be true of them.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use crate::doors::{DoorKind, Receipt};

/// What was answered.
#[derive(Debug, Default)]
pub(crate) struct Receipts {
    of_key: HashMap<String, Vec<(DoorKind, Receipt)>>,
    unexpected: Vec<String>,
}

impl Receipts {
    pub(crate) fn add(&mut self, door: DoorKind, key: &str, receipt: Receipt) {
        self.of_key.entry(key.to_owned()).or_default().push((door, receipt));
    }

    /// What should not have happened at all.
    pub(crate) fn unexpected(&mut self, what: String) {
        self.unexpected.push(what);
    }

    /// How many keys have a receipt.
    pub(crate) fn keys(&self) -> usize {
        self.of_key.len()
    }

    /// How many receipts came through each door.
    pub(crate) fn by_door(&self) -> BTreeMap<DoorKind, usize> {
        let mut counts = BTreeMap::new();
        for (door, _) in self.of_key.values().flatten() {
            *counts.entry(*door).or_default() += 1;
        }
        counts
    }

    /// Holds the receipts against each other and against the log; gives what is wrong.
    pub(crate) fn check(&self, log: &[Value]) -> Vec<String> {
        let mut findings = self.unexpected.clone();
        let mut stored: HashMap<&str, Vec<&Value>> = HashMap::new();
        for event in log {
            stored.entry(event["idempotency_key"].as_str().unwrap_or_default()).or_default().push(event);
        }
        for (key, receipts) in &self.of_key {
            let (_, first) = &receipts[0];
            if receipts.iter().any(|(_, other)| (&other.id, other.offset) != (&first.id, first.offset)) {
                findings.push(format!("{key} has more than one id: {receipts:?}"));
            }
            // The first publisher's receipt may have been lost with a connection.
            let originals = receipts.iter().filter(|(_, receipt)| !receipt.duplicate).count();
            if originals > 1 {
                findings.push(format!("{key} was new {originals} times: {receipts:?}"));
            }
            match stored.remove(key.as_str()).as_deref() {
                Some([event]) if is_of(event, key, first) => {}
                other => findings.push(format!("{key} with {first:?} is in the log as {other:?}")),
            }
        }
        findings
            .extend(stored.into_iter().map(|(key, events)| format!("{key:?} has no receipt: {events:?}")));
        findings
    }
}

/// Whether an event is the one that this key's publishers sent, in the place that the receipt names.
fn is_of(event: &Value, key: &str, receipt: &Receipt) -> bool {
    let number: u64 = key.trim_start_matches("key-").parse().unwrap();
    event["id"] == receipt.id && event["offset"] == receipt.offset && event["data"]["order"] == number
}
