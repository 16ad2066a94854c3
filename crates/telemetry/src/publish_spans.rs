//! The spans of a request to publish: one in each trace that it is part of.
//!
//! A request is part of its caller's trace, and each of its events may bring one of its own. The caller's span counts all
//! events of the request; another's counts those that brought it.

use std::cmp::Ordering;
use std::fmt::Display;
use std::sync::Arc;

use eventrelay_event::{Event, Tenant, TraceContext};

use crate::span::{About, Beginning, Parent, Span, new_span_id, shortened};
use crate::spans::Queue;

/// The front door that a request came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// HTTP.
    Http,
    /// gRPC.
    Grpc,
    /// TCP.
    Tcp,
}

impl Door {
    /// Its name: `http`, `grpc` or `tcp`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Grpc => "grpc",
            Self::Tcp => "tcp",
        }
    }
}

/// The spans of one request to publish, under way. Dropped before it was told the outcome, they end as `abandoned`: nobody
/// waited for it. The default is for where nothing is exported.
#[derive(Debug, Default)]
#[must_use]
pub struct PublishSpans(Option<Publish>);

#[derive(Debug)]
struct Publish {
    queue: Arc<Queue>,
    door: Door,
    tenant: Tenant,
    began: Beginning,
    traces: Vec<Trace>,
}

/// One trace that the request is part of.
#[derive(Debug)]
struct Trace {
    parent: Parent,
    /// How many of the request's events it has.
    events: usize,
    /// The event's, while it is one.
    event_type: Option<Box<str>>,
    is_callers: bool,
}

impl PublishSpans {
    pub(crate) fn begin(queue: Arc<Queue>, door: Door, tenant: Tenant) -> Self {
        Self(Some(Publish { queue, door, tenant, began: Beginning::now(), traces: Vec::new() }))
    }

    /// The trace of the request itself, where its caller has named one. To be told before the events.
    pub fn caller(&mut self, context: Option<TraceContext<'_>>) {
        if let Some(publish) = &mut self.0
            && let Some(parent) = context.and_then(Parent::of)
        {
            publish.traces.push(Trace { parent, events: 0, event_type: None, is_callers: true });
        }
    }

    /// The events that the request publishes, once.
    pub fn events(&mut self, events: &[Event]) {
        if let Some(publish) = &mut self.0 {
            publish.events(events);
        }
    }

    /// Whether there is any span.
    #[must_use]
    pub fn is_traced(&self) -> bool {
        self.0.as_ref().is_some_and(|publish| !publish.traces.is_empty())
    }

    /// The events are durable: the spans end.
    pub fn accepted(mut self) {
        if let Some(publish) = &mut self.0 {
            publish.end("accepted", None);
        }
    }

    /// The request was refused, with a stable code and for a reason: the spans end.
    pub fn refused(mut self, code: &'static str, why: impl Display) {
        if let Some(publish) = &mut self.0 {
            publish.end(code, Some(&why));
        }
    }
}

impl Publish {
    fn events(&mut self, events: &[Event]) {
        for event in events {
            let Some(context) = TraceContext::carried_by(event) else { continue };
            let Some((trace_id, span_id)) = context.sampled() else { continue };
            // Nearly always the events of a request have one trace together.
            if let Some(last) = self.traces.last_mut()
                && (last.parent.trace_id, last.parent.span_id) == (trace_id, span_id)
            {
                last.add(event);
                continue;
            }
            let tracestate = context.tracestate.map(Box::from);
            let mut trace = Trace {
                parent: Parent { trace_id, span_id, tracestate },
                events: 0,
                event_type: None,
                is_callers: false,
            };
            trace.add(event);
            self.traces.push(trace);
        }
        if self.traces.len() > 1 {
            self.merge_traces();
        }
        if let Some(callers) = self.traces.iter_mut().find(|trace| trace.is_callers) {
            callers.events = events.len();
            callers.event_type = only_type(events);
        }
    }

    /// Makes one of those that events have together without being neighbours.
    fn merge_traces(&mut self) {
        self.traces.sort_by(|left, right| match left.names().cmp(&right.names()) {
            Ordering::Equal => right.is_callers.cmp(&left.is_callers),
            other => other,
        });
        self.traces.dedup_by(|later, earlier| {
            let same = later.names() == earlier.names();
            if same {
                earlier.events += later.events;
                earlier.event_type = None;
            }
            same
        });
    }

    fn end(&mut self, outcome: &'static str, error: Option<&dyn Display>) {
        if self.traces.is_empty() {
            return;
        }
        let times = self.began.times();
        let error = error.map(|error| shortened(error.to_string()));
        for trace in self.traces.drain(..) {
            self.queue.push(Span {
                parent: trace.parent,
                id: new_span_id(),
                times,
                outcome,
                error: error.clone(),
                about: About::Publish {
                    door: self.door,
                    tenant: self.tenant.clone(),
                    events: trace.events,
                    event_type: trace.event_type,
                },
            });
        }
    }
}

impl Drop for Publish {
    fn drop(&mut self) {
        self.end("abandoned", Some(&"nobody waited for the outcome; the events may be stored"));
    }
}

impl Trace {
    fn add(&mut self, event: &Event) {
        self.events += 1;
        self.event_type = (self.events == 1).then(|| event.event_type.as_str().into());
    }

    fn names(&self) -> (eventrelay_event::TraceId, eventrelay_event::SpanId) {
        (self.parent.trace_id, self.parent.span_id)
    }
}

fn only_type(events: &[Event]) -> Option<Box<str>> {
    match events {
        [event] => Some(event.event_type.as_str().into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use eventrelay_event::TRACEPARENT;
    use tokio::sync::mpsc::Receiver;

    use super::*;
    use crate::{Spans, TelemetryMetrics};

    /// A caller's `traceparent`, told by its last digit.
    fn traceparent(digit: u8, flags: &str) -> String {
        format!("00-0af7651916cd43dd8448eb211c80319{digit}-b7ad6b716920333{digit}-{flags}")
    }

    fn event(event_type: &str, traceparent: Option<String>) -> Event {
        let mut event = Event::new(Tenant::default(), event_type.to_owned(), "/s".to_owned());
        event.headers.extend(traceparent.map(|value| (TRACEPARENT.to_owned(), value)));
        event
    }

    fn begin() -> (PublishSpans, Receiver<Span>) {
        let (spans, queued) = Spans::new(100, TelemetryMetrics::default());
        (spans.publish(Door::Grpc, &Tenant::default()), queued)
    }

    /// Of each span: its parent's last digit, its number of events, their type and the outcome.
    fn told(mut queued: Receiver<Span>) -> Vec<(u8, usize, Option<String>, &'static str)> {
        let mut told = Vec::new();
        while let Ok(span) = queued.try_recv() {
            let About::Publish { events, event_type, .. } = span.about else { panic!("{span:?}") };
            let digit = span.parent.trace_id.bytes()[15] & 15;
            assert_eq!(digit, span.parent.span_id.bytes()[7] & 15);
            assert_eq!(span.error.is_some(), span.outcome != "accepted");
            told.push((digit, events, event_type.map(String::from), span.outcome));
        }
        told
    }

    #[test]
    fn a_request_has_a_span_in_each_trace_that_it_is_part_of() {
        let (mut spans, queued) = begin();
        let caller = traceparent(5, "01");
        spans.caller(TraceContext::parse(&caller, None));
        spans.events(&[
            event("a", Some(traceparent(1, "01"))),
            event("b", Some(traceparent(2, "01"))),
            event("c", Some(traceparent(1, "01"))),
            event("d", Some(caller.clone())),
            event("e", Some(traceparent(3, "00"))),
            event("f", None),
        ]);
        spans.accepted();
        let two = Some("b".to_owned());
        assert_eq!(
            told(queued),
            [(1, 2, None, "accepted"), (2, 1, two, "accepted"), (5, 6, None, "accepted")]
        );
    }

    #[test]
    fn what_was_refused_unread_is_told_to_the_caller() {
        let (mut spans, queued) = begin();
        spans.caller(TraceContext::parse(&traceparent(5, "01"), None));
        spans.refused("malformed_json", "line 1");
        assert_eq!(told(queued), [(5, 0, None, "malformed_json")]);
    }

    #[test]
    fn one_event_tells_its_type() {
        let (mut spans, queued) = begin();
        spans.caller(TraceContext::parse(&traceparent(5, "01"), None));
        spans.events(&[event("order.created", Some(traceparent(5, "01")))]);
        spans.accepted();
        assert_eq!(told(queued), [(5, 1, Some("order.created".to_owned()), "accepted")]);
    }

    #[test]
    fn a_request_that_nobody_waited_for_is_told_too() {
        let (mut spans, queued) = begin();
        spans.events(&[event("a", Some(traceparent(1, "01")))]);
        drop(spans);
        assert_eq!(told(queued), [(1, 1, Some("a".to_owned()), "abandoned")]);
    }

    #[test]
    fn what_the_caller_does_not_record_has_no_span() {
        let (mut spans, queued) = begin();
        spans.caller(TraceContext::parse(&traceparent(5, "00"), None));
        spans.events(&[
            event("a", Some(traceparent(1, "00"))),
            event("b", None),
            event("c", Some("no trace".into())),
        ]);
        assert!(!spans.is_traced());
        spans.accepted();
        assert_eq!(told(queued), []);
    }
}
