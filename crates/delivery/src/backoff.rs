//! How long a failed delivery waits: exponential backoff with full jitter, or the waits that are listed, give or take a fifth; and
//! the target's wish as a floor.

use std::time::Duration;

use eventrelay_state::RetryPolicy;
use rand::{Rng, RngExt};

/// The wait after the `failures`th failure (from 1): drawn evenly from zero to [`longest`], or from around what is
/// [`scheduled`], but at least `floor` (what the target asked for), and never above [`RetryPolicy::BACKOFF_LIMIT`].
pub(crate) fn wait(
    policy: &RetryPolicy,
    failures: u32,
    floor: Option<Duration>,
    random: &mut impl Rng,
) -> Duration {
    let range = match scheduled(policy, failures) {
        Some(wait) => wait * 4 / 5..=wait * 6 / 5,
        None => Duration::ZERO..=longest(policy, failures),
    };
    let drawn = random.random_range(range);
    drawn.max(floor.unwrap_or_default()).min(RetryPolicy::BACKOFF_LIMIT)
}

/// The listed wait after the `failures`th failure; none where none are listed.
fn scheduled(policy: &RetryPolicy, failures: u32) -> Option<Duration> {
    let place = usize::try_from(failures.saturating_sub(1)).unwrap_or(usize::MAX);
    let millis = policy.schedule_ms.get(place).or(policy.schedule_ms.last())?;
    Some(Duration::from_millis(*millis))
}

/// `min(max_backoff, initial_backoff · multiplierⁿ)` for the n + 1st failure.
pub(crate) fn longest(policy: &RetryPolicy, failures: u32) -> Duration {
    let factor = u64::from(policy.backoff_multiplier.get()).saturating_pow(failures.saturating_sub(1));
    let millis = policy.initial_backoff_ms.saturating_mul(factor).min(policy.max_backoff_ms);
    Duration::from_millis(millis).min(RetryPolicy::BACKOFF_LIMIT)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn the_default_schedule_spreads_twelve_attempts_over_about_three_days() {
        let policy = RetryPolicy::default();
        let longest_ms: Vec<u128> = (1..=7).map(|failures| longest(&policy, failures).as_millis()).collect();
        assert_eq!(longest_ms, [5_000, 30_000, 180_000, 1_080_000, 6_480_000, 38_880_000, 86_400_000]);
        let waits = policy.max_attempts.get() - 1;
        let mean_hours =
            (1..=waits).map(|failures| longest(&policy, failures)).sum::<Duration>().as_secs() / 2 / 3600;
        assert!((60..84).contains(&mean_hours), "{mean_hours} h on average");
        assert_eq!(longest(&policy, u32::MAX), RetryPolicy::BACKOFF_LIMIT);
    }

    #[test]
    fn the_jitter_is_full_and_even() {
        let policy = RetryPolicy::default();
        let mut random = StdRng::seed_from_u64(7);
        for failures in 1..=8 {
            let longest = longest(&policy, failures);
            let mut tenths = [0u32; 10];
            for _ in 0..10_000 {
                let wait = wait(&policy, failures, None, &mut random);
                assert!(wait <= longest);
                tenths[(wait.as_micros() * 10 / (longest.as_micros() + 1)) as usize] += 1;
            }
            assert!(tenths.iter().all(|count| (850..1150).contains(count)), "{tenths:?}");
        }
    }

    #[test]
    fn listed_waits_hold_give_or_take_a_fifth() {
        let policy = RetryPolicy { schedule_ms: vec![5_000, 300_000], ..RetryPolicy::default() };
        let mut random = StdRng::seed_from_u64(7);
        for (failures, listed) in [(1, 5_000), (2, 300_000), (3, 300_000), (u32::MAX, 300_000)] {
            let listed = Duration::from_millis(listed);
            let waits: Vec<_> = (0..1000).map(|_| wait(&policy, failures, None, &mut random)).collect();
            assert!(waits.iter().all(|wait| *wait >= listed * 4 / 5 && *wait <= listed * 6 / 5));
            assert!(waits.iter().any(|wait| *wait < listed) && waits.iter().any(|wait| *wait > listed));
        }
    }

    #[test]
    fn what_the_target_asks_is_a_floor_within_a_day() {
        let policy = RetryPolicy::default();
        let mut random = StdRng::seed_from_u64(7);
        let hour = Duration::from_hours(1);
        assert_eq!(wait(&policy, 1, Some(hour), &mut random), hour);
        assert_eq!(wait(&policy, 1, Some(hour * 100), &mut random), RetryPolicy::BACKOFF_LIMIT);
        assert!(
            (0..100).any(|_| wait(&policy, 7, Some(hour), &mut random) > hour),
            "a floor, not the wait itself"
        );
    }
}
