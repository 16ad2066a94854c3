//! A subscription as a person declares it, in the configuration file (`[[subscriptions]]`) or through the API.
//!
//! ```toml
//! [[subscriptions]]
//! name = "orders-to-billing"
//! filter = { types = ["order.*"] }
//! order = "by_key"
//! sink = { kind = "webhook", url = "https://billing.example/hooks" }
//! ```
//!
//! One without a sink is a pull subscription: consumers fetch its events themselves.

mod policy;
mod start;

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use eventrelay_event::Tenant;
use eventrelay_expression::{EventFilter, Transform};
use serde::{Deserialize, Serialize};

pub use policy::{BatchSettings, BreakerSettings, Rate, RetryPolicy};
pub use start::Start;

/// A durable interest in events: which, from where on, how, and to which target, if to any.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subscription {
    /// Its name, unique within the tenant: 1 to 64 characters of `a-z`, `0-9`, `-` and `_`.
    pub name: String,
    /// Whose events it receives. Default `default`.
    #[serde(default, with = "tenant_text")]
    pub tenant: Tenant,
    /// What it is for, in the owner's words: at most 1,024 characters.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The owner's own notes, which mean nothing here: at most 50, names of at most 128 and values of at most 1,024 characters.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// Which events it receives. Default: all of the tenant's.
    #[serde(default)]
    pub filter: EventFilter,
    /// What is delivered in place of the event's data. Default: the data as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transform: Option<Transform>,
    /// Where a *new* subscription begins; an existing one keeps its cursor. Default `latest`.
    #[serde(default)]
    pub start: Start,
    /// What order deliveries keep. Default `unordered`.
    #[serde(default)]
    pub order: Order,
    /// The most calls of the sink at once; `strict` order always has one. Of a pull subscription, the most events that its
    /// consumers have leased together. Default 64, at most 4,096.
    #[serde(default = "default_max_in_flight")]
    pub max_in_flight: NonZeroU32,
    /// How many events a call of the sink, or a pull, takes, within its own limit.
    #[serde(default)]
    pub batch: BatchSettings,
    /// When failed deliveries are tried again, and when they are given up.
    #[serde(default)]
    pub retry: RetryPolicy,
    /// When a target counts as down, and how it is probed.
    #[serde(default)]
    pub breaker: BreakerSettings,
    /// The most events a second, retries included. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_events_per_second: Option<NonZeroU32>,
    /// The same with a period of its own, for less than one a second: not both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<Rate>,
    /// Which attempts are kept for people to look at. Default `failures`.
    #[serde(default, skip_serializing_if = "KeepAttempts::is_default")]
    pub keep_attempts: KeepAttempts,
    /// Through what it delivers. None: consumers pull its events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sink: Option<SinkSpec>,
}

/// What order a subscription's deliveries keep.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// None: as fast as the target allows.
    #[default]
    Unordered,
    /// Events with the same `key` one after another; a failing key holds back only itself. Events without a key
    /// keep no order.
    ByKey,
    /// One call at a time, in the log's order; a failure holds back everything behind it.
    Strict,
}

/// Which attempts are kept, of each subscription the newest thousand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeepAttempts {
    /// Those that failed, and those that succeeded after a failure: an event that is delivered at the first try costs no write.
    #[default]
    Failures,
    /// All of them.
    All,
}

impl KeepAttempts {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The sink's kind, and beside it the settings of that kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SinkSpec {
    /// Which sink: `webhook`, `kafka`, `postgres`, …
    pub kind: String,
    /// The kind's own settings, which that sink checks.
    #[serde(flatten)]
    pub settings: serde_json::Map<String, serde_json::Value>,
}

/// A subscription that cannot be: which field, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("subscription `{name}`: {field} {why}")]
pub struct InvalidSubscription {
    /// The subscription's name as declared.
    pub name: String,
    /// The field, as in the configuration file.
    pub field: &'static str,
    /// What it must be.
    pub why: &'static str,
}

impl Subscription {
    /// The most that [`Self::max_in_flight`] may be.
    pub const MAX_IN_FLIGHT_LIMIT: u32 = 4096;
    /// The most characters of a name.
    pub const NAME_MAX_CHARS: usize = 64;
    /// The most characters of a description, and of a value of the metadata.
    pub const TEXT_MAX_CHARS: usize = 1024;
    /// The most entries of the metadata.
    pub const METADATA_MAX_ENTRIES: usize = 50;
    /// The most characters of a name in the metadata.
    pub const METADATA_NAME_MAX_CHARS: usize = 128;

    /// Checks what the types alone cannot.
    ///
    /// # Errors
    /// The first field that is out of its limits.
    pub fn validate(&self) -> Result<(), InvalidSubscription> {
        let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        if self.name.is_empty() || self.name.len() > Self::NAME_MAX_CHARS || !self.name.bytes().all(legal) {
            return Err(self.invalid("name", "must be 1 to 64 characters of a-z, 0-9, '-' and '_'"));
        }
        self.validate_notes()?;
        if self.max_in_flight.get() > Self::MAX_IN_FLIGHT_LIMIT {
            return Err(self.invalid("max_in_flight", "must be at most 4096"));
        }
        if self.max_events_per_second.is_some() && self.rate_limit.is_some() {
            return Err(self.invalid("rate_limit", "and max_events_per_second say the same: set one of them"));
        }
        if self.rate_limit.is_some_and(|rate| rate.period_ms.get() > Rate::PERIOD_LIMIT_MS) {
            return Err(self.invalid("rate_limit.period_ms", "must be at most 86400000 (a day)"));
        }
        if self.sink.is_none() && self.batch.max_age_ms.is_some() {
            return Err(
                self.invalid("batch.max_age_ms", "is for sinks: a pull says itself how long it waits")
            );
        }
        self.batch.validate().map_err(|(field, why)| self.invalid(field, why))?;
        self.retry.validate().map_err(|(field, why)| self.invalid(field, why))?;
        self.breaker.validate().map_err(|(field, why)| self.invalid(field, why))
    }

    /// Whether another declaration of the same subscription delivers in the same way: notes may differ, and where a new one
    /// begins.
    #[must_use]
    pub fn delivers_like(&self, other: &Self) -> bool {
        let noted = |spec: &Self| Self {
            description: String::new(),
            metadata: BTreeMap::new(),
            start: Start::default(),
            ..spec.clone()
        };
        noted(self) == noted(other)
    }

    fn validate_notes(&self) -> Result<(), InvalidSubscription> {
        let is_long = |text: &str| text.chars().count() > Self::TEXT_MAX_CHARS;
        if is_long(&self.description) {
            return Err(self.invalid("description", "must be at most 1024 characters"));
        }
        if self.metadata.len() > Self::METADATA_MAX_ENTRIES {
            return Err(self.invalid("metadata", "must have at most 50 entries"));
        }
        let is_legal = |name: &str| !name.is_empty() && name.chars().count() <= Self::METADATA_NAME_MAX_CHARS;
        if self.metadata.iter().any(|(name, value)| !is_legal(name) || is_long(value)) {
            return Err(
                self.invalid("metadata", "must have names of 1 to 128 and values of at most 1024 characters")
            );
        }
        Ok(())
    }

    /// How many events may be delivered in what time, retries included; none where there is no limit.
    #[must_use]
    pub fn rate(&self) -> Option<Rate> {
        self.rate_limit.or(self.max_events_per_second.map(Rate::per_second))
    }

    fn invalid(&self, field: &'static str, why: &'static str) -> InvalidSubscription {
        InvalidSubscription { name: self.name.clone(), field, why }
    }
}

fn default_max_in_flight() -> NonZeroU32 {
    const { NonZeroU32::new(64).unwrap() }
}

/// A tenant is written as its name.
mod tenant_text {
    use eventrelay_event::Tenant;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(tenant: &Tenant, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(tenant.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Tenant, D::Error> {
        let name = String::deserialize(deserializer)?;
        Tenant::parse(&name).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
