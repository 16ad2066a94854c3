//! What all connections of the TCP front door share.

use std::sync::Arc;

use eventrelay_event::{Envelope, InvalidEvent, Tenant};
use eventrelay_ingest::Publisher;
use tokio::sync::Semaphore;

use super::metrics::TcpMetrics;
use super::options::TcpOptions;
use super::session::Session;
use crate::auth::ApiKeys;
use crate::limits::{LimitCheck, OptionsError};
use crate::payloads::refusal::Refusal;

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) metrics: TcpMetrics,
    pub(crate) options: TcpOptions,
    pub(crate) api_keys: Arc<ApiKeys>,
    tenant: Tenant,
    /// What opaque payloads of that tenant are put into.
    envelope: Arc<Envelope>,
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
        api_keys: Arc<ApiKeys>,
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
            api_keys,
            tenant,
            envelope: Arc::new(envelope),
            buffer_memory: Semaphore::new(options.buffer_memory_bytes),
            options: options.clone(),
        })
    }

    /// A session for a connection that need not log in; none where it must.
    ///
    /// # Errors
    /// When the tenant has as many connections as it may have.
    pub(crate) fn open_session(&self) -> Result<Option<Session>, Refusal> {
        if self.api_keys.required() {
            return Ok(None);
        }
        Session::begin(self, self.api_keys.open_access(self.tenant.clone())).map(Some)
    }

    /// What opaque payloads of a tenant are put into.
    ///
    /// # Errors
    /// When the smallest event is too large with a name so long.
    pub(crate) fn envelope(&self, tenant: &Tenant) -> Result<Arc<Envelope>, Refusal> {
        if *tenant == self.tenant {
            return Ok(Arc::clone(&self.envelope));
        }
        let envelope = self.options.envelope(tenant.clone(), &self.publisher.limits().events);
        envelope.map(Arc::new).map_err(|invalid| Refusal::of_event(&invalid))
    }
}
