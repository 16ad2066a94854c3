//! The spans of the attempts that a call makes, for the events whose trace is recorded.

use eventrelay_sinks::{Attempt, Delivery, Outcome};
use eventrelay_telemetry::{DeliveryEnd, DeliverySpan, DeliveryTracer};

use crate::call::Answer;

/// Spans under way, each with the place of its delivery in the call. Dropped, they end as cut short.
pub(crate) struct CallSpans(Vec<(usize, DeliverySpan)>);

impl CallSpans {
    /// Begins the spans, and names them to the sink. Nothing is done, and no memory is taken, where nothing is exported.
    pub(crate) fn begin(tracer: &DeliveryTracer, deliveries: &mut [Delivery]) -> Self {
        let mut spans = Vec::new();
        if tracer.is_on() {
            for (place, delivery) in deliveries.iter_mut().enumerate() {
                if let Some(span) = tracer.begin(&delivery.event, delivery.attempt) {
                    delivery.span = span.id();
                    spans.push((place, span));
                }
            }
        }
        Self(spans)
    }

    /// The call has ended, and so do the spans.
    pub(crate) fn end(self, answer: &Answer) {
        for (place, span) in self.0 {
            span.end(end_at(answer, place));
        }
    }
}

/// How the attempt at this place of the call ended.
fn end_at(answer: &Answer, place: usize) -> DeliveryEnd<'_> {
    let failed = |outcome, why| DeliveryEnd { outcome, error: Some(why), response_status: None };
    match answer {
        Answer::Attempts(attempts) => {
            attempts.get(place).map_or_else(|| failed("no_answer", "the sink gave no answer"), end_of)
        }
        Answer::TimedOut => failed("timed_out", "the sink did not answer in time"),
        Answer::Panicked(text) => failed("panicked", text),
    }
}

fn end_of(attempt: &Attempt) -> DeliveryEnd<'_> {
    let (outcome, error) = match &attempt.outcome {
        Outcome::Delivered => ("delivered", None),
        Outcome::Retry { why, .. } => ("retry", Some(why.as_str())),
        Outcome::Reject { why } => ("rejected", Some(why.as_str())),
        Outcome::Gone { why } => ("gone", Some(why.as_str())),
    };
    let response_status = attempt.response.as_ref().map(|response| response.status);
    DeliveryEnd { outcome, error, response_status }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use bytes::Bytes;
    use eventrelay_event::{Event, StoredEvent, TRACEPARENT, Tenant};
    use eventrelay_sinks::{Purpose, Response};
    use eventrelay_telemetry::{TelemetryMetrics, TelemetryOptions};

    use super::*;

    fn delivery(flags: &str) -> Delivery {
        let mut event = Event::new(Tenant::default(), "t".to_owned(), "/s".to_owned());
        let traceparent = format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flags}");
        event.headers.push((TRACEPARENT.to_owned(), traceparent));
        let mut record = Vec::new();
        StoredEvent::encode(&event, &mut record);
        Delivery {
            event: StoredEvent::decode(7, 1, record.into()).unwrap(),
            attempt: 1,
            purpose: Purpose::Live,
            span: None,
            keep_exchange: false,
        }
    }

    fn attempt(outcome: Outcome) -> Attempt {
        let response = Response { status: 418, body: Bytes::new(), truncated: false };
        Attempt {
            outcome,
            started: SystemTime::now(),
            took: Duration::ZERO,
            response: Some(response),
            exchange: None,
        }
    }

    #[tokio::test]
    async fn a_sink_is_told_the_spans_of_what_is_recorded() {
        let mut deliveries = [delivery("01"), delivery("00"), delivery("01")];
        drop(CallSpans::begin(&DeliveryTracer::default(), &mut deliveries));
        assert!(deliveries.iter().all(|delivery| delivery.span.is_none()));

        let endpoint = Some("http://127.0.0.1:9".to_owned());
        let options = TelemetryOptions { otlp_endpoint: endpoint, ..TelemetryOptions::default() };
        let (spans, _exporter) = eventrelay_telemetry::start(&options, TelemetryMetrics::default()).unwrap();
        let tracer = spans.deliveries(&Tenant::default(), "s", "file");
        let under_way = CallSpans::begin(&tracer, &mut deliveries);
        assert_eq!(under_way.0.iter().map(|(place, _)| *place).collect::<Vec<_>>(), [0, 2]);
        let [first, unrecorded, last] = deliveries.map(|delivery| delivery.span);
        assert!(first.is_some() && last.is_some() && first != last && unrecorded.is_none());
    }

    #[test]
    fn every_answer_has_an_end_of_its_own() {
        let why = || "because".to_owned();
        let attempts = Answer::Attempts(vec![
            attempt(Outcome::Delivered),
            attempt(Outcome::Retry { after: None, why: why() }),
            attempt(Outcome::Reject { why: why() }),
            attempt(Outcome::Gone { why: why() }),
        ]);
        let end = |outcome, error, response_status| DeliveryEnd { outcome, error, response_status };
        assert_eq!(end_at(&attempts, 0), end("delivered", None, Some(418)));
        assert_eq!(end_at(&attempts, 1), end("retry", Some("because"), Some(418)));
        assert_eq!(end_at(&attempts, 2), end("rejected", Some("because"), Some(418)));
        assert_eq!(end_at(&attempts, 3), end("gone", Some("because"), Some(418)));
        for (answer, outcome) in
            [(attempts, "no_answer"), (Answer::TimedOut, "timed_out"), (Answer::Panicked(why()), "panicked")]
        {
            let ended = end_at(&answer, 4);
            assert_eq!((ended.outcome, ended.error.is_some()), (outcome, true));
        }
    }
}
