//! A span that has ended, as it waits to be exported: what it takes to write it, and no more.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use eventrelay_event::{EventId, SpanId, Tenant, TraceContext, TraceId};

use crate::publish_spans::Door;

/// How much of an error is told.
const MAX_ERROR_CHARS: usize = 256;

/// A span that has ended.
#[derive(Debug)]
pub(crate) struct Span {
    pub(crate) parent: Parent,
    pub(crate) id: SpanId,
    pub(crate) times: Times,
    /// What came of it: a name that stays the same over releases.
    pub(crate) outcome: &'static str,
    /// What went wrong, for people. None when nothing has.
    pub(crate) error: Option<Box<str>>,
    pub(crate) about: About,
}

/// What a span tells of.
#[derive(Debug)]
pub(crate) enum About {
    Publish {
        door: Door,
        tenant: Tenant,
        /// How many events of the request it stands for.
        events: usize,
        /// The event's, where it is one.
        event_type: Option<Box<str>>,
    },
    Delivery {
        target: Arc<DeliveryTarget>,
        event_id: EventId,
        event_type: Box<str>,
        /// 1 for the first.
        attempt: u32,
        response_status: Option<u16>,
    },
}

/// What all deliveries of a subscription have in common.
#[derive(Debug)]
pub(crate) struct DeliveryTarget {
    pub(crate) tenant: Tenant,
    pub(crate) subscription: Box<str>,
    /// The sink's kind.
    pub(crate) sink: &'static str,
}

/// The caller's span, which is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parent {
    pub(crate) trace_id: TraceId,
    pub(crate) span_id: SpanId,
    pub(crate) tracestate: Option<Box<str>>,
}

impl Parent {
    /// The caller's span of a context; none when the caller does not record it.
    pub(crate) fn of(context: TraceContext<'_>) -> Option<Self> {
        let (trace_id, span_id) = context.sampled()?;
        Some(Self { trace_id, span_id, tracestate: context.tracestate.map(Box::from) })
    }
}

/// When a span began and ended, in nanoseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) started_nanos: u64,
    pub(crate) ended_nanos: u64,
}

/// The moment in which a span begins. How long it takes is measured apart from the clock, which may be set meanwhile.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Beginning {
    wall: SystemTime,
    clock: Instant,
}

impl Beginning {
    pub(crate) fn now() -> Self {
        Self { wall: SystemTime::now(), clock: Instant::now() }
    }

    /// The times of a span that ends now.
    pub(crate) fn times(self) -> Times {
        // A clock before 1970 is nobody's.
        let started_nanos = self.wall.duration_since(SystemTime::UNIX_EPOCH).map_or(0, nanos);
        Times { started_nanos, ended_nanos: started_nanos.saturating_add(nanos(self.clock.elapsed())) }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A name for a new span.
pub(crate) fn new_span_id() -> SpanId {
    loop {
        if let Some(id) = SpanId::new(rand::random()) {
            return id;
        }
    }
}

/// An error as a span tells it: not at any length.
pub(crate) fn shortened(mut text: String) -> Box<str> {
    if let Some((end, _)) = text.char_indices().nth(MAX_ERROR_CHARS) {
        text.truncate(end);
        text.push('…');
    }
    text.into_boxed_str()
}
