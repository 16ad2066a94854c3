//! The span of one attempt to deliver one event.

use std::sync::Arc;

use eventrelay_event::{EventId, SpanId, StoredEvent, TraceContext};

use crate::span::{About, Beginning, DeliveryTarget, Parent, Span, new_span_id, shortened};
use crate::spans::Queue;

/// Begins the spans of one subscription's deliveries. Cheap to clone. The default is for where nothing is exported.
#[derive(Debug, Clone, Default)]
pub struct DeliveryTracer(Option<Tracer>);

#[derive(Debug, Clone)]
struct Tracer {
    queue: Arc<Queue>,
    target: Arc<DeliveryTarget>,
}

/// One attempt, under way. Dropped before it was told its end, the span ends as `cut_short`.
#[derive(Debug)]
#[must_use]
pub struct DeliverySpan(Option<Begun>);

#[derive(Debug)]
struct Begun {
    tracer: Tracer,
    parent: Parent,
    id: SpanId,
    began: Beginning,
    event_id: EventId,
    event_type: Box<str>,
    attempt: u32,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliveryEnd<'a> {
    /// What came of it: a name that stays the same over releases.
    pub outcome: &'static str,
    /// What went wrong, for people; no secrets. None when nothing has.
    pub error: Option<&'a str>,
    /// What the target answered: the HTTP status, or its own code.
    pub response_status: Option<u16>,
}

impl DeliveryTracer {
    pub(crate) fn new(queue: Arc<Queue>, target: Arc<DeliveryTarget>) -> Self {
        Self(Some(Tracer { queue, target }))
    }

    /// Whether anything is exported.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Begins the span of an attempt, where the event is part of a trace that is recorded. `attempt` is 1 for the first.
    #[must_use]
    pub fn begin(&self, event: &StoredEvent, attempt: u32) -> Option<DeliverySpan> {
        let tracer = self.0.as_ref()?;
        let parent = Parent::of(TraceContext::of(event)?)?;
        Some(DeliverySpan(Some(Begun {
            tracer: tracer.clone(),
            parent,
            id: new_span_id(),
            began: Beginning::now(),
            event_id: event.id(),
            event_type: event.event_type().into(),
            attempt,
        })))
    }
}

impl DeliverySpan {
    /// The span's name, for the target to take as its parent.
    #[must_use]
    pub fn id(&self) -> Option<SpanId> {
        self.0.as_ref().map(|begun| begun.id)
    }

    /// The attempt has ended, and so does the span.
    pub fn end(mut self, end: DeliveryEnd<'_>) {
        if let Some(begun) = self.0.take() {
            begun.end(end);
        }
    }
}

impl Drop for DeliverySpan {
    fn drop(&mut self) {
        if let Some(begun) = self.0.take() {
            let error = Some("the attempt was cut short; the event may have been delivered");
            begun.end(DeliveryEnd { outcome: "cut_short", error, response_status: None });
        }
    }
}

impl Begun {
    fn end(self, end: DeliveryEnd<'_>) {
        let Tracer { queue, target } = self.tracer;
        queue.push(Span {
            parent: self.parent,
            id: self.id,
            times: self.began.times(),
            outcome: end.outcome,
            error: end.error.map(|error| shortened(error.to_owned())),
            about: About::Delivery {
                target,
                event_id: self.event_id,
                event_type: self.event_type,
                attempt: self.attempt,
                response_status: end.response_status,
            },
        });
    }
}

#[cfg(test)]
mod tests {
    use eventrelay_event::{Event, TRACEPARENT, Tenant};
    use tokio::sync::mpsc::Receiver;

    use super::*;
    use crate::{Spans, TelemetryMetrics};

    fn stored(traceparent: &str) -> StoredEvent {
        let mut event = Event::new(Tenant::default(), "order.created".to_owned(), "/s".to_owned());
        event.headers.push((TRACEPARENT.to_owned(), traceparent.to_owned()));
        let mut record = Vec::new();
        StoredEvent::encode(&event, &mut record);
        StoredEvent::decode(7, 1_500_000, record.into()).unwrap()
    }

    fn tracer() -> (DeliveryTracer, Receiver<Span>) {
        let (spans, queued) = Spans::new(100, TelemetryMetrics::default());
        (spans.deliveries(&Tenant::default(), "hook", "webhook"), queued)
    }

    const SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn an_attempt_has_a_span_of_its_own_below_the_callers() {
        let (tracer, mut queued) = tracer();
        let (first, second) =
            (tracer.begin(&stored(SAMPLED), 1).unwrap(), tracer.begin(&stored(SAMPLED), 2).unwrap());
        let id = second.id();
        assert_ne!(first.id(), id);
        second.end(DeliveryEnd {
            outcome: "retry",
            error: Some(&"é".repeat(300)),
            response_status: Some(503),
        });
        let span = queued.try_recv().unwrap();
        assert_eq!((Some(span.id), span.outcome), (id, "retry"));
        assert_eq!(span.parent.span_id.to_string(), "b7ad6b7169203331");
        assert_eq!(span.error.unwrap().chars().count(), 257);
        assert!(span.times.ended_nanos >= span.times.started_nanos);
        assert!(matches!(span.about, About::Delivery { attempt: 2, response_status: Some(503), .. }));
        drop(first);
        assert_eq!(queued.try_recv().unwrap().outcome, "cut_short");
        assert!(queued.try_recv().is_err());
    }

    #[test]
    fn what_is_not_recorded_has_none() {
        let (tracer, _queued) = tracer();
        for other in ["no trace", &SAMPLED.replace("-01", "-00")] {
            assert!(tracer.begin(&stored(other), 1).is_none(), "{other}");
        }
        assert!(DeliveryTracer::default().begin(&stored(SAMPLED), 1).is_none());
    }
}
