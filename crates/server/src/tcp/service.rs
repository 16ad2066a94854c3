//! What all connections of the TCP front door share.

use std::sync::Arc;

use eventrelay_event::{Envelope, InvalidEvent, Tenant};
use eventrelay_ingest::Publisher;
use tokio::sync::Semaphore;

use super::metrics::TcpMetrics;
use super::options::TcpOptions;
use crate::limits::{LimitCheck, OptionsError};

/// The most that is published together: enough that a commit costs little for each, and little enough that the first of
/// them does not wait for the last.
const BATCH_COST_BYTES: usize = 256 << 10;
/// What the log adds to an event at most: a record's header with its key.
const RECORD_BYTES: usize = 32;
/// What an event in JSON may take in the log beyond its JSON: the lengths of its fields, and the tenant's name.
const JSON_OVERHEAD_BYTES: usize = 128;

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

    /// The most bytes of an opaque payload.
    pub(crate) fn max_opaque_bytes(&self) -> usize {
        self.publisher.limits().events.event_bytes.saturating_sub(self.envelope.event_bytes(0))
    }

    /// The most that the payloads of one batch may cost together.
    pub(crate) fn max_batch_cost(&self) -> usize {
        BATCH_COST_BYTES.min(self.options.max_in_flight_bytes).min(self.publisher.max_batch_bytes())
    }

    /// What a payload counts for where bytes in flight are bounded: at least what it takes in the log's queue.
    pub(crate) fn cost(&self, payload_bytes: usize) -> usize {
        payload_bytes + RECORD_BYTES + self.envelope.event_bytes(0).max(JSON_OVERHEAD_BYTES)
    }
}
