//! Waiting for what another process does not announce.

use std::time::{Duration, Instant};

use super::DEADLINE;

/// Between two looks: short enough to go unnoticed, long enough to leave the processor to those who are waited for.
const PAUSE: Duration = Duration::from_millis(10);

/// Looks until there is something to see; fails the test at the deadline.
pub(crate) fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    within(DEADLINE, look).unwrap_or_else(|| panic!("{what}: not within {DEADLINE:?}"))
}

/// Looks until there is something to see or the time is over.
pub(crate) fn within<T>(time: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + time;
    loop {
        if let Some(seen) = look() {
            return Some(seen);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::park_timeout(PAUSE);
    }
}
