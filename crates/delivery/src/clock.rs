//! One clock for a dispatcher: waits go by the monotonic clock, stored times by the wall clock read once at the start.
//!
//! So a step of the system's clock neither brings a storm of retries nor postpones them; only a restart looks at the
//! wall clock again.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Turns instants into stored times and back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    started: Instant,
    started_micros: u64,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { started: Instant::now(), started_micros: wall_micros(SystemTime::now()) }
    }

    pub(crate) fn now_micros(&self) -> u64 {
        self.micros_at(Instant::now())
    }

    /// A stored time, in microseconds since the Unix epoch.
    pub(crate) fn micros_at(&self, instant: Instant) -> u64 {
        self.started_micros.saturating_add(micros(instant.saturating_duration_since(self.started)))
    }

    /// When a stored time comes, but never later than `latest` from now: a clock that was wrong when the time was
    /// stored does not postpone it for years.
    pub(crate) fn instant_at(&self, micros: u64, latest: Duration) -> Instant {
        let wait = Duration::from_micros(micros.saturating_sub(self.now_micros()));
        Instant::now() + wait.min(latest)
    }
}

/// Microseconds since the Unix epoch.
pub(crate) fn wall_micros(time: SystemTime) -> u64 {
    micros(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}

pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
