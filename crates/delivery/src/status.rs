//! What a subscription is doing, for health, metrics and people.
//!
//! A dispatcher writes, anyone reads: numbers are atomics, so that a scrape never holds up a delivery.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use eventrelay_state::SubscriptionId;

use crate::activity::Activity;
use crate::breaker::BreakerState;
use crate::metrics::SubscriptionMetrics;

/// A subscription, seen at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct SubscriptionStatus {
    /// Its number.
    pub id: SubscriptionId,
    /// Its tenant.
    pub tenant: String,
    /// Its name.
    pub name: String,
    /// The kind of its sink; `pull` where consumers pull.
    pub sink: &'static str,
    /// Whether it delivers.
    pub run_state: RunState,
    /// Whether its target counts as down.
    pub breaker: BreakerState,
    /// Every offset below it needs nothing more, or waits for a retry.
    pub cursor: u64,
    /// The cursor as saved: where a restart begins.
    pub durable_cursor: u64,
    /// How many durable events are at or past the cursor.
    pub lag_events: u64,
    /// How long ago the event at the cursor was appended; 0 when there is none.
    pub lag_seconds: f64,
    /// Calls of the sink that are on their way.
    pub in_flight_calls: u64,
    /// Deliveries that wait for a retry, or are being retried.
    pub retrying: u64,
    /// Events that wait for an earlier one of their key.
    pub waiting_for_key: u64,
    /// Events that consumers have leased.
    pub leased_events: u64,
    /// Pulls that wait for events.
    pub waiting_pulls: u64,
    /// Dead letters, as far as they are saved, and those of this run.
    pub dead_letters: u64,
    /// Deliveries that succeeded since the start.
    pub delivered: u64,
    /// Events that retention dropped, or a repair gave up, before they could be delivered; since the start.
    pub lost_events: u64,
    /// Why the latest save of the cursor failed; none when it did not.
    pub save_error: Option<String>,
}

/// Whether a subscription delivers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunState {
    /// It does, or waits for events.
    Running,
    /// An operator stopped it.
    Paused,
    /// Its target wants nothing more.
    Disabled {
        /// What the target said.
        reason: String,
    },
    /// It stopped where the log cannot be read, and skips nothing; or it could not be started after a change.
    Damaged {
        /// What was found, naming segment and offset; or what failed.
        why: String,
    },
    /// It stopped at an event of which its filter cannot tell whether it is wanted, and skips nothing.
    FilterStopped {
        /// What the filter fails for, naming the event's offset and the place in the expression.
        why: String,
    },
    /// The engine was shut down.
    Stopped,
}

impl RunState {
    /// The stable name: `running`, `paused`, `disabled`, `damaged`, `filter_stopped` or `stopped`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Disabled { .. } => "disabled",
            Self::Damaged { .. } => "damaged",
            Self::FilterStopped { .. } => "filter_stopped",
            Self::Stopped => "stopped",
        }
    }
}

/// What a dispatcher tells while it runs.
#[derive(Debug)]
pub(crate) struct SubscriptionStats {
    pub(crate) metrics: SubscriptionMetrics,
    pub(crate) cursor: AtomicU64,
    pub(crate) durable_cursor: AtomicU64,
    /// The lowest offset that the log must keep for this subscription.
    pub(crate) needed: AtomicU64,
    /// When the event at the cursor was appended; 0 while unknown.
    pub(crate) cursor_appended_micros: AtomicU64,
    pub(crate) in_flight_calls: AtomicU64,
    pub(crate) retrying: AtomicU64,
    pub(crate) waiting_for_key: AtomicU64,
    pub(crate) dead_letters: AtomicU64,
    pub(crate) leased_events: AtomicU64,
    /// What came of calls lately; locked once a call.
    pub(crate) activity: parking_lot::Mutex<Activity>,
    breaker: AtomicU8,
    words: Mutex<Words>,
}

#[derive(Debug)]
struct Words {
    run_state: RunState,
    save_error: Option<String>,
}

impl SubscriptionStats {
    pub(crate) fn new(metrics: SubscriptionMetrics, run_state: RunState, cursor: u64, needed: u64) -> Self {
        Self {
            metrics,
            cursor: AtomicU64::new(cursor),
            durable_cursor: AtomicU64::new(cursor),
            needed: AtomicU64::new(needed),
            cursor_appended_micros: AtomicU64::new(0),
            in_flight_calls: AtomicU64::new(0),
            retrying: AtomicU64::new(0),
            waiting_for_key: AtomicU64::new(0),
            dead_letters: AtomicU64::new(0),
            leased_events: AtomicU64::new(0),
            activity: parking_lot::Mutex::default(),
            breaker: AtomicU8::new(0),
            words: Mutex::new(Words { run_state, save_error: None }),
        }
    }

    pub(crate) fn set_run_state(&self, run_state: RunState) {
        self.words.lock().unwrap_or_else(PoisonError::into_inner).run_state = run_state;
    }

    pub(crate) fn run_state(&self) -> RunState {
        self.words.lock().unwrap_or_else(PoisonError::into_inner).run_state.clone()
    }

    pub(crate) fn set_save_error(&self, error: Option<String>) {
        self.words.lock().unwrap_or_else(PoisonError::into_inner).save_error = error;
    }

    pub(crate) fn save_error(&self) -> Option<String> {
        self.words.lock().unwrap_or_else(PoisonError::into_inner).save_error.clone()
    }

    pub(crate) fn set_breaker(&self, state: BreakerState) {
        let number = match state {
            BreakerState::Closed => 0,
            BreakerState::HalfOpen => 1,
            BreakerState::Open => 2,
        };
        self.breaker.store(number, Ordering::Relaxed);
    }

    pub(crate) fn breaker(&self) -> BreakerState {
        match self.breaker.load(Ordering::Relaxed) {
            0 => BreakerState::Closed,
            1 => BreakerState::HalfOpen,
            _ => BreakerState::Open,
        }
    }
}
