//! What is counted of a door's certificates. Nothing is shown of a door without TLS.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The handles of one front door. Cheap to clone; clones count together.
#[derive(Debug, Clone, Default)]
pub(crate) struct TlsMetrics {
    /// A family for its being absent where there is no certificate: an alert on 0 seconds would fire for ever.
    expiry: Family<NoLabels, Gauge>,
    reloads: Family<OutcomeLabels, Counter>,
}

type NoLabels = [(&'static str, &'static str); 0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

impl TlsMetrics {
    /// Makes them visible; their names begin with `prefix`.
    pub(crate) fn register(&self, prefix: &str, registry: &mut Registry) {
        registry.register(
            format!("{prefix}_tls_certificate_expiry_timestamp_seconds"),
            "When the first certificate of the chain that is shown expires, in seconds since 1970",
            self.expiry.clone(),
        );
        registry.register(
            format!("{prefix}_tls_reloads"),
            "Times that the files of TLS were read again, by outcome",
            self.reloads.clone(),
        );
    }

    pub(super) fn shown_until(&self, seconds: i64) {
        self.expiry.get_or_create(&[]).set(seconds);
        // So that the first failure is seen as a growth.
        for outcome in [OutcomeLabels { outcome: "ok" }, OutcomeLabels { outcome: "failed" }] {
            drop(self.reloads.get_or_create(&outcome));
        }
    }

    pub(super) fn count_reload(&self, succeeded: bool) {
        let outcome = if succeeded { "ok" } else { "failed" };
        self.reloads.get_or_create(&OutcomeLabels { outcome }).inc();
    }
}
