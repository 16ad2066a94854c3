//! The events, each of which follows from the seed and its number: whoever sees one can tell whether it is whole
//! without remembering any.

use serde_json::Value;

use crate::random::{Random, mix};

/// How many ordering keys there are.
const ORDER_KEYS: u64 = 12;
/// One event in so many is for the target that refuses everything.
const POISON_EVERY: u64 = 40;
/// One event in so many is large enough to fill a good part of a commit.
const LARGE_EVERY: u64 = 61;
const LARGE_BYTES: u64 = 20_000;
const USUAL_BYTES: u64 = 400;

pub(crate) const SOURCE: &str = "/crash-loop";
pub(crate) const USUAL_TYPE: &str = "crash.event";
pub(crate) const POISON_TYPE: &str = "crash.poison";

/// The events of one run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Workload {
    seed: u64,
}

impl Workload {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// Whether the event goes to the target that refuses everything, and to no other.
    pub(crate) fn is_poison(self, number: u64) -> bool {
        mix(self.seed, number).is_multiple_of(POISON_EVERY)
    }

    /// What `by_key` order goes by; some events have none.
    pub(crate) fn order_key(self, number: u64) -> Option<String> {
        let key = mix(self.seed ^ 1, number) % (ORDER_KEYS + 1);
        (key < ORDER_KEYS).then(|| format!("key-{key}"))
    }

    pub(crate) fn event_type(self, number: u64) -> &'static str {
        if self.is_poison(number) { POISON_TYPE } else { USUAL_TYPE }
    }

    /// The event's data as JSON.
    pub(crate) fn data(self, number: u64) -> String {
        let mut random = Random::new(mix(self.seed ^ 2, number));
        let bytes = if random.one_in(LARGE_EVERY) { LARGE_BYTES } else { random.below(USUAL_BYTES) };
        let mut text = format!(r#"{{"number":{number},"noise":""#);
        for _ in 0..bytes / 16 {
            text.push_str(&format!("{:016x}", random.next()));
        }
        text.push_str("\"}");
        text
    }

    /// The event in our own JSON form.
    pub(crate) fn event(self, number: u64, idempotency_key: Option<&str>) -> String {
        let optional = |name: &str, value: Option<&str>| {
            value.map_or_else(String::new, |value| format!(r#","{name}":"{value}""#))
        };
        format!(
            r#"{{"type":"{}","source":"{SOURCE}"{}{},"data":{}}}"#,
            self.event_type(number),
            optional("key", self.order_key(number).as_deref()),
            optional("idempotency_key", idempotency_key),
            self.data(number)
        )
    }

    /// The event as a CloudEvent, whose `id` names it.
    pub(crate) fn cloud_event(self, number: u64, id: &str) -> String {
        let key =
            self.order_key(number).map_or_else(String::new, |key| format!(r#","partitionkey":"{key}""#));
        format!(
            r#"{{"specversion":"1.0","id":"{id}","type":"{}","source":"{SOURCE}"{key},"data":{}}}"#,
            self.event_type(number),
            self.data(number)
        )
    }

    /// The number of an event that has this data, if it has exactly what that event should have.
    pub(crate) fn recognise(self, data: &Value) -> Result<u64, String> {
        let number = data["number"].as_u64().ok_or_else(|| format!("data without a number: {data}"))?;
        let expected: Value =
            serde_json::from_str(&self.data(number)).map_err(|error| format!("own data: {error}"))?;
        if *data == expected { Ok(number) } else { Err(format!("event {number} has other data: {data}")) }
    }
}
