//! How much a tenant may ask for, and all of them together.
//!
//! ```text
//!  request ── key ──▶ Access ── quota() ──▶ TenantQuota ──▶ admit_requests │ admit_events │ open_stream
//!                                             │ its own rates, bytes in flight, streams
//!                                             └─▶ the rates of all tenants together
//! ```
//!
//! A tenant's own share is asked first, so that one who is over it takes nothing from the others. What is refused costs a
//! few atomic operations: no lock, no allocation, and over HTTP not even the body is read. Nothing that is not configured
//! costs anything.
//!
//! Rates are token buckets ([`bucket`]). Who shows no good key is refused before any of this, and takes from nobody.

mod bucket;
mod exceeded;
mod metrics;
mod options;
mod quotas;

pub(crate) use exceeded::Exceeded;
pub use metrics::QuotaMetrics;
pub use options::{QuotaOptions, TenantQuotaOptions};
pub use quotas::Quotas;
pub(crate) use quotas::{InFlight, OpenStream, TenantQuota};
