//! The handle that others have, and the queue behind it.

use std::sync::Arc;

use eventrelay_event::Tenant;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::collector::Collector;
use crate::metrics::Dropped;
use crate::span::{DeliveryTarget, Span};
use crate::{DeliveryTracer, Door, Exporter, OptionsError, PublishSpans, TelemetryMetrics, TelemetryOptions};

/// Begins spans. Cheap to clone. The default is off: it begins none.
#[derive(Debug, Clone, Default)]
pub struct Spans(Option<Arc<Queue>>);

/// Where spans go that have ended.
#[derive(Debug)]
pub(crate) struct Queue {
    sender: mpsc::Sender<Span>,
    metrics: TelemetryMetrics,
}

/// Starts the export that the options ask for; where they ask for none, the handle is off and there is no exporter. Must be
/// called on a runtime. The metrics are registered by the caller.
///
/// # Errors
/// When the options make no sense.
pub fn start(
    options: &TelemetryOptions,
    metrics: TelemetryMetrics,
) -> Result<(Spans, Option<Exporter>), OptionsError> {
    options.validate()?;
    let Some(collector) = Collector::new(options)? else { return Ok((Spans::default(), None)) };
    let (spans, queued) = Spans::new(options.max_queued_spans, metrics.clone());
    Ok((spans, Some(Exporter::start(options, collector, queued, metrics))))
}

impl Spans {
    /// A handle, and what comes out at the other end.
    pub(crate) fn new(max_queued: usize, metrics: TelemetryMetrics) -> (Self, mpsc::Receiver<Span>) {
        let (sender, queued) = mpsc::channel(max_queued);
        (Self(Some(Arc::new(Queue { sender, metrics }))), queued)
    }

    /// Whether anything is exported.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Begins the spans of a request to publish, now.
    pub fn publish(&self, door: Door, tenant: &Tenant) -> PublishSpans {
        match &self.0 {
            None => PublishSpans::default(),
            Some(queue) => PublishSpans::begin(Arc::clone(queue), door, tenant.clone()),
        }
    }

    /// What begins the spans of a subscription's deliveries. `sink` is the kind of its sink.
    #[must_use]
    pub fn deliveries(&self, tenant: &Tenant, subscription: &str, sink: &'static str) -> DeliveryTracer {
        let Some(queue) = &self.0 else { return DeliveryTracer::default() };
        let target = DeliveryTarget { tenant: tenant.clone(), subscription: subscription.into(), sink };
        DeliveryTracer::new(Arc::clone(queue), Arc::new(target))
    }
}

impl Queue {
    /// Takes a span, or drops it where there is no room: nobody waits for the exporter.
    pub(crate) fn push(&self, span: Span) {
        match self.sender.try_send(span) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => self.metrics.count_dropped(Dropped::QueueFull, 1),
            Err(TrySendError::Closed(_)) => self.metrics.count_dropped(Dropped::Shutdown, 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use eventrelay_event::{Event, TRACEPARENT};

    use super::*;

    fn traced_event() -> Event {
        let mut event = Event::new(Tenant::default(), "t".to_owned(), "/s".to_owned());
        let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        event.headers.push((TRACEPARENT.to_owned(), traceparent.to_owned()));
        event
    }

    fn publish(spans: &Spans) {
        let mut publish = spans.publish(Door::Http, &Tenant::default());
        publish.events(&[traced_event()]);
        publish.accepted();
    }

    #[test]
    fn a_full_queue_drops_and_counts_and_goes_on_when_there_is_room() {
        let metrics = TelemetryMetrics::default();
        let (spans, mut queued) = Spans::new(2, metrics.clone());
        (0..5).for_each(|_| publish(&spans));
        assert!(
            metrics.shown().contains("eventrelay_telemetry_dropped_spans_total{reason=\"queue_full\"} 3\n")
        );
        assert!(queued.try_recv().is_ok() && queued.try_recv().is_ok() && queued.try_recv().is_err());
        publish(&spans);
        assert!(queued.try_recv().is_ok());
        queued.close();
        publish(&spans);
        assert!(
            metrics.shown().contains("eventrelay_telemetry_dropped_spans_total{reason=\"shutdown\"} 1\n")
        );
    }

    #[tokio::test]
    async fn without_an_endpoint_it_is_off() {
        let (spans, exporter) = start(&TelemetryOptions::default(), TelemetryMetrics::default()).unwrap();
        assert!(!spans.is_on() && exporter.is_none());
        publish(&spans);
    }
}
