//! The request's `traceparent` and `tracestate` headers: the trace of each of its events that has none of its own.

use eventrelay_event::{Event, TRACEPARENT, TRACESTATE, TraceContext};
use http::HeaderMap;

/// Gives the request's trace to the events. One that is not valid is no trace, as the standard asks.
pub(super) fn apply(headers: &HeaderMap, events: &mut [Event]) {
    let value = |name| headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
    let context = value(TRACEPARENT).and_then(|parent| TraceContext::parse(parent, value(TRACESTATE)));
    if let Some(context) = context {
        events.iter_mut().for_each(|event| context.apply(event));
    }
}
