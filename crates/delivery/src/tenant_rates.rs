//! How many events a second all of a tenant's subscriptions hand to their sinks together. What consumers pull is not counted: they
//! ask for it.
//!
//! Dispatchers look, and take what they start, without waiting for each other. Two that look at the same moment start one batch
//! each, and then both wait until that is earned: the rate is kept, but for a batch of each.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Weak};

use eventrelay_state::Rate;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::rate_limit::RateLimit;

/// The rates of all tenants.
#[derive(Debug, Default)]
pub(crate) struct TenantRates {
    tenants: Mutex<HashMap<String, Kept>>,
    /// Held while a rate is read where it is stored, and set: whoever comes last has read what was stored last.
    changes: Mutex<()>,
}

/// A tenant that has a rate, or subscriptions.
#[derive(Debug)]
struct Kept {
    rate: Weak<TenantRate>,
    /// What keeps one that limits something, while there are no subscriptions.
    limiting: Option<Arc<TenantRate>>,
}

/// What one tenant's subscriptions share.
#[derive(Debug, Default)]
pub(crate) struct TenantRate {
    limit: Mutex<Option<RateLimit>>,
}

impl TenantRates {
    /// A tenant's, the same for all who ask.
    pub(crate) fn of(&self, tenant: &str) -> Arc<TenantRate> {
        let mut tenants = self.tenants.lock();
        if let Some(rate) = tenants.get(tenant).and_then(|kept| kept.rate.upgrade()) {
            return rate;
        }
        let rate = Arc::new(TenantRate::default());
        tenants.insert(tenant.to_owned(), Kept { rate: Arc::downgrade(&rate), limiting: None });
        rate
    }

    /// Limits a tenant as is stored. Blocks as long as `stored` reads.
    ///
    /// # Errors
    /// When it cannot be read; nothing changes.
    pub(crate) fn set_stored<E>(
        &self,
        tenant: &str,
        stored: impl FnOnce() -> Result<Option<NonZeroU32>, E>,
    ) -> Result<(), E> {
        let _change = self.changes.lock();
        self.set(tenant, stored()?);
        Ok(())
    }

    /// Limits a tenant from now on; none: no longer.
    pub(crate) fn set(&self, tenant: &str, per_second: Option<NonZeroU32>) {
        let rate = self.of(tenant);
        rate.set(per_second, Instant::now());
        let mut tenants = self.tenants.lock();
        if let Some(kept) = tenants.get_mut(tenant) {
            kept.limiting = per_second.map(|_| Arc::clone(&rate));
        }
        drop(rate);
        tenants.retain(|_, kept| kept.rate.strong_count() > 0);
    }
}

impl TenantRate {
    fn set(&self, per_second: Option<NonZeroU32>, now: Instant) {
        *self.limit.lock() = per_second.map(|events| RateLimit::new(Rate::per_second(events), now));
    }

    /// How many events may start at `now`.
    ///
    /// # Errors
    /// None: when to look again.
    pub(crate) fn available(&self, now: Instant) -> Result<usize, Instant> {
        match &mut *self.limit.lock() {
            None => Ok(usize::MAX),
            Some(limit) => match limit.available(now) {
                0 => Err(limit.next_at()),
                events => Ok(events),
            },
        }
    }

    /// Takes what was started.
    pub(crate) fn take(&self, events: usize) {
        if let Some(limit) = &mut *self.limit.lock() {
            limit.take(events);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn all_who_share_a_rate_keep_it_together() {
        let rates = TenantRates::default();
        let (one, other) = (rates.of("acme"), rates.of("acme"));
        rates.set("acme", NonZeroU32::new(10));
        assert_eq!(rates.of("globex").available(Instant::now()), Ok(usize::MAX));
        let mut now = Instant::now();
        let mut started = 0;
        for _ in 0..200 {
            // Both look before either takes.
            let found = [one.available(now), other.available(now)].map(|found| found.unwrap_or(0));
            for (rate, found) in [&one, &other].into_iter().zip(found) {
                rate.take(found);
                started += found;
            }
            now += Duration::from_millis(10);
        }
        assert!((20..=23).contains(&started), "{started} in two seconds");
    }

    #[test]
    fn a_rate_outlives_the_subscriptions_and_ends_with_its_removal() {
        let rates = TenantRates::default();
        rates.set("acme", NonZeroU32::new(1));
        let rate = rates.of("acme");
        rate.take(1);
        assert!(rate.available(Instant::now()).is_err());
        rates.set("acme", None);
        assert_eq!(rate.available(Instant::now()), Ok(usize::MAX));
        drop(rate);
        rates.set("globex", None);
        assert!(rates.tenants.lock().is_empty());
    }
}
