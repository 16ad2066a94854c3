//! What came of a subscription's attempts over the last hour and the last day: counted in memory, and gone with a restart.
//!
//! ```text
//!  minutes  │ 60 slots, a minute each │     hours  │ 24 slots, an hour each │
//! ```
//!
//! A slot that nothing happened in is not there, so a quiet subscription costs nothing. Latencies are counted in buckets, each
//! twice as wide as the one before, so a quantile is right within a factor of two.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

/// Bucket n holds latencies below 0.25 ms · 2ⁿ; the last one all the others.
const LATENCY_BUCKETS: usize = 24;
const FIRST_BUCKET_MICROS: u64 = 250;
const MINUTE: u64 = 60;
const HOUR: u64 = 3600;

/// What came of attempts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Outcomes {
    pub(crate) delivered: u32,
    /// To be tried again.
    pub(crate) retried: u32,
    /// Given up.
    pub(crate) dead: u32,
}

#[derive(Debug, Default)]
pub(crate) struct Activity {
    minutes: VecDeque<Slot>,
    hours: VecDeque<Slot>,
}

#[derive(Debug, Clone)]
struct Slot {
    /// Its number, counted from the Unix epoch in its length.
    number: u64,
    outcomes: Outcomes,
    latencies: [u32; LATENCY_BUCKETS],
}

/// The last hour, and the last day.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ActivitySummary {
    /// The last 60 minutes.
    pub hour: ActivityWindow,
    /// The last 24 hours.
    pub day: ActivityWindow,
}

/// What came of the attempts of a time that ends now.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ActivityWindow {
    /// Deliveries that succeeded.
    pub delivered: u64,
    /// Attempts that failed and are made again.
    pub retried: u64,
    /// Deliveries that were given up.
    pub dead: u64,
    /// Deliveries a second, on average.
    pub delivered_per_second: f64,
    /// The share of attempts that succeeded; none where there were none.
    pub success_ratio: Option<f64>,
    /// How long calls took, within a factor of two: half of them at most so long; none where there were none.
    pub latency_p50: Option<Duration>,
    /// 95 of 100.
    pub latency_p95: Option<Duration>,
    /// 99 of 100.
    pub latency_p99: Option<Duration>,
}

impl Activity {
    /// Counts what a call has come to, and how long it took, if it was one.
    pub(crate) fn record(&mut self, now: SystemTime, outcomes: Outcomes, took: Option<Duration>) {
        let seconds = unix_seconds(now);
        for (slots, length, most) in [(&mut self.minutes, MINUTE, 60), (&mut self.hours, HOUR, 24)] {
            let slot = current(slots, seconds / length, most);
            slot.outcomes.delivered = slot.outcomes.delivered.saturating_add(outcomes.delivered);
            slot.outcomes.retried = slot.outcomes.retried.saturating_add(outcomes.retried);
            slot.outcomes.dead = slot.outcomes.dead.saturating_add(outcomes.dead);
            if let Some(took) = took {
                let count = &mut slot.latencies[bucket(took)];
                *count = count.saturating_add(1);
            }
        }
    }

    pub(crate) fn summary(&self, now: SystemTime) -> ActivitySummary {
        let seconds = unix_seconds(now);
        ActivitySummary {
            hour: window(&self.minutes, seconds / MINUTE, MINUTE, 60),
            day: window(&self.hours, seconds / HOUR, HOUR, 24),
        }
    }
}

fn current(slots: &mut VecDeque<Slot>, number: u64, most: usize) -> &mut Slot {
    // A clock that was set back goes on in the slot that there is.
    if slots.back().is_none_or(|slot| slot.number < number) {
        if slots.len() == most {
            slots.pop_front();
        }
        slots.push_back(Slot { number, outcomes: Outcomes::default(), latencies: [0; LATENCY_BUCKETS] });
    }
    let last = slots.len() - 1;
    &mut slots[last]
}

fn window(slots: &VecDeque<Slot>, number: u64, length: u64, count: u64) -> ActivityWindow {
    let mut sum = ActivityWindow::default();
    let mut latencies = [0_u64; LATENCY_BUCKETS];
    for slot in slots.iter().filter(|slot| slot.number + count > number) {
        sum.delivered += u64::from(slot.outcomes.delivered);
        sum.retried += u64::from(slot.outcomes.retried);
        sum.dead += u64::from(slot.outcomes.dead);
        for (total, count) in latencies.iter_mut().zip(slot.latencies) {
            *total += u64::from(count);
        }
    }
    let attempts = sum.delivered + sum.retried + sum.dead;
    sum.delivered_per_second = sum.delivered as f64 / (length * count) as f64;
    sum.success_ratio = (attempts > 0).then(|| sum.delivered as f64 / attempts as f64);
    sum.latency_p50 = quantile(&latencies, 50);
    sum.latency_p95 = quantile(&latencies, 95);
    sum.latency_p99 = quantile(&latencies, 99);
    sum
}

fn bucket(took: Duration) -> usize {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    let doublings = (micros / FIRST_BUCKET_MICROS).checked_ilog2().map_or(0, |log| log as usize + 1);
    doublings.min(LATENCY_BUCKETS - 1)
}

/// The upper end of the bucket that the quantile lies in.
fn quantile(latencies: &[u64; LATENCY_BUCKETS], percent: u64) -> Option<Duration> {
    let total: u64 = latencies.iter().sum();
    let rank = (total * percent).div_ceil(100);
    let mut seen = 0;
    let found = latencies.iter().position(|count| {
        seen += count;
        seen >= rank
    });
    let found = found.filter(|_| total > 0)?;
    Some(Duration::from_micros(FIRST_BUCKET_MICROS << found))
}

fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 * HOUR + seconds)
    }

    fn delivered(count: u32) -> Outcomes {
        Outcomes { delivered: count, ..Outcomes::default() }
    }

    #[test]
    fn an_hour_and_a_day_are_summed_and_what_is_older_is_left_out() {
        let mut activity = Activity::default();
        activity.record(at(0), delivered(10), Some(Duration::from_millis(1)));
        activity.record(
            at(1800),
            Outcomes { delivered: 2, retried: 5, dead: 1 },
            Some(Duration::from_millis(9)),
        );
        let now = activity.summary(at(1801));
        assert_eq!((now.hour.delivered, now.hour.retried, now.hour.dead), (12, 5, 1));
        assert_eq!(now.hour.success_ratio, Some(12.0 / 18.0));
        assert!((now.hour.delivered_per_second - 12.0 / 3600.0).abs() < 1e-9);
        let later = activity.summary(at(3700));
        assert_eq!((later.hour.delivered, later.day.delivered), (2, 12));
        let much_later = activity.summary(at(25 * HOUR));
        assert_eq!((much_later.day.delivered, much_later.day.success_ratio), (0, None));
    }

    #[test]
    fn quantiles_are_right_within_a_factor_of_two() {
        let mut activity = Activity::default();
        for milliseconds in 1..=100 {
            activity.record(at(0), delivered(1), Some(Duration::from_millis(milliseconds)));
        }
        let hour = activity.summary(at(1)).hour;
        for (found, exact) in [(hour.latency_p50, 50), (hour.latency_p95, 95), (hour.latency_p99, 99)] {
            let found = found.unwrap().as_millis();
            assert!(found >= exact && found <= 2 * exact, "{found} for {exact}");
        }
        assert_eq!(bucket(Duration::ZERO), 0);
        assert_eq!(bucket(Duration::from_secs(1_000_000)), LATENCY_BUCKETS - 1);
    }

    #[test]
    fn slots_are_bounded_and_a_clock_that_goes_back_is_borne() {
        let mut activity = Activity::default();
        for minute in 0..500 {
            activity.record(at(minute * MINUTE), delivered(1), None);
        }
        activity.record(at(0), delivered(1), None);
        assert_eq!((activity.minutes.len(), activity.hours.len()), (60, 9));
        assert_eq!(activity.summary(at(499 * MINUTE)).hour.delivered, 61);
    }
}
