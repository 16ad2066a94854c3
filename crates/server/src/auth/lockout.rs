//! How often a password may be guessed: after some failures each next try waits twice as long as the one before.
//!
//! ```text
//!  failures   1 … free-1   free     free+1   free+2  …
//!  wait       none         first    2×first  4×first … longest
//! ```
//!
//! A try counts as failed from its beginning until it is known to have succeeded, so that many at the same time cannot pass
//! together. Names that nobody has are counted as those that somebody has. The table is bounded: when it is full, the entry goes that
//! was quiet for longest.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

/// The most names or addresses that are remembered.
const MOST_ENTRIES: usize = 10_000;
/// Failures are forgotten after so long without another.
pub(super) const FORGOTTEN_AFTER_MICROS: u64 = 3600 * 1_000_000;

/// When tries have to wait.
#[derive(Debug, Clone, Copy)]
pub(super) struct LockoutPolicy {
    /// The failure that brings the first wait; at least 1.
    pub(super) free: u32,
    pub(super) first_micros: u64,
    pub(super) longest_micros: u64,
}

impl LockoutPolicy {
    fn wait_micros(self, failures: u32) -> u64 {
        match failures.checked_sub(self.free) {
            None => 0,
            Some(doublings) => {
                let factor = 1_u64.checked_shl(doublings).unwrap_or(u64::MAX);
                self.first_micros.saturating_mul(factor).min(self.longest_micros)
            }
        }
    }
}

/// What failed, by name or address.
#[derive(Debug)]
pub(super) struct Lockout<K> {
    policy: LockoutPolicy,
    table: Mutex<HashMap<K, Entry>>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    failures: u32,
    last_micros: u64,
    locked_until_micros: u64,
}

/// A try that was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counted {
    /// With this one.
    pub(super) failures: u32,
    /// Until when the next has to wait, if it has to.
    pub(super) locked_until_micros: Option<u64>,
}

/// A try that comes too early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Locked {
    pub(super) until_micros: u64,
}

impl<K: Eq + Hash + Clone> Lockout<K> {
    pub(super) fn new(policy: LockoutPolicy) -> Self {
        Self { policy, table: Mutex::new(HashMap::new()) }
    }

    /// Counts a try as failed, if it may be made now.
    pub(super) fn attempt(&self, key: K, now_micros: u64) -> Result<Counted, Locked> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if !table.contains_key(&key) && table.len() >= MOST_ENTRIES {
            make_room(&mut table, now_micros);
        }
        let entry = table.entry(key).or_insert(Entry { failures: 0, last_micros: 0, locked_until_micros: 0 });
        if now_micros < entry.locked_until_micros {
            return Err(Locked { until_micros: entry.locked_until_micros });
        }
        if now_micros > entry.last_micros.saturating_add(FORGOTTEN_AFTER_MICROS) {
            entry.failures = 0;
        }
        Ok(count(self.policy, entry, now_micros, entry.failures.saturating_add(1)))
    }

    /// Takes over failures of an earlier life of the process, when they were more.
    pub(super) fn raise(&self, key: &K, failures: u32, now_micros: u64) -> Option<Counted> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = table.get_mut(key).filter(|entry| entry.failures < failures)?;
        Some(count(self.policy, entry, now_micros, failures))
    }

    /// Forgets all that failed.
    pub(super) fn forget(&self, key: &K) {
        self.table.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    /// Takes back one try that did not fail. A wait that a later one brought stays.
    pub(super) fn take_back(&self, key: &K, counted: Counted) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = table.get_mut(key) {
            if entry.failures == counted.failures {
                entry.locked_until_micros = 0;
            }
            entry.failures = entry.failures.saturating_sub(1);
        }
    }
}

fn count(policy: LockoutPolicy, entry: &mut Entry, now_micros: u64, failures: u32) -> Counted {
    let wait_micros = policy.wait_micros(failures);
    entry.failures = failures;
    entry.last_micros = now_micros;
    entry.locked_until_micros = if wait_micros == 0 { 0 } else { now_micros.saturating_add(wait_micros) };
    Counted { failures, locked_until_micros: (wait_micros > 0).then_some(entry.locked_until_micros) }
}

/// Drops what is forgotten anyway, else the quietest.
fn make_room<K: Eq + Hash + Clone>(table: &mut HashMap<K, Entry>, now_micros: u64) {
    table.retain(|_, entry| now_micros <= entry.last_micros.saturating_add(FORGOTTEN_AFTER_MICROS));
    if table.len() >= MOST_ENTRIES {
        let quietest = table.iter().min_by_key(|(_, entry)| entry.last_micros).map(|(key, _)| key.clone());
        if let Some(key) = quietest {
            table.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: LockoutPolicy = LockoutPolicy { free: 3, first_micros: 100, longest_micros: 350 };

    #[test]
    fn waits_double_up_to_the_longest_and_end_with_a_success() {
        let lockout = Lockout::new(POLICY);
        let mut now = 1_000;
        for (failures, wait) in [(1, 0), (2, 0), (3, 100), (4, 200), (5, 350), (6, 350)] {
            let counted = lockout.attempt("ann", now).unwrap();
            let until = (wait > 0).then_some(now + wait);
            assert_eq!(counted, Counted { failures, locked_until_micros: until }, "{failures}");
            if wait > 0 {
                let locked = Locked { until_micros: now + wait };
                assert_eq!(lockout.attempt("ann", now + wait - 1), Err(locked));
            }
            assert_eq!(lockout.attempt("bob", now).map(|_| lockout.forget(&"bob")), Ok(()), "not his fault");
            now += wait;
        }
        lockout.forget(&"ann");
        assert_eq!(lockout.attempt("ann", now).unwrap().failures, 1);
    }

    #[test]
    fn tries_at_the_same_time_are_counted_before_any_is_known_to_have_failed() {
        let lockout = Lockout::new(POLICY);
        let passed = (0..50).filter(|_| lockout.attempt("ann", 7).is_ok()).count();
        assert_eq!(passed, 3);
    }

    #[test]
    fn what_is_long_ago_is_forgotten_and_an_earlier_life_is_not() {
        let lockout = Lockout::new(POLICY);
        lockout.attempt("ann", 10).unwrap();
        assert_eq!(lockout.attempt("ann", 11 + FORGOTTEN_AFTER_MICROS).unwrap().failures, 1);
        let raised = lockout.raise(&"ann", 4, 50).unwrap();
        assert_eq!(raised, Counted { failures: 4, locked_until_micros: Some(250) });
        assert_eq!(lockout.raise(&"ann", 4, 60), None);
        lockout.take_back(&"ann", raised);
        assert_eq!(lockout.attempt("ann", 61).unwrap().failures, 4);
        lockout.take_back(&"ann", Counted { failures: 3, locked_until_micros: None });
        assert!(lockout.attempt("ann", 62).is_err(), "another one failed meanwhile");
    }

    #[test]
    fn the_table_is_bounded_and_the_quietest_goes_first() {
        let lockout = Lockout::new(POLICY);
        for n in 0..=MOST_ENTRIES as u64 {
            lockout.attempt(n, 1_000 + n).unwrap();
        }
        assert_eq!(lockout.table.lock().unwrap().len(), MOST_ENTRIES);
        assert_eq!(lockout.attempt(1, 20_000).unwrap().failures, 2, "it is still there");
        assert_eq!(lockout.attempt(0, 20_000).unwrap().failures, 1);
    }
}
