//! What the TCP front door counts. Labels have few values, all of them ours: none comes from a client.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::connection_metrics::{ConnectionMetrics, ReasonLabels};
use crate::payloads::framing::Framing;

/// The handles of the TCP front door's metrics. Cheap to clone; clones count together.
#[derive(Debug, Clone)]
pub struct TcpMetrics {
    pub(crate) connections: ConnectionMetrics,
    ended: Family<ReasonLabels, Counter>,
    accepted: Family<FramingLabels, Counter>,
    refused: Family<CodeLabels, Counter>,
    received_bytes: Counter,
    batch_duration: Histogram,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FramingLabels {
    framing: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabels {
    code: &'static str,
}

impl Default for TcpMetrics {
    fn default() -> Self {
        Self {
            connections: ConnectionMetrics::default(),
            ended: Family::default(),
            accepted: Family::default(),
            refused: Family::default(),
            received_bytes: Counter::default(),
            // From 100 µs, a synced commit on a fast disk, to 10 s.
            batch_duration: Histogram::new([
                0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0,
                2.5, 5.0, 10.0,
            ]),
        }
    }
}

impl TcpMetrics {
    /// Makes them visible.
    pub fn register(&self, registry: &mut Registry) {
        self.connections.register("eventrelay_tcp", registry);
        registry.register(
            "eventrelay_tcp_ended_connections",
            "Connections ended, by reason",
            self.ended.clone(),
        );
        registry.register("eventrelay_tcp_accepted", "Frames and lines acknowledged", self.accepted.clone());
        registry.register(
            "eventrelay_tcp_refused",
            "Frames and lines refused, by code",
            self.refused.clone(),
        );
        registry.register("eventrelay_tcp_received_bytes", "Bytes received", self.received_bytes.clone());
        registry.register(
            "eventrelay_tcp_batch_duration_seconds",
            "Time from the receipt of a batch of frames or lines to its outcome",
            self.batch_duration.clone(),
        );
    }

    pub(crate) fn count_received(&self, bytes: usize) {
        self.received_bytes.inc_by(bytes as u64);
    }

    pub(crate) fn count_ended(&self, reason: &'static str) {
        self.ended.get_or_create(&ReasonLabels { reason }).inc();
    }

    pub(crate) fn count_refused(&self, code: &'static str, count: usize) {
        self.refused.get_or_create(&CodeLabels { code }).inc_by(count as u64);
    }

    pub(crate) fn count_batch(&self, framing: Framing, accepted: usize, took: Duration) {
        self.accepted.get_or_create(&FramingLabels { framing: framing.label() }).inc_by(accepted as u64);
        self.batch_duration.observe(took.as_secs_f64());
    }
}
