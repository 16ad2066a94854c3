//! What the publisher counts, in Prometheus' terms.

use eventrelay_event::{Event, StoredEvent};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::Receipt;

/// Handles to the publisher's counters. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct PublisherMetrics {
    accepted: Counter,
    duplicates: Counter,
    accepted_bytes: Counter,
    refused: Family<Refused, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refused {
    reason: &'static str,
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

    pub(crate) fn observe(&self, events: &[Event], receipts: &[Receipt]) {
        let stored = events.iter().zip(receipts).filter(|(_, receipt)| !receipt.duplicate);
        let (count, bytes) = stored.fold((0, 0), |(count, bytes), (event, _)| {
            (count + 1, bytes + StoredEvent::encoded_bytes(event) as u64)
        });
        self.accepted.inc_by(count);
        self.accepted_bytes.inc_by(bytes);
        self.duplicates.inc_by(receipts.len() as u64 - count);
    }

    /// Counts events that can be no duplicates.
    pub(crate) fn observe_stored(&self, events: usize, bytes: usize) {
        self.accepted.inc_by(events as u64);
        self.accepted_bytes.inc_by(bytes as u64);
    }
}
