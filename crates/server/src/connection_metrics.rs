//! What every front door counts of its connections. Labels have few values, all of them ours: none comes from a client.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::tls::TlsMetrics;

/// The handles of one front door. Cheap to clone; clones count together.
#[derive(Debug, Clone, Default)]
pub(crate) struct ConnectionMetrics {
    open: Gauge,
    refused: Family<ReasonLabels, Counter>,
    accept_errors: Counter,
    pub(crate) tls: TlsMetrics,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ReasonLabels {
    pub(crate) reason: &'static str,
}

impl ConnectionMetrics {
    /// Makes them visible; their names begin with `prefix`.
    pub(crate) fn register(&self, prefix: &str, registry: &mut Registry) {
        registry.register(format!("{prefix}_connections"), "Connections open", self.open.clone());
        registry.register(
            format!("{prefix}_refused_connections"),
            "Connections closed before they were served, by reason",
            self.refused.clone(),
        );
        registry.register(
            format!("{prefix}_accept_errors"),
            "Times that no connection could be accepted",
            self.accept_errors.clone(),
        );
        self.tls.register(prefix, registry);
    }

    /// Counts a connection until the answer is dropped.
    pub(crate) fn open(&self) -> OpenConnection {
        self.open.inc();
        OpenConnection(self.open.clone())
    }

    pub(crate) fn count_refused(&self, reason: &'static str) {
        self.refused.get_or_create(&ReasonLabels { reason }).inc();
    }

    pub(crate) fn count_accept_error(&self) {
        self.accept_errors.inc();
    }
}

/// Counts a connection for as long as it is open, however its task ends.
pub(crate) struct OpenConnection(Gauge);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}
