//! What the engine can be told.

use std::time::Duration;

use eventrelay_event::EventLimits;
use eventrelay_telemetry::Spans;

use crate::notices::Notices;

/// How the engine works, for all subscriptions.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// The least time between two saves of a subscription's cursor: what a crash may deliver again. Default 200 ms.
    pub checkpoint_interval: Duration,
    /// How often the log is told what is still needed. Default 1 s.
    pub retention_interval: Duration,
    /// Where the spans of deliveries go; off by default.
    pub spans: Spans,
    /// The most bytes of events' data that are kept as trees for filters and transforms. Default 16 MiB.
    pub document_cache_bytes: usize,
    /// What an event may be once it is transformed.
    pub event_limits: EventLimits,
    /// Where is told what happens to subscriptions; nowhere by default.
    pub notices: Notices,
    /// Seeds the jitter of retries, for tests; random by default.
    pub seed: Option<u64>,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            checkpoint_interval: Duration::from_millis(200),
            retention_interval: Duration::from_secs(1),
            spans: Spans::default(),
            document_cache_bytes: 16 << 20,
            event_limits: EventLimits::default(),
            notices: Notices::default(),
            seed: None,
        }
    }
}
