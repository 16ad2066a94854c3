//! Every quota, in one table. None is set by default.

use std::collections::BTreeMap;

use eventrelay_event::Tenant;
use serde::{Deserialize, Serialize};

use super::bucket::Bucket;
use crate::limits::{LimitCheck, OptionsError};

/// The `[quotas]` section of the configuration. Unknown names are errors.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QuotaOptions {
    /// The most requests a second of all tenants together: HTTP requests, gRPC calls and messages of streams, TCP frames
    /// and lines. None: no limit.
    pub requests_per_second: Option<u64>,
    /// The most events published a second, by all tenants together. None: no limit.
    pub events_per_second: Option<u64>,
    /// The most requests a second of one tenant. None: no limit.
    pub tenant_requests_per_second: Option<u64>,
    /// The most events published a second by one tenant. None: no limit.
    pub tenant_events_per_second: Option<u64>,
    /// The most bytes of one tenant's events that are on their way into the log. None: no limit of its own.
    pub tenant_in_flight_bytes: Option<usize>,
    /// The most event streams, publish streams and TCP connections that one tenant has open. None: no limit of its own.
    pub tenant_open_streams: Option<usize>,
    /// Tenants with quotas of their own, by name; what is not set there is as for every tenant.
    pub tenants: BTreeMap<String, TenantQuotaOptions>,
}

/// The quotas of one tenant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TenantQuotaOptions {
    /// The most requests a second.
    pub requests_per_second: Option<u64>,
    /// The most events published a second.
    pub events_per_second: Option<u64>,
    /// The most bytes of events that are on their way into the log.
    pub in_flight_bytes: Option<usize>,
    /// The most event streams, publish streams and TCP connections that are open.
    pub open_streams: Option<usize>,
}

impl QuotaOptions {
    /// Checks that the limits are possible.
    ///
    /// # Errors
    /// The first that is not.
    pub fn validate(&self) -> Result<(), OptionsError> {
        rate("requests_per_second", self.requests_per_second)?;
        rate("events_per_second", self.events_per_second)?;
        rate("tenant_requests_per_second", self.tenant_requests_per_second)?;
        rate("tenant_events_per_second", self.tenant_events_per_second)?;
        count("tenant_in_flight_bytes", self.tenant_in_flight_bytes)?;
        count("tenant_open_streams", self.tenant_open_streams)?;
        for (name, tenant) in &self.tenants {
            if Tenant::parse(name).is_err() {
                let expected = "named by 1 to 64 characters of a-z, 0-9, '-' and '_'";
                return Err(CHECK.error("tenants", name, expected));
            }
            rate("tenants.requests_per_second", tenant.requests_per_second)?;
            rate("tenants.events_per_second", tenant.events_per_second)?;
            count("tenants.in_flight_bytes", tenant.in_flight_bytes)?;
            count("tenants.open_streams", tenant.open_streams)?;
        }
        Ok(())
    }

    /// The quotas of a tenant: its own, and what every tenant has where it has none.
    pub(super) fn of(&self, tenant: &Tenant) -> TenantQuotaOptions {
        let own = self.tenants.get(tenant.as_str()).copied().unwrap_or_default();
        TenantQuotaOptions {
            requests_per_second: own.requests_per_second.or(self.tenant_requests_per_second),
            events_per_second: own.events_per_second.or(self.tenant_events_per_second),
            in_flight_bytes: own.in_flight_bytes.or(self.tenant_in_flight_bytes),
            open_streams: own.open_streams.or(self.tenant_open_streams),
        }
    }
}

const CHECK: LimitCheck = LimitCheck { section: "quotas" };

fn rate(name: &'static str, value: Option<u64>) -> Result<(), OptionsError> {
    match value {
        Some(per_second) if !(1..=Bucket::MAX_PER_SECOND).contains(&per_second) => {
            Err(CHECK.error(name, &per_second, "1 to 10000000"))
        }
        _ => Ok(()),
    }
}

fn count(name: &'static str, value: Option<usize>) -> Result<(), OptionsError> {
    match value {
        Some(count) if !(1..=u32::MAX as usize).contains(&count) => {
            Err(CHECK.error(name, &count, "1 to 4294967295"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_named() {
        type Change = fn(&mut QuotaOptions);
        let cases: [(&str, Change); 5] = [
            ("requests_per_second", |options| options.requests_per_second = Some(0)),
            ("tenant_events_per_second", |options| options.tenant_events_per_second = Some(10_000_001)),
            ("tenant_open_streams", |options| options.tenant_open_streams = Some(0)),
            ("tenants", |options| {
                options.tenants.insert("No Tenant".to_owned(), TenantQuotaOptions::default());
            }),
            ("tenants.in_flight_bytes", |options| {
                let own = TenantQuotaOptions { in_flight_bytes: Some(0), ..Default::default() };
                options.tenants.insert("acme".to_owned(), own);
            }),
        ];
        assert_eq!(QuotaOptions::default().validate(), Ok(()));
        for (name, change) in cases {
            let mut options = QuotaOptions::default();
            change(&mut options);
            assert_eq!(options.validate().unwrap_err().name, name);
        }
    }

    #[test]
    fn a_tenant_has_what_every_tenant_has_but_for_its_own() {
        let own = TenantQuotaOptions { events_per_second: Some(7), ..Default::default() };
        let options = QuotaOptions {
            tenant_requests_per_second: Some(1),
            tenant_events_per_second: Some(2),
            tenants: BTreeMap::from([("acme".to_owned(), own)]),
            ..Default::default()
        };
        let of = |name| options.of(&Tenant::parse(name).unwrap());
        assert_eq!((of("acme").requests_per_second, of("acme").events_per_second), (Some(1), Some(7)));
        assert_eq!((of("other").requests_per_second, of("other").events_per_second), (Some(1), Some(2)));
    }
}
