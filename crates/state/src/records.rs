//! What is stored for a subscription, as its reader and writer see it. Times are microseconds since the Unix epoch.

use bytes::Bytes;
use eventrelay_event::Purpose;
use serde::{Deserialize, Serialize};

use crate::{Progress, ReplayId, ReplayProgress, Subscription};

/// A subscription's number in the state store; never used again for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubscriptionId(pub i64);

/// A stored subscription.
#[derive(Debug, Clone, PartialEq)]
pub struct SubscriptionRecord {
    /// Its number.
    pub id: SubscriptionId,
    /// What was declared.
    pub spec: Subscription,
    /// Whether it delivers.
    pub lifecycle: Lifecycle,
    /// Where it began: nothing below was ever for it.
    pub start_offset: u64,
    /// Who declared it.
    pub origin: Origin,
    /// How often it has been changed, from 1: a new number with every change of declaration or lifecycle.
    pub revision: u64,
    /// When it was first declared.
    pub created_at_micros: u64,
    /// When it was last changed.
    pub updated_at_micros: u64,
}

/// Who declares a subscription, and so may change its declaration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The configuration file: it changes there.
    Configuration,
    /// The API: it stays until it is deleted there.
    Api,
}

impl Origin {
    /// The stable name: `configuration` or `api`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Api => "api",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Self::Configuration, Self::Api].into_iter().find(|origin| origin.name() == name)
    }
}

/// Whether a subscription delivers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lifecycle {
    /// It does.
    Enabled,
    /// An operator stopped it.
    Paused,
    /// It was stopped because its target wants nothing more; its cursor waits.
    Disabled {
        /// Why, for people.
        reason: String,
    },
    /// It is no longer declared. It keeps its cursor and dead letters, and delivers again once it is declared again.
    Orphaned,
}

impl Lifecycle {
    /// The stable name: `enabled`, `paused`, `disabled` or `orphaned`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Paused => "paused",
            Self::Disabled { .. } => "disabled",
            Self::Orphaned => "orphaned",
        }
    }

    pub(crate) fn reason(&self) -> Option<&str> {
        match self {
            Self::Disabled { reason } => Some(reason),
            Self::Enabled | Self::Paused | Self::Orphaned => None,
        }
    }

    pub(crate) fn from_columns(name: &str, reason: Option<String>) -> Option<Self> {
        match name {
            "enabled" => Some(Self::Enabled),
            "paused" => Some(Self::Paused),
            "disabled" => Some(Self::Disabled { reason: reason.unwrap_or_default() }),
            "orphaned" => Some(Self::Orphaned),
            _ => None,
        }
    }
}

/// Where a subscription stands, as last saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// Which offsets need nothing more, or are in `retrying`.
    pub progress: Progress,
    /// Deliveries to be tried again, in offset order.
    pub retrying: Vec<Retrying>,
}

/// A delivery that failed and is to be tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retrying {
    /// The event's offset. The event itself stays in the log.
    pub offset: u64,
    /// Attempts made so far.
    pub attempts: u32,
    /// How many of them ended in a panic of the sink.
    pub panics: u32,
    /// When the next attempt is due.
    pub due_at_micros: u64,
    /// When the first attempt failed.
    pub first_failed_at_micros: u64,
    /// What went wrong last, for people.
    pub last_error: String,
    /// The event's key, where the subscription keeps order by key.
    pub event_key: Option<String>,
    /// Why it is on its way.
    pub purpose: Purpose,
}

/// A delivery that will not be tried again by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The event's offset.
    pub offset: u64,
    /// When the event was appended; unknown when the log no longer had it.
    pub append_time_micros: Option<u64>,
    /// The encoded event; none when the log no longer had it.
    pub event: Option<Bytes>,
    /// Why it was given up, for people.
    pub reason: String,
    /// Attempts made.
    pub attempts: u32,
    /// When the first attempt failed.
    pub first_failed_at_micros: u64,
    /// When it was given up.
    pub dead_at_micros: u64,
}

/// A kept attempt's number; never used again for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttemptId(pub i64);

/// One attempt, kept for people to look at. Which ones are kept is the subscription's `keep_attempts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptRecord {
    /// The event's offset.
    pub offset: u64,
    /// 1 for the first try.
    pub attempt: u32,
    /// Why the event was on its way.
    pub purpose: Purpose,
    /// What came of it.
    pub outcome: AttemptOutcome,
    /// What went wrong, for people; empty when delivered.
    pub reason: String,
    /// When it began.
    pub started_at_micros: u64,
    /// How long it took.
    pub took_micros: u64,
    /// The target's status code, where it has one.
    pub response_status: Option<u16>,
    /// The first bytes of the target's answer, at most [`Self::RESPONSE_LIMIT_BYTES`].
    pub response_body: Option<Bytes>,
    /// Whether the answer was longer.
    pub response_truncated: bool,
    /// What else is known of what was sent and came back, where the sink tells it.
    pub exchange: Option<Exchange>,
}

/// A request and the head of its answer, as a person may see them: without secrets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exchange {
    /// `POST`, for example.
    pub method: String,
    /// Where to, without what may be secret in it.
    pub url: String,
    /// The request's headers in their order.
    pub request_headers: Vec<(String, String)>,
    /// The first bytes of the request's body, as text.
    pub request_body: String,
    /// Whether the body was longer.
    pub request_truncated: bool,
    /// The answer's headers in their order; empty where none came.
    pub response_headers: Vec<(String, String)>,
}

impl AttemptRecord {
    /// How much of a target's answer is kept.
    pub const RESPONSE_LIMIT_BYTES: usize = 4096;
    /// How many of a subscription's attempts are kept, the newest.
    pub const KEPT_PER_SUBSCRIPTION: u32 = 1000;
}

/// What came of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// The target has it.
    Delivered,
    /// It is to be tried again.
    Retry,
    /// It was refused for good.
    Reject,
    /// The target wants nothing more.
    Gone,
}

impl AttemptOutcome {
    /// The stable name: `delivered`, `retry`, `reject` or `gone`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Retry => "retry",
            Self::Reject => "reject",
            Self::Gone => "gone",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Self::Delivered, Self::Retry, Self::Reject, Self::Gone]
            .into_iter()
            .find(|outcome| outcome.name() == name)
    }
}

/// What a subscription saves at once: all of it in one transaction, or none.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// Whose.
    pub subscription: SubscriptionId,
    /// Which offsets need nothing more, once the changes below are saved too.
    pub progress: Progress,
    /// Deliveries whose retry is new or has changed.
    pub retrying: Vec<Retrying>,
    /// Offsets whose retry is over.
    pub no_longer_retrying: Vec<u64>,
    /// New dead letters. One without an event keeps the event of an earlier one of its offset.
    pub dead_letters: Vec<DeadLetter>,
    /// Offsets of letters that are dead no more.
    pub no_longer_dead: Vec<u64>,
    /// Replays that have come on.
    pub replays: Vec<(ReplayId, ReplayProgress)>,
    /// That its target wants nothing more, or again; counts only for what is enabled, or disabled, by then.
    pub lifecycle: Option<Lifecycle>,
    /// New attempts to keep, oldest first.
    pub attempts: Vec<AttemptRecord>,
}
