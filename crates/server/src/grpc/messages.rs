//! Between the messages of `proto/` and the events of the domain. Text and bytes are moved, never copied.

use bytes::Bytes;
use eventrelay_event::json::JsonError;
use eventrelay_event::{Data, DataKind, Event, EventLimits, StoredEvent, Tenant};
use eventrelay_ingest::Receipt;
use prost_types::Timestamp;
use tonic::Code;

use super::refusals::Refused;
use crate::proto::v1;

/// The events of a message. The publisher checks the rest of them.
///
/// # Errors
/// When there are more than are published together, or data that says it is JSON is not.
pub(crate) fn events(
    messages: Vec<v1::Event>,
    tenant: &Tenant,
    limits: &EventLimits,
) -> Result<Vec<Event>, Refused> {
    if messages.len() > limits.batch_events {
        let message =
            format!("the batch has {} events; the limit is {}", messages.len(), limits.batch_events);
        return Err(Refused::new(Code::InvalidArgument, "batch_too_large", message));
    }
    let read = |(index, message)| event(message, tenant, limits).map_err(|error| invalid_json(&error, index));
    messages.into_iter().enumerate().map(read).collect()
}

fn event(message: v1::Event, tenant: &Tenant, limits: &EventLimits) -> Result<Event, JsonError> {
    let data = match message.data {
        None => None,
        Some(v1::event::Data::Json(text)) => Some(Data::json(Bytes::from(text), &limits.json)?),
        Some(v1::event::Data::Text(text)) => Some(Data::text(text)),
        Some(v1::event::Data::Binary(bytes)) => Some(Data::binary(bytes)),
    };
    Ok(Event {
        tenant: tenant.clone(),
        event_type: message.r#type,
        source: message.source,
        id: message.id,
        subject: message.subject,
        time: message.time,
        key: message.key,
        content_type: message.content_type,
        data_schema: message.data_schema,
        headers: message.headers.into_iter().collect(),
        idempotency_key: message.idempotency_key,
        data,
    })
}

fn invalid_json(error: &JsonError, index: usize) -> Refused {
    Refused::new(Code::InvalidArgument, error.kind.code(), format!("event {index}: json: {error}"))
        .blaming(Some(index), Some("json"))
}

/// Receipts, in their order.
pub(crate) fn receipts(receipts: &[Receipt]) -> Vec<v1::Receipt> {
    let receipt = |receipt: &Receipt| v1::Receipt {
        id: receipt.id.to_string(),
        offset: receipt.offset,
        duplicate: receipt.duplicate,
    };
    receipts.iter().map(receipt).collect()
}

/// An event as the log has it.
pub(crate) fn stored_event(event: &StoredEvent) -> v1::StoredEvent {
    v1::StoredEvent {
        id: event.id().to_string(),
        offset: event.offset(),
        received_at: Some(timestamp(event.append_time_micros())),
        event: Some(v1::Event {
            r#type: event.event_type().to_owned(),
            source: event.source().to_owned(),
            id: event.client_id().map(str::to_owned),
            subject: event.subject().map(str::to_owned),
            time: event.time().map(str::to_owned),
            key: event.key().map(str::to_owned),
            content_type: event.content_type().map(str::to_owned),
            data_schema: event.data_schema().map(str::to_owned),
            headers: event.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            idempotency_key: event.idempotency_key().map(str::to_owned),
            data: event.data().map(|(kind, bytes)| data(kind, bytes)),
        }),
    }
}

fn data(kind: DataKind, bytes: &Bytes) -> v1::event::Data {
    // What the kind says was checked when the event was published, and text again when it was read.
    let text = match kind {
        DataKind::Json | DataKind::Text => std::str::from_utf8(bytes).ok(),
        DataKind::Binary => None,
    };
    match (text, kind) {
        (Some(text), DataKind::Json) => v1::event::Data::Json(text.to_owned()),
        (Some(text), _) => v1::event::Data::Text(text.to_owned()),
        (None, _) => v1::event::Data::Binary(bytes.clone()),
    }
}

/// A time in microseconds since the Unix epoch.
pub(crate) fn timestamp(micros: u64) -> Timestamp {
    Timestamp {
        seconds: i64::try_from(micros / 1_000_000).unwrap_or(i64::MAX),
        nanos: i32::try_from(micros % 1_000_000 * 1000).unwrap_or_default(),
    }
}

/// A time in microseconds since the Unix epoch, rounded up; what is before the epoch is the epoch. `None` when the
/// nanoseconds are out of their range.
pub(crate) fn micros(time: &Timestamp) -> Option<u64> {
    let nanos = u32::try_from(time.nanos).ok().filter(|nanos| *nanos < 1_000_000_000)?;
    let Ok(seconds) = u64::try_from(time.seconds) else { return Some(0) };
    Some(seconds.saturating_mul(1_000_000).saturating_add(u64::from(nanos.div_ceil(1000))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_comes_back_as_it_was_handed_over() {
        let text = |text: &str| Some(text.to_owned());
        let all = [
            v1::event::Data::Json(r#"{"order":1}"#.to_owned()),
            v1::event::Data::Text("hello".to_owned()),
            v1::event::Data::Binary(Bytes::from_static(&[0, 255])),
        ];
        for data in all {
            let sent = v1::Event {
                r#type: "order.created".to_owned(),
                source: "/shop".to_owned(),
                id: text("1"),
                subject: text("2"),
                time: text("2026-01-31T12:00:00Z"),
                key: text("3"),
                content_type: text("text/plain"),
                data_schema: text("https://example.com/schema"),
                headers: [("b".to_owned(), "2".to_owned()), ("a".to_owned(), "1".to_owned())].into(),
                idempotency_key: text("4"),
                data: Some(data),
            };
            let read = events(vec![sent.clone()], &Tenant::default(), &EventLimits::default()).unwrap();
            let mut record = Vec::new();
            StoredEvent::encode(&read[0], &mut record);
            let stored = stored_event(&StoredEvent::decode(7, 1_500_000, record.into()).unwrap());
            assert_eq!(stored.event, Some(sent));
            assert_eq!((stored.offset, stored.received_at.unwrap().nanos), (7, 500_000_000));
        }
    }

    #[test]
    fn json_that_is_none_is_refused_with_its_place() {
        let good = v1::Event { data: Some(v1::event::Data::Json("1".to_owned())), ..v1::Event::default() };
        let bad = v1::Event { data: Some(v1::event::Data::Json("{".to_owned())), ..v1::Event::default() };
        let refused = events(vec![good, bad], &Tenant::default(), &EventLimits::default()).unwrap_err();
        assert_eq!(refused.code(), "malformed_json");
        assert_eq!(refused.into_refusal().index, Some(1));
    }

    #[test]
    fn a_time_is_rounded_up_to_what_the_log_counts_in() {
        let time = |seconds, nanos| micros(&Timestamp { seconds, nanos });
        assert_eq!(time(1, 1), Some(1_000_001));
        assert_eq!(time(-1, 999_999_999), Some(0));
        assert_eq!(time(i64::MAX, 0), Some(u64::MAX));
        assert_eq!((time(0, -1), time(0, 1_000_000_000)), (None, None));
    }
}
