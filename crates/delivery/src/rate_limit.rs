//! A token bucket: so many events in a time, in bursts of at most a hundredth of a second's worth.

use std::time::Duration;

use eventrelay_state::Rate;
use tokio::time::Instant;

/// How many events may start now.
#[derive(Debug)]
pub(crate) struct RateLimit {
    per_second: f64,
    burst: f64,
    tokens: f64,
    filled: Instant,
}

impl RateLimit {
    pub(crate) fn new(rate: Rate, now: Instant) -> Self {
        let per_second = rate.events_per_second();
        let burst = (per_second / 100.0).max(1.0);
        Self { per_second, burst, tokens: burst, filled: now }
    }

    /// How many events may start at `now`.
    pub(crate) fn available(&mut self, now: Instant) -> usize {
        let elapsed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens = (self.tokens + elapsed * self.per_second).min(self.burst);
        // Who shares it may look a little late.
        self.filled = self.filled.max(now);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "0 to a hundredth of a u32"
        )]
        let whole = self.tokens.max(0.0) as usize;
        whole
    }

    /// Takes what was started.
    pub(crate) fn take(&mut self, events: usize) {
        self.tokens -= events as f64;
    }

    /// When the next event may start.
    pub(crate) fn next_at(&self) -> Instant {
        let missing = (1.0 - self.tokens).max(0.0);
        // A whole millisecond more, the timer's grain, so that a wake never comes just too early.
        self.filled + Duration::from_secs_f64(missing / self.per_second) + Duration::from_millis(1)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn per_second(events: u32) -> Rate {
        Rate::per_second(NonZeroU32::new(events).unwrap())
    }

    #[test]
    fn no_tenth_of_a_second_sees_more_than_a_tenth_above_the_rate() {
        for rate in [20u32, 1_000, 50_000] {
            let mut now = Instant::now();
            let mut limit = RateLimit::new(per_second(rate), now);
            now += Duration::from_secs(3600); // an idle hour saves nothing up
            for _ in 0..50 {
                let end = now + Duration::from_millis(100);
                let mut started = 0;
                while now < end {
                    let take = limit.available(now);
                    limit.take(take);
                    started += take;
                    now += Duration::from_millis(1);
                }
                let allowed = f64::from(rate) / 10.0 * 1.1 + 1.0;
                assert!(started as f64 <= allowed, "{started} of {rate}/s");
                assert!(started as f64 >= f64::from(rate) / 10.0 - 1.0, "{started} of {rate}/s");
            }
        }
    }

    #[test]
    fn the_next_event_may_start_when_it_says() {
        let now = Instant::now();
        let mut limit = RateLimit::new(per_second(10), now);
        assert_eq!(limit.available(now), 1);
        limit.take(1);
        assert_eq!(limit.available(now), 0);
        let next = limit.next_at();
        assert!(next - now <= Duration::from_millis(101));
        assert_eq!(limit.available(next), 1);
    }
}
