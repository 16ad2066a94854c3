//! What publishers were told, and whether a log agrees.

use std::collections::BTreeMap;

use super::SimulatedLog;
use crate::commit_queue::{Answer, RecordOutcome};
use crate::error::{AppendError, Refusal};
use crate::record::{Group, Key};

/// One group that was handed to the log.
#[derive(Debug, Clone)]
pub(super) struct Publish {
    /// The number in each record's payload: no two records have the same.
    pub(super) numbers: Vec<u32>,
    pub(super) payload_bytes: usize,
    pub(super) key: Option<Key>,
    /// The disk's steps when it was handed over.
    pub(super) submitted: u64,
    pub(super) outcome: Outcome,
}

/// What the publisher heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Nothing yet.
    Pending,
    /// Acknowledged at these offsets when the disk had done so many steps.
    Acked {
        offsets: Vec<u64>,
        step: u64,
    },
    Unknown,
    Refused(&'static str),
}

/// Every publish, in order.
#[derive(Debug, Clone, Default)]
pub(super) struct Ledger {
    pub(super) publishes: Vec<Publish>,
    next_number: u32,
}

impl Ledger {
    /// Takes note of a publish of `count` records, and gives the group to hand over.
    pub(super) fn publish(&mut self, count: u32, payload_bytes: usize, key: Option<Key>, step: u64) -> Group {
        let numbers: Vec<u32> = (self.next_number..).take(count as usize).collect();
        self.next_number += count;
        let group = group(&numbers, payload_bytes, key);
        let outcome = Outcome::Pending;
        self.publishes.push(Publish { numbers, payload_bytes, key, submitted: step, outcome });
        group
    }

    /// Takes note of a record that may be there or not.
    pub(super) fn expect_possibly(&mut self, number: u32, payload_bytes: usize) {
        let outcome = Outcome::Unknown;
        self.publishes.push(Publish {
            numbers: vec![number],
            payload_bytes,
            key: None,
            submitted: 0,
            outcome,
        });
    }

    /// Takes note of what the last publish without an answer heard.
    pub(super) fn answered(&mut self, at: usize, answer: Answer, step: u64) {
        self.publishes[at].outcome = match answer {
            Ok(group) => {
                let offset = |outcome: &RecordOutcome| match *outcome {
                    RecordOutcome::Appended { offset, .. } | RecordOutcome::Exists { offset, .. } => offset,
                };
                Outcome::Acked { offsets: group.records.iter().map(offset).collect(), step }
            }
            Err(AppendError::Unknown { .. }) => Outcome::Unknown,
            Err(AppendError::KeyConflict { .. }) => Outcome::Refused("key conflict"),
            Err(AppendError::Refused(Refusal::DiskFull)) => Outcome::Refused("disk full"),
            Err(AppendError::Refused(_)) => Outcome::Refused("other"),
        };
    }

    /// Checks a log that was opened after a crash during step `crashed`: nothing acknowledged is lost, nothing is invented,
    /// torn apart, doubled or out of order.
    pub(super) fn check(&self, log: &SimulatedLog, crashed: u64, context: &dyn Fn() -> String) {
        let records = log.read_all().unwrap_or_else(|error| panic!("{error}\n{}", context()));
        let mut place: BTreeMap<u32, u64> = BTreeMap::new();
        let mut last = None;
        for record in &records {
            let number = number_of(&record.payload);
            let publish = self.publishes.iter().find(|publish| publish.numbers.contains(&number));
            let publish = publish.unwrap_or_else(|| panic!("invented record {number}\n{}", context()));
            assert!(publish.submitted < crashed, "record {number} comes from the future\n{}", context());
            assert_eq!(record.payload, payload(number, publish.payload_bytes), "content\n{}", context());
            assert_eq!(record.key, publish.key, "key\n{}", context());
            assert!(last < Some(number), "record {number} is out of order after {last:?}\n{}", context());
            last = Some(number);
            assert!(
                place.insert(number, record.offset).is_none(),
                "record {number} is doubled\n{}",
                context()
            );
        }
        for publish in &self.publishes {
            self.check_publish(publish, &place, log.oldest_offset(), crashed, context);
        }
    }

    fn check_publish(
        &self,
        publish: &Publish,
        place: &BTreeMap<u32, u64>,
        oldest: u64,
        crashed: u64,
        context: &dyn Fn() -> String,
    ) {
        let present = publish.numbers.iter().filter(|number| place.contains_key(number)).count();
        match &publish.outcome {
            Outcome::Acked { offsets, step } if *step < crashed => {
                for (number, offset) in publish.numbers.iter().zip(offsets) {
                    // A repeated key is answered with the place of its first holder.
                    let holders =
                        self.publishes.iter().filter(|other| other.key.is_some() && other.key == publish.key);
                    let mut numbers = holders.flat_map(|other| other.numbers.iter()).chain([number]);
                    let found = numbers.any(|number| place.get(number) == Some(offset));
                    let let_go = *offset < oldest;
                    assert!(let_go || found, "{number} was acknowledged at {offset}\n{}", context());
                }
            }
            Outcome::Refused(why) => assert_eq!(present, 0, "refused ({why}) but there\n{}", context()),
            Outcome::Acked { .. } | Outcome::Unknown | Outcome::Pending => {
                // Retention cuts between commits, so a group that is partly let go was whole.
                let let_go =
                    oldest > 0 && publish.numbers.iter().any(|number| Some(number) < place.keys().next());
                let whole = present == 0 || present == publish.numbers.len() || let_go;
                assert!(whole, "half a group: {:?}\n{}", publish.numbers, context());
            }
        }
    }

    /// The record that holds a key.
    pub(super) fn first_with(&self, key: Key) -> Option<u32> {
        let same =
            |publish: &&Publish| publish.key == Some(key) && matches!(publish.outcome, Outcome::Acked { .. });
        self.publishes.iter().find(same).map(|publish| publish.numbers[0])
    }
}

pub(super) fn group(numbers: &[u32], payload_bytes: usize, key: Option<Key>) -> Group {
    let mut group = Group::new();
    for number in numbers {
        group.push(key, |out| out.extend_from_slice(&payload(*number, payload_bytes)));
    }
    group
}

/// A payload that tells its number, and no other payload's bytes.
pub(super) fn payload(number: u32, bytes: usize) -> Vec<u8> {
    let mut payload = number.to_le_bytes().to_vec();
    let mut state = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    while payload.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        payload.extend_from_slice(&state.to_le_bytes());
    }
    payload
}

pub(super) fn number_of(payload: &[u8]) -> u32 {
    u32::from_le_bytes(payload[..4].try_into().expect("four bytes"))
}
