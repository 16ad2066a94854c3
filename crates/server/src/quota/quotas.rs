//! The quotas of all tenants, and what one of them has left.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use eventrelay_event::Tenant;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::bucket::Bucket;
use super::exceeded::{Exceeded, Limit, Whose};
use super::metrics::QuotaMetrics;
use super::options::QuotaOptions;

/// How long to wait where only the end of something else makes room.
const RETRY_WHEN_FULL: Duration = Duration::from_secs(1);

/// The quotas of all tenants. Cheap to clone; clones are the same quotas.
#[derive(Debug, Clone)]
pub struct Quotas {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    options: QuotaOptions,
    total: Arc<Rates>,
    metrics: QuotaMetrics,
    /// One for each tenant that has a key: they are made with the keys, whose number is bounded.
    tenants: Mutex<HashMap<Tenant, Arc<TenantQuota>>>,
}

/// What one tenant may ask for.
#[derive(Debug)]
pub(crate) struct TenantQuota {
    own: Rates,
    total: Arc<Rates>,
    /// One permit is one byte.
    in_flight: Option<(Arc<Semaphore>, usize)>,
    open_streams: Option<Arc<Semaphore>>,
    metrics: QuotaMetrics,
}

#[derive(Debug)]
struct Rates {
    requests: Option<Bucket>,
    events: Option<Bucket>,
}

/// Bytes that are on their way into the log, until this is dropped.
#[derive(Debug)]
#[must_use]
pub(crate) struct InFlight {
    _bytes: Option<OwnedSemaphorePermit>,
}

/// A stream's place, until this is dropped.
#[derive(Debug)]
#[must_use]
pub(crate) struct OpenStream {
    _place: Option<OwnedSemaphorePermit>,
}

impl Quotas {
    /// Quotas by these options, which have been checked.
    #[must_use]
    pub fn new(options: QuotaOptions, metrics: QuotaMetrics) -> Self {
        let total = Arc::new(Rates::new(options.requests_per_second, options.events_per_second));
        Self { inner: Arc::new(Inner { options, total, metrics, tenants: Mutex::default() }) }
    }

    /// No quotas.
    #[must_use]
    pub fn none() -> Self {
        Self::new(QuotaOptions::default(), QuotaMetrics::default())
    }

    /// A tenant's, the same for all who ask.
    pub(crate) fn of(&self, tenant: &Tenant) -> Arc<TenantQuota> {
        // Each change is complete before anything can panic.
        let mut tenants = self.inner.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(quota) = tenants.get(tenant) {
            return Arc::clone(quota);
        }
        let quota = Arc::new(self.inner.tenant_quota(tenant));
        tenants.insert(tenant.clone(), Arc::clone(&quota));
        quota
    }
}

impl Inner {
    fn tenant_quota(&self, tenant: &Tenant) -> TenantQuota {
        let own = self.options.of(tenant);
        TenantQuota {
            own: Rates::new(own.requests_per_second, own.events_per_second),
            total: Arc::clone(&self.total),
            in_flight: own.in_flight_bytes.map(|bytes| (Arc::new(Semaphore::new(bytes)), bytes)),
            open_streams: own.open_streams.map(|streams| Arc::new(Semaphore::new(streams))),
            metrics: self.metrics.clone(),
        }
    }
}

impl Rates {
    fn new(requests_per_second: Option<u64>, events_per_second: Option<u64>) -> Self {
        let origin = Instant::now();
        let bucket = |rate: Option<u64>| rate.map(|rate| Bucket::new(rate, origin));
        Self { requests: bucket(requests_per_second), events: bucket(events_per_second) }
    }
}

impl TenantQuota {
    /// Lets so many requests through, or none.
    ///
    /// # Errors
    /// Over a rate.
    pub(crate) fn admit_requests(&self, count: usize) -> Result<(), Exceeded> {
        self.take(Limit::Requests, self.own.requests.as_ref(), self.total.requests.as_ref(), count)
    }

    /// Lets so many events of so many bytes into the log, or none. More bytes than there may ever be in flight go when no
    /// others are.
    ///
    /// # Errors
    /// Over a rate, or too many bytes are in flight.
    pub(crate) fn admit_events(&self, count: usize, bytes: usize) -> Result<InFlight, Exceeded> {
        let in_flight = match &self.in_flight {
            None => None,
            Some((semaphore, most)) => {
                let permits = u32::try_from(bytes.min(*most)).unwrap_or(u32::MAX);
                let taken = Arc::clone(semaphore).try_acquire_many_owned(permits);
                Some(taken.map_err(|_| self.full(Limit::InFlightBytes))?)
            }
        };
        self.take(Limit::Events, self.own.events.as_ref(), self.total.events.as_ref(), count)?;
        Ok(InFlight { _bytes: in_flight })
    }

    /// Takes a place for something that stays open.
    ///
    /// # Errors
    /// When the tenant has as many as it may have.
    pub(crate) fn open_stream(&self) -> Result<OpenStream, Exceeded> {
        let Some(places) = &self.open_streams else { return Ok(OpenStream { _place: None }) };
        match Arc::clone(places).try_acquire_owned() {
            Ok(place) => Ok(OpenStream { _place: Some(place) }),
            Err(_) => Err(self.full(Limit::OpenStreams)),
        }
    }

    fn take(
        &self,
        limit: Limit,
        own: Option<&Bucket>,
        total: Option<&Bucket>,
        count: usize,
    ) -> Result<(), Exceeded> {
        if own.is_none() && total.is_none() {
            return Ok(());
        }
        let (count, now) = (count as u64, Instant::now());
        let exceeded = |whose, retry_after| self.counted(Exceeded { limit, whose, retry_after });
        if let Some(own) = own {
            own.take(count, now).map_err(|wait| exceeded(Whose::Tenant, wait))?;
        }
        if let Some(total) = total
            && let Err(wait) = total.take(count, now)
        {
            if let Some(own) = own {
                own.put_back(count);
            }
            return Err(exceeded(Whose::Total, wait));
        }
        Ok(())
    }

    fn full(&self, limit: Limit) -> Exceeded {
        self.counted(Exceeded { limit, whose: Whose::Tenant, retry_after: RETRY_WHEN_FULL })
    }

    fn counted(&self, exceeded: Exceeded) -> Exceeded {
        self.metrics.count(&exceeded);
        exceeded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> Tenant {
        Tenant::parse(name).unwrap()
    }

    #[test]
    fn a_tenant_over_its_share_takes_nothing_from_the_others() {
        let options = QuotaOptions {
            requests_per_second: Some(10),
            tenant_requests_per_second: Some(6),
            ..Default::default()
        };
        let quotas = Quotas::new(options, QuotaMetrics::default());
        let (greedy, modest) = (quotas.of(&tenant("greedy")), quotas.of(&tenant("modest")));
        let admitted = (0..1_000).filter(|_| greedy.admit_requests(1).is_ok()).count();
        assert!((6..10).contains(&admitted), "{admitted}");
        modest.admit_requests(4).unwrap();
        let refused = modest.admit_requests(2).unwrap_err();
        assert_eq!((refused.whose, refused.code()), (Whose::Total, "rate_limited"));
        let refused = greedy.admit_requests(1).unwrap_err();
        assert_eq!(refused.whose, Whose::Tenant);
        assert!(refused.retry_after <= Duration::from_secs(1));
    }

    #[test]
    fn bytes_and_streams_are_given_back() {
        let options = QuotaOptions {
            tenant_in_flight_bytes: Some(100),
            tenant_open_streams: Some(1),
            ..Default::default()
        };
        let quotas = Quotas::new(options, QuotaMetrics::default());
        let quota = quotas.of(&tenant("acme"));
        let in_flight = quota.admit_events(1, 60).unwrap();
        assert_eq!(quota.admit_events(1, 60).unwrap_err().code(), "too_many_bytes_in_flight");
        drop(quotas.of(&tenant("other")).admit_events(1, 60).unwrap());
        drop(in_flight);
        // One that is larger than all goes when nothing else does.
        let whole = quota.admit_events(1, 1_000).unwrap();
        assert!(quota.admit_events(1, 1).is_err());
        drop(whole);
        let stream = quota.open_stream().unwrap();
        assert_eq!(quota.open_stream().unwrap_err().code(), "too_many_streams");
        drop(stream);
        assert!(quota.open_stream().is_ok());
    }

    #[test]
    fn events_that_are_refused_leave_no_bytes_in_flight() {
        let options = QuotaOptions {
            tenant_events_per_second: Some(1),
            tenant_in_flight_bytes: Some(100),
            ..Default::default()
        };
        let quota = Quotas::new(options, QuotaMetrics::default()).of(&tenant("acme"));
        drop(quota.admit_events(1, 100).unwrap());
        for _ in 0..10 {
            assert_eq!(quota.admit_events(1, 100).unwrap_err().limit, Limit::Events);
        }
    }
}
