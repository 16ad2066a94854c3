//! Pull subscriptions: consumers that fetch events themselves, each event under a lease.
//!
//! ```text
//!  consumer ──▶ PullSubscription ── commands ──▶ the dispatcher: PullQueue, LeaseTable
//!      ▲                                             │
//!      └───────────── LeasedEvents ◀─────────────────┘ an ack, nack, expiry or departure ends the lease
//! ```
//!
//! The dispatcher is the one of push subscriptions; only the call of the sink is another: an event is leased to a pull that
//! waits, and how the lease ends is the outcome of the attempt. So order, retries, dead letters, rate, checkpoints and
//! replays are those of every subscription.
//!
//! - Nothing is read ahead of demand: while nobody pulls, a pull subscription costs no memory.
//! - Leases are in memory. What was leased when the process ended is delivered again after the next start, as if it had not
//!   been tried; a lease of before settles nothing.
//! - An ack counts when it is answered; the cursor is saved a moment later, as with every subscription, so a crash may
//!   repeat what was acknowledged within [`crate::EngineOptions::checkpoint_interval`].

mod consumers;
mod lease_table;
mod pull_queue;
mod token;

use std::time::Duration;

use eventrelay_event::{Purpose, StoredEvent};

pub use consumers::{Consumer, Consumers, PullSubscription, Pulled};
pub use token::LeaseToken;

pub(crate) use lease_table::{ConsumerId, Lease, LeaseTable, Missing};
pub(crate) use pull_queue::{Credit, PullId, PullQueue, WaitingPull};

/// The most events that one pull gets, and the most leases that are changed together.
pub const MAX_PULL_EVENTS: usize = 1000;
/// The most bytes of stored events that one pull gets; a larger event comes alone.
pub const MAX_PULL_BYTES: usize = 4 * 1024 * 1024;
/// The longest that a pull waits for an event.
pub const MAX_PULL_WAIT: Duration = Duration::from_secs(30);
/// The shortest lease.
pub const MIN_LEASE: Duration = Duration::from_secs(1);
/// The longest lease.
pub const MAX_LEASE: Duration = Duration::from_hours(12);
/// The most bytes of the reason of a nack.
pub const MAX_REASON_BYTES: usize = 1000;
/// The most pulls of one subscription that wait at once.
pub const MAX_WAITING_PULLS: usize = 1000;

/// What a consumer asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PullRequest {
    /// The most events; 1 to [`MAX_PULL_EVENTS`].
    pub max_events: usize,
    /// How long to wait while there is none; at most [`MAX_PULL_WAIT`].
    pub wait: Duration,
    /// How long each event is the consumer's; [`MIN_LEASE`] to [`MAX_LEASE`].
    pub lease: Duration,
}

/// An event that is one consumer's for a while.
#[derive(Debug, Clone)]
pub struct LeasedEvent {
    /// What to show to settle it.
    pub lease: LeaseToken,
    /// 1 for the first delivery.
    pub attempt: u32,
    /// Why it is delivered.
    pub purpose: Purpose,
    /// When the lease ends: microseconds since the Unix epoch.
    pub expires_at_micros: u64,
    /// The attempt's own span in the event's trace, or the event's context as it came; none where there is none.
    pub traceparent: Option<String>,
    /// The event.
    pub event: StoredEvent,
}

/// What is to become of leases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseChange {
    /// The events are dealt with.
    Ack,
    /// They are not, and are to be delivered again.
    Nack {
        /// After exactly this time, at most 24 hours; none: after the subscription's backoff.
        delay: Option<Duration>,
        /// What went wrong, for people; at most [`MAX_REASON_BYTES`].
        reason: Option<String>,
    },
    /// They need this much time from now on; [`MIN_LEASE`] to [`MAX_LEASE`].
    Extend {
        /// The time.
        lease: Duration,
    },
}

/// What a change did to one lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseResult {
    /// The event is settled, or was by an earlier ack of the same lease, not long ago.
    Acked,
    /// It will be delivered again, or is a dead letter where that was its last attempt.
    Nacked,
    /// It is the consumer's for longer.
    Extended,
    /// Nothing was done: the lease ran out, was taken back, or was settled before. The event may be somebody else's.
    Expired,
    /// Nothing was done: this subscription has given no such lease since the start.
    Unknown,
}

impl LeaseResult {
    /// The stable name: `acked`, `nacked`, `extended`, `expired` or `unknown`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Acked => "acked",
            Self::Nacked => "nacked",
            Self::Extended => "extended",
            Self::Expired => "expired",
            Self::Unknown => "unknown",
        }
    }
}

/// Why nothing could be pulled, or no lease changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PullError {
    /// The tenant has none of that name.
    #[error("there is no such subscription")]
    NotFound,
    /// It has a sink.
    #[error("the subscription has a sink, which its events go to: there is nothing to pull")]
    NotPull,
    /// Something is out of its limits.
    #[error("{field} must be {must_be}")]
    OutOfLimits {
        /// What.
        field: &'static str,
        /// What it must be.
        must_be: &'static str,
    },
    /// As many pulls wait as may.
    #[error("{MAX_WAITING_PULLS} pulls of the subscription wait already")]
    TooManyPulls,
    /// The process is ending. What was asked may have been done.
    #[error("the process is ending")]
    Ending,
}

impl PullRequest {
    /// Checks the limits.
    ///
    /// # Errors
    /// The first field that is out of them.
    pub fn validate(&self) -> Result<(), PullError> {
        if !(1..=MAX_PULL_EVENTS).contains(&self.max_events) {
            return Err(PullError::OutOfLimits { field: "max", must_be: "1 to 1000" });
        }
        if self.wait > MAX_PULL_WAIT {
            return Err(PullError::OutOfLimits { field: "wait_ms", must_be: "at most 30000" });
        }
        check_lease(self.lease)
    }
}

impl LeaseChange {
    /// Checks the limits.
    ///
    /// # Errors
    /// The first field that is out of them.
    pub fn validate(&self) -> Result<(), PullError> {
        match self {
            Self::Nack { delay: Some(delay), .. } if *delay > Duration::from_hours(24) => {
                Err(PullError::OutOfLimits { field: "delay_ms", must_be: "at most 86400000 (24 hours)" })
            }
            Self::Nack { reason: Some(reason), .. } if reason.len() > MAX_REASON_BYTES => {
                Err(PullError::OutOfLimits { field: "reason", must_be: "at most 1000 bytes" })
            }
            Self::Ack | Self::Nack { .. } => Ok(()),
            Self::Extend { lease } => check_lease(*lease),
        }
    }
}

fn check_lease(lease: Duration) -> Result<(), PullError> {
    if (MIN_LEASE..=MAX_LEASE).contains(&lease) {
        return Ok(());
    }
    Err(PullError::OutOfLimits { field: "lease_ms", must_be: "1000 to 43200000 (12 hours)" })
}
