//! The trace of a request or call, from its `traceparent` and `tracestate` headers: that of each of its events that has
//! none of its own.

use eventrelay_event::{Event, TRACEPARENT, TRACESTATE, TraceContext};
use http::{HeaderMap, HeaderValue};

/// A valid trace, for events that are still to come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RequestTrace {
    traceparent: String,
    tracestate: Option<String>,
}

impl RequestTrace {
    /// The trace that the headers name. One that is not valid is no trace, as the standard asks.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let traceparent = headers.get(TRACEPARENT)?.to_str().ok()?;
        let tracestate = tracestate(headers);
        let context = TraceContext::parse(traceparent, tracestate.as_deref())?;
        Some(Self {
            traceparent: context.traceparent.to_owned(),
            tracestate: context.tracestate.map(str::to_owned),
        })
    }

    /// The trace itself.
    pub(crate) fn context(&self) -> TraceContext<'_> {
        TraceContext { traceparent: &self.traceparent, tracestate: self.tracestate.as_deref() }
    }

    /// Gives the trace to the events that have none of their own.
    pub(crate) fn apply(&self, events: &mut [Event]) {
        events.iter_mut().for_each(|event| self.context().apply(event));
    }
}

/// The list of all `tracestate` headers, which may be several.
fn tracestate(headers: &HeaderMap) -> Option<String> {
    let values = headers.get_all(TRACESTATE).iter().map(HeaderValue::to_str);
    let values: Vec<&str> = values.collect::<Result<_, _>>().ok()?;
    (!values.is_empty()).then(|| values.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn trace(lines: &[(&'static str, &'static str)]) -> Option<RequestTrace> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        RequestTrace::of(&headers)
    }

    #[test]
    fn a_trace_may_have_a_state_in_several_parts() {
        let with = |tracestate: Option<&str>| {
            Some(RequestTrace { traceparent: PARENT.to_owned(), tracestate: tracestate.map(str::to_owned) })
        };
        assert_eq!(trace(&[("traceparent", PARENT)]), with(None));
        assert_eq!(
            trace(&[("tracestate", "a=1"), ("traceparent", PARENT), ("tracestate", "b=2")]),
            with(Some("a=1,b=2"))
        );
        assert_eq!(trace(&[("traceparent", PARENT), ("tracestate", "")]), with(None));
        assert_eq!(trace(&[("tracestate", "a=1")]), None);
        assert_eq!(trace(&[("traceparent", "00-x")]), None);
    }
}
