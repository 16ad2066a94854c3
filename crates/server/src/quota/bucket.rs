//! A rate, as a token bucket in one atomic: the generic cell rate algorithm.
//!
//! What is kept is the time at which all that was taken will have been earned. It may lie up to a burst (one second)
//! ahead; what would push it farther is refused. More than a whole burst at once is let through when nothing is owed,
//! and then owed: a large batch is slowed down, not locked out.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How far ahead may be taken, in nanoseconds: what a second earns.
const BURST_NANOS: u64 = 1_000_000_000;
const SECOND_NANOS: u64 = 1_000_000_000;

/// A rate that is kept to.
#[derive(Debug)]
pub(super) struct Bucket {
    per_second: u64,
    origin: Instant,
    /// Nanoseconds after `origin` at which all that was taken is earned.
    earned_at_nanos: AtomicU64,
}

impl Bucket {
    /// The highest rate: beyond it, rounding to nanoseconds would be felt.
    pub(super) const MAX_PER_SECOND: u64 = 10_000_000;

    pub(super) fn new(per_second: u64, origin: Instant) -> Self {
        assert!((1..=Self::MAX_PER_SECOND).contains(&per_second), "rates are checked with the configuration");
        Self { per_second, origin, earned_at_nanos: AtomicU64::new(0) }
    }

    /// Takes so many.
    ///
    /// # Errors
    /// When there are not so many now: after this time there will be.
    pub(super) fn take(&self, count: u64, now: Instant) -> Result<(), Duration> {
        let cost = self.cost(count);
        let now = u64::try_from(now.saturating_duration_since(self.origin).as_nanos()).unwrap_or(u64::MAX);
        let mut earned_at = self.earned_at_nanos.load(Ordering::Relaxed);
        loop {
            let from = earned_at.max(now);
            let most = now.saturating_add(BURST_NANOS - cost.min(BURST_NANOS));
            if from > most {
                return Err(Duration::from_nanos(from - most));
            }
            let after = from.saturating_add(cost);
            let swapped = self.earned_at_nanos.compare_exchange_weak(
                earned_at,
                after,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            match swapped {
                Ok(_) => return Ok(()),
                Err(changed) => earned_at = changed,
            }
        }
    }

    /// Puts back what was taken and not used.
    pub(super) fn put_back(&self, count: u64) {
        // It never goes below what others have taken since, for it was raised by at least this.
        self.earned_at_nanos.fetch_sub(self.cost(count), Ordering::Relaxed);
    }

    fn cost(&self, count: u64) -> u64 {
        count.saturating_mul(SECOND_NANOS) / self.per_second
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_second_is_there_at_once_and_the_rest_at_its_rate() {
        let start = Instant::now();
        let bucket = Bucket::new(10, start);
        for _ in 0..10 {
            bucket.take(1, start).unwrap();
        }
        assert_eq!(bucket.take(1, start), Err(Duration::from_millis(100)));
        bucket.take(1, start + Duration::from_millis(100)).unwrap();
        assert_eq!(bucket.take(2, start + Duration::from_millis(100)), Err(Duration::from_millis(200)));
    }

    #[test]
    fn more_than_a_second_at_once_is_owed_and_not_locked_out() {
        let start = Instant::now();
        let bucket = Bucket::new(10, start);
        bucket.take(50, start).unwrap();
        assert_eq!(bucket.take(1, start), Err(Duration::from_millis(4_100)));
        assert_eq!(bucket.take(50, start + Duration::from_secs(4)), Err(Duration::from_secs(1)));
        bucket.take(50, start + Duration::from_secs(5)).unwrap();
    }

    #[test]
    fn what_is_put_back_can_be_taken_again() {
        let start = Instant::now();
        let bucket = Bucket::new(10, start);
        bucket.take(10, start).unwrap();
        bucket.put_back(4);
        bucket.take(4, start).unwrap();
        assert!(bucket.take(1, start).is_err());
    }

    proptest! {
        #[test]
        fn no_more_is_let_through_than_the_rate_and_one_burst(
            per_second in 1..1_000_u64,
            steps in prop::collection::vec((0..2_000_u64, 1..50_u64), 1..200),
        ) {
            let start = Instant::now();
            let bucket = Bucket::new(per_second, start);
            let (mut at, mut taken, mut largest) = (start, 0, 0);
            for (wait_ms, count) in steps {
                at += Duration::from_millis(wait_ms);
                match bucket.take(count, at) {
                    Ok(()) => (taken, largest) = (taken + count, largest.max(count)),
                    // Who waits as long as was said is let through.
                    Err(wait) => {
                        at += wait;
                        prop_assert_eq!(bucket.take(count, at), Ok(()));
                        (taken, largest) = (taken + count, largest.max(count));
                    }
                }
                let elapsed = (at - start).as_secs_f64();
                let most = elapsed * per_second as f64 + per_second.max(largest) as f64 + 1.0;
                prop_assert!(taken as f64 <= most, "{taken} in {elapsed} s at {per_second}");
            }
        }
    }
}
