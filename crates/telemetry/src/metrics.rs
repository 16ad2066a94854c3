//! What is counted of the export.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// Handles to the export's counters. Cheap to clone; clones count together.
#[derive(Debug, Clone, Default)]
pub struct TelemetryMetrics {
    exported: Counter,
    dropped: Family<ReasonLabels, Counter>,
    failed_exports: Counter,
}

/// Why spans were dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dropped {
    /// More were ended than could be exported in time.
    QueueFull,
    /// The collector did not take them, in all tries.
    ExportFailed,
    /// The collector took their request, but not them.
    Rejected,
    /// There was no time left for them.
    Shutdown,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

impl TelemetryMetrics {
    /// Makes them visible.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "eventrelay_telemetry_exported_spans",
            "Spans that the collector has taken",
            self.exported.clone(),
        );
        registry.register(
            "eventrelay_telemetry_dropped_spans",
            "Spans that were not exported, by reason",
            self.dropped.clone(),
        );
        registry.register(
            "eventrelay_telemetry_failed_exports",
            "Requests to the collector that failed, repeated ones included",
            self.failed_exports.clone(),
        );
    }

    pub(crate) fn count_exported(&self, spans: usize) {
        self.exported.inc_by(spans as u64);
    }

    pub(crate) fn count_dropped(&self, reason: Dropped, spans: usize) {
        let reason = match reason {
            Dropped::QueueFull => "queue_full",
            Dropped::ExportFailed => "export_failed",
            Dropped::Rejected => "rejected",
            Dropped::Shutdown => "shutdown",
        };
        self.dropped.get_or_create(&ReasonLabels { reason }).inc_by(spans as u64);
    }

    pub(crate) fn count_failed_export(&self) {
        self.failed_exports.inc();
    }

    #[cfg(test)]
    pub(crate) fn shown(&self) -> String {
        let mut registry = Registry::default();
        self.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text
    }
}
