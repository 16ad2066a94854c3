//! What quotas count. No label comes from a client: tenants are not told apart here.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::exceeded::Exceeded;

/// The handles. Cheap to clone; clones count together.
#[derive(Debug, Clone, Default)]
pub struct QuotaMetrics {
    exceeded: Family<QuotaLabels, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct QuotaLabels {
    limit: &'static str,
    whose: &'static str,
}

impl QuotaMetrics {
    /// Makes them visible.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "eventrelay_quota_exceeded",
            "Requests, messages and batches refused for being over a quota",
            self.exceeded.clone(),
        );
    }

    pub(super) fn count(&self, exceeded: &Exceeded) {
        let labels = QuotaLabels { limit: exceeded.limit.name(), whose: exceeded.whose.label() };
        self.exceeded.get_or_create(&labels).inc();
    }
}
