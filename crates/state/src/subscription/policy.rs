//! How a subscription delivers: batches, retries and the circuit breaker.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How many events a call of the sink takes. The smaller of this and the sink's own limit applies.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BatchSettings {
    /// The most events of a call. Default: the sink's own limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_events: Option<NonZeroU32>,
    /// The most bytes of stored events in a call; one event is always taken. Default: the sink's own limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<NonZeroU32>,
    /// How long the first event of a call that is not full waits for more, in milliseconds; 0 is not at all. At most
    /// 3,600,000. Default: the sink's own, which is 0 for all but object storage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age_ms: Option<u32>,
}

impl BatchSettings {
    pub(super) fn validate(&self) -> Result<(), (&'static str, &'static str)> {
        if self.max_age_ms.is_some_and(|age| age > 3_600_000) {
            return Err(("batch.max_age_ms", "must be at most 3600000 (an hour)"));
        }
        Ok(())
    }
}

/// So many events in so much time, evenly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// How many.
    pub events: NonZeroU32,
    /// In how many milliseconds. Default 1,000; at most a day.
    #[serde(default = "Rate::second")]
    pub period_ms: NonZeroU32,
}

impl Rate {
    /// The longest period.
    pub(super) const PERIOD_LIMIT_MS: u32 = 86_400_000;

    /// So many events a second.
    #[must_use]
    pub fn per_second(events: NonZeroU32) -> Self {
        Self { events, period_ms: Self::second() }
    }

    /// How many events that is a second.
    #[must_use]
    pub fn events_per_second(self) -> f64 {
        f64::from(self.events.get()) * 1000.0 / f64::from(self.period_ms.get())
    }

    fn second() -> NonZeroU32 {
        const { NonZeroU32::new(1000).unwrap() }
    }
}

/// When a failed delivery is tried again: after a time drawn evenly from
/// `0 ..= min(max_backoff_ms, initial_backoff_ms · backoff_multiplierⁿ)`, where n counts its failures from 0.
///
/// The defaults give 12 attempts over about three days: the longest waits are 5 s, 30 s, 3 min, 18 min, 1.8 h,
/// 10.8 h and then 24 h, and a drawn wait is half of the longest on average.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetryPolicy {
    /// The attempts after which a delivery becomes a dead letter. Default 12.
    pub max_attempts: NonZeroU32,
    /// The longest wait after the first failure. Default 5,000.
    pub initial_backoff_ms: u64,
    /// How much longer the longest wait becomes with each failure. Default 6.
    pub backoff_multiplier: NonZeroU32,
    /// What the longest wait never exceeds. Default and limit: 24 hours.
    pub max_backoff_ms: u64,
    /// The waits after each failure, one by one, instead of the three above; the last one holds for all later failures. Each is
    /// drawn from within a fifth of what stands here. At most 100, of at most 24 hours.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub schedule_ms: Vec<u64>,
    /// How long one call of the sink may take. Default 30,000; 1 to 3,600,000.
    pub timeout_ms: u64,
    /// The most deliveries that wait for a retry at once; at the bound the cursor waits. Default 10,000, at most
    /// 1,000,000.
    pub max_retrying: NonZeroU32,
}

impl RetryPolicy {
    /// No wait is longer, whatever the policy or a target asks.
    pub const BACKOFF_LIMIT: Duration = Duration::from_hours(24);
    /// The most waits that a schedule has.
    pub const SCHEDULE_LIMIT: usize = 100;

    pub(super) fn validate(&self) -> Result<(), (&'static str, &'static str)> {
        if u128::from(self.max_backoff_ms) > Self::BACKOFF_LIMIT.as_millis() {
            return Err(("retry.max_backoff_ms", "must be at most 86400000 (24 hours)"));
        }
        if self.schedule_ms.len() > Self::SCHEDULE_LIMIT
            || self.schedule_ms.iter().any(|wait| u128::from(*wait) > Self::BACKOFF_LIMIT.as_millis())
        {
            return Err(("retry.schedule_ms", "must be at most 100 waits of at most 86400000 (24 hours)"));
        }
        if !(1..=3_600_000).contains(&self.timeout_ms) {
            return Err(("retry.timeout_ms", "must be 1 to 3600000 (an hour)"));
        }
        if self.max_retrying.get() > 1_000_000 {
            return Err(("retry.max_retrying", "must be at most 1000000"));
        }
        Ok(())
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: const { NonZeroU32::new(12).unwrap() },
            initial_backoff_ms: 5_000,
            backoff_multiplier: const { NonZeroU32::new(6).unwrap() },
            max_backoff_ms: 24 * 60 * 60 * 1000,
            schedule_ms: Vec::new(),
            timeout_ms: 30_000,
            max_retrying: const { NonZeroU32::new(10_000).unwrap() },
        }
    }
}

/// When a target counts as down: the breaker opens, the cursor waits, and one delivery at a time probes the target.
/// A call of the sink has failed when every delivery in it is to be tried again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BreakerSettings {
    /// Opens after this many failed calls in a row. Default 10.
    pub consecutive_failures: NonZeroU32,
    /// Opens when this share of the latest calls failed. Default 0.5; above 0, at most 1.
    pub failure_ratio: f64,
    /// How many of the latest calls the share is taken over. Default 100, at most 10,000.
    pub window: NonZeroU32,
    /// The wait before the first probe; each failed probe doubles it. Default 1,000.
    pub initial_probe_delay_ms: u64,
    /// What the wait between probes never exceeds. Default 60,000; at most an hour.
    pub max_probe_delay_ms: u64,
}

impl BreakerSettings {
    pub(super) fn validate(&self) -> Result<(), (&'static str, &'static str)> {
        if !(self.failure_ratio > 0.0 && self.failure_ratio <= 1.0) {
            return Err(("breaker.failure_ratio", "must be above 0 and at most 1"));
        }
        if self.window.get() > 10_000 {
            return Err(("breaker.window", "must be at most 10000"));
        }
        if self.initial_probe_delay_ms == 0 || self.max_probe_delay_ms < self.initial_probe_delay_ms {
            return Err((
                "breaker.initial_probe_delay_ms",
                "must be at least 1 and at most max_probe_delay_ms",
            ));
        }
        if self.max_probe_delay_ms > 3_600_000 {
            return Err(("breaker.max_probe_delay_ms", "must be at most 3600000 (an hour)"));
        }
        Ok(())
    }
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self {
            consecutive_failures: const { NonZeroU32::new(10).unwrap() },
            failure_ratio: 0.5,
            window: const { NonZeroU32::new(100).unwrap() },
            initial_probe_delay_ms: 1_000,
            max_probe_delay_ms: 60_000,
        }
    }
}
