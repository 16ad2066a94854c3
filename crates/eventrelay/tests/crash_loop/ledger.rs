//! What was sent and what was answered: the intent before the request, the outcome after it.
//!
//! An event's final class, over all requests that carried it:
//!
//! | class | meaning | must be |
//! |---|---|---|
//! | acknowledged | a 201 was read to its end | in the log, once, with that id and offset |
//! | unknown | no answer, or one that says so | wholly there or wholly absent |
//! | refused | every answer refused it, or it was never sent | absent |

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::findings::{Findings, Kind};

/// What the server answered about one event.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub(crate) struct Receipt {
    pub(crate) id: String,
    pub(crate) offset: u64,
    duplicate: bool,
}

/// What became of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// One receipt for each event.
    Acknowledged(Vec<Receipt>),
    Unknown,
    Refused,
}

/// What is known of one event.
#[derive(Debug, Clone, Default)]
pub(crate) struct Entry {
    /// The request that first carried it, with all events of which it stands or falls.
    pub(crate) request: u64,
    pub(crate) has_key: bool,
    pub(crate) acknowledged: Option<(String, u64)>,
    /// Answers that said it was new.
    firsts: u32,
    pub(crate) unknown: bool,
    refused: bool,
}

impl Entry {
    /// Every answer refused it, or it was never sent.
    pub(crate) fn must_be_absent(&self) -> bool {
        self.acknowledged.is_none() && !self.unknown
    }
}

/// The ledger of one run.
#[derive(Debug)]
pub(crate) struct Ledger {
    entries: Mutex<Entries>,
    findings: Arc<Findings>,
}

#[derive(Debug, Default)]
struct Entries {
    events: Vec<Entry>,
    requests: u64,
    acknowledged: usize,
}

impl Ledger {
    pub(crate) fn new(findings: Arc<Findings>) -> Self {
        Self { entries: Mutex::default(), findings }
    }

    /// Numbers the events of a request that is about to be sent for the first time.
    pub(crate) fn intend(&self, count: u64, has_key: bool) -> Range<u64> {
        let mut entries = self.lock();
        let first = entries.events.len() as u64;
        let request = entries.requests;
        entries.requests += 1;
        for _ in 0..count {
            entries.events.push(Entry { request, has_key, ..Entry::default() });
        }
        first..first + count
    }

    /// Takes down what became of a request that carried these events.
    pub(crate) fn record(&self, numbers: Range<u64>, outcome: &Outcome) {
        if let Outcome::Acknowledged(receipts) = outcome
            && receipts.len() as u64 != numbers.end - numbers.start
        {
            let what = format!("{} receipts for events {numbers:?}", receipts.len());
            return self.findings.add(Kind::Unexpected, what);
        }
        let mut entries = self.lock();
        for (place, number) in numbers.enumerate() {
            let Entries { events, acknowledged, .. } = &mut *entries;
            let entry = &mut events[number as usize];
            match outcome {
                Outcome::Acknowledged(receipts) => {
                    *acknowledged += usize::from(entry.acknowledged.is_none());
                    self.acknowledge(number, entry, &receipts[place]);
                }
                Outcome::Unknown => entry.unknown = true,
                Outcome::Refused => entry.refused = true,
            }
        }
    }

    fn acknowledge(&self, number: u64, entry: &mut Entry, receipt: &Receipt) {
        let found = (receipt.id.clone(), receipt.offset);
        if let Some(known) = entry.acknowledged.replace(found.clone())
            && known != found
        {
            self.findings.add(Kind::Double, format!("event {number} is {known:?} and {found:?}"));
        }
        entry.firsts += u32::from(!receipt.duplicate);
        if entry.firsts > 1 {
            self.findings.add(Kind::Double, format!("event {number} was new {} times", entry.firsts));
        }
        if receipt.duplicate && !entry.has_key {
            self.findings.add(Kind::Unexpected, format!("event {number} repeats one, and has no key"));
        }
    }

    /// Events acknowledged so far.
    pub(crate) fn acknowledged(&self) -> usize {
        self.lock().acknowledged
    }

    /// What is known of an event.
    pub(crate) fn entry(&self, number: u64) -> Entry {
        self.lock().events[number as usize].clone()
    }

    /// Everything, once nobody adds to it any more.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.lock().events.clone()
    }

    /// Events that some answer refused.
    pub(crate) fn refused(&self) -> usize {
        self.lock().events.iter().filter(|entry| entry.refused).count()
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap()
    }
}
