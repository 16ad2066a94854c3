//! What all connections of the TCP front door share.

use std::sync::Arc;

use eventrelay_event::{Envelope, InvalidEvent, Tenant};
use eventrelay_ingest::Publisher;
use tokio::sync::Semaphore;

use super::metrics::TcpMetrics;
use super::options::TcpOptions;
use crate::limits::{LimitCheck, OptionsError};
use crate::payloads::batch::{JsonForm, OpaqueForm};
use crate::payloads::cut::{BATCH_COST_BYTES, Cutter, JSON_OVERHEAD_BYTES, RECORD_BYTES};
use crate::payloads::framing::Framing;

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) metrics: TcpMetrics,
    pub(crate) options: TcpOptions,
    pub(crate) tenant: Tenant,
    /// What opaque payloads are put into.
    pub(crate) envelope: Envelope,
    /// What receive buffers have beyond their own; one permit is one byte.
    pub(crate) buffer_memory: Semaphore,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn new(
        options: &TcpOptions,
        publisher: Arc<Publisher>,
        metrics: TcpMetrics,
    ) -> Result<Self, OptionsError> {
        let tenant = options.tenant()?;
        let limits = &publisher.limits().events;
        let envelope = options.envelope(tenant.clone(), limits).map_err(|invalid| {
            let check = LimitCheck { section: "tcp" };
            match invalid {
                InvalidEvent::Field { why, .. } => check.error("event_type", &options.event_type, why),
                InvalidEvent::TooLarge { .. } => {
                    check.error("event_source", &options.event_source, "below publish.max_event_bytes")
                }
            }
        })?;
        Ok(Self {
            publisher,
            metrics,
            tenant,
            envelope,
            buffer_memory: Semaphore::new(options.buffer_memory_bytes),
            options: options.clone(),
        })
    }

    /// What becomes of opaque payloads.
    pub(crate) fn opaque_form(&self) -> OpaqueForm<'_> {
        let max_bytes =
            self.publisher.limits().events.event_bytes.saturating_sub(self.envelope.event_bytes(0));
        OpaqueForm { envelope: &self.envelope, max_bytes }
    }

    /// What becomes of events in JSON. A connection has nothing to add to them.
    pub(crate) fn json_form(&self) -> JsonForm<'_> {
        JsonForm { tenant: &self.tenant, trace: None, idempotency_key: None, first_place: 0 }
    }

    /// What a batch may be.
    pub(crate) fn cutter(&self, framing: Framing) -> Cutter {
        let in_flight = self.options.max_in_flight_bytes;
        Cutter {
            framing,
            max_payload_bytes: self.options.max_frame_bytes,
            max_payloads: self.publisher.limits().events.batch_events,
            max_cost: BATCH_COST_BYTES.min(in_flight).min(self.publisher.max_batch_bytes()),
            // At least what it takes in the log's queue.
            payload_overhead_bytes: RECORD_BYTES + self.envelope.event_bytes(0).max(JSON_OVERHEAD_BYTES),
        }
    }
}
