//! What the publisher counts, in Prometheus' terms.

use std::time::Duration;

use eventrelay_event::{Event, StoredEvent};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::Receipt;

/// Handles to the publisher's counters. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PublisherMetrics {
    accepted: Counter,
    duplicates: Counter,
    accepted_bytes: Counter,
    refused: Family<Refused, Counter>,
    publish_seconds: Histogram,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refused {
    reason: &'static str,
}

impl Default for PublisherMetrics {
    fn default() -> Self {
        Self {
            accepted: Counter::default(),
            duplicates: Counter::default(),
            accepted_bytes: Counter::default(),
            refused: Family::default(),
            // 100 µs to 3.3 s, doubling.
            publish_seconds: Histogram::new(exponential_buckets(100e-6, 2.0, 16)),
        }
    }
}

impl PublisherMetrics {
    /// Registers them all.
    pub fn register(&self, registry: &mut Registry) {
        let counters = [
            ("eventrelay_events_accepted", "Events stored", &self.accepted),
            ("eventrelay_events_duplicate", "Events that were stored before", &self.duplicates),
            ("eventrelay_events_accepted_bytes", "Bytes of the events stored", &self.accepted_bytes),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
        registry.register(
            "eventrelay_publishes_refused",
            "Publishes refused, by reason",
            self.refused.clone(),
        );
        registry.register_with_unit(
            "eventrelay_publish",
            "Time from a publish to its answer",
            Unit::Seconds,
            self.publish_seconds.clone(),
        );
    }

    /// Counts a publish that was refused, by the code of its error. Front doors count here what they refuse themselves.
    pub fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&Refused { reason }).inc();
    }

    /// Events stored so far.
    #[must_use]
    pub fn accepted_events(&self) -> u64 {
        self.accepted.get()
    }

    pub(crate) fn observe(&self, events: &[Event], receipts: &[Receipt], took: Duration) {
        let stored = events.iter().zip(receipts).filter(|(_, receipt)| !receipt.duplicate);
        let (count, bytes) = stored.fold((0, 0), |(count, bytes), (event, _)| {
            (count + 1, bytes + StoredEvent::encoded_bytes(event) as u64)
        });
        self.accepted.inc_by(count);
        self.accepted_bytes.inc_by(bytes);
        self.duplicates.inc_by(receipts.len() as u64 - count);
        self.publish_seconds.observe(took.as_secs_f64());
    }
}
