//! The request's `traceparent` and `tracestate` headers: the trace of each of its events that has none of its own.

use eventrelay_event::{TRACEPARENT, TRACESTATE, TraceContext};
use http::HeaderMap;

/// The request's trace. One that is not valid is no trace, as the standard asks.
pub(super) fn of(headers: &HeaderMap) -> Option<TraceContext<'_>> {
    let value = |name| headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
    value(TRACEPARENT).and_then(|parent| TraceContext::parse(parent, value(TRACESTATE)))
}
