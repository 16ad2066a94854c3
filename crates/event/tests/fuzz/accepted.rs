//! What must be true of events that a decoder took.

use std::collections::BTreeMap;
use std::mem::{Discriminant, discriminant};

use bytes::Bytes;
use eventrelay_event::{
    DataKind, DecodeEventsError, DecodedEvents, Event, EventLimits, InvalidEvent, StoredEvent, Tenant,
    cloudevents, json, native,
};
use serde_json::value::RawValue;

/// Which way an answer took. Names that the input made up are no ways of their own.
#[derive(Debug, Hash)]
pub(crate) enum Way {
    Taken {
        is_batch: bool,
        events: usize,
        /// What the first has.
        fields: Vec<bool>,
        data: Option<Discriminant<DataKind>>,
        /// The rule that it breaks.
        invalid: Option<&'static str>,
    },
    Refused {
        code: &'static str,
        field: Option<usize>,
    },
}

/// The fields that errors name, but for those that a client chose.
const FIELDS: [&str; 14] = [
    "type",
    "source",
    "id",
    "subject",
    "time",
    "key",
    "content_type",
    "dataschema",
    "headers",
    "idempotency_key",
    "data",
    "data_base64",
    "specversion",
    "datacontenttype",
];

/// Checks an answer to a body.
pub(crate) fn answer(body: &[u8], answer: &Result<DecodedEvents, DecodeEventsError>) -> Way {
    let limits = EventLimits::default();
    match answer {
        Ok(decoded) => {
            assert!((1..=limits.batch_events).contains(&decoded.events.len()));
            assert!(decoded.is_batch || decoded.events.len() == 1);
            // Nothing is made of nothing: no few bytes become many.
            let data = decoded.events.iter().filter_map(|event| event.data.as_ref());
            assert!(data.map(|data| data.bytes().len()).sum::<usize>() <= body.len());
            let wrong: Vec<_> = decoded.events.iter().map(|event| use_event(event, &limits)).collect();
            let (first, invalid) = (&decoded.events[0], wrong[0].as_ref().map(rule));
            let data = first.data.as_ref().map(|data| discriminant(&data.kind()));
            let (is_batch, events) = (decoded.is_batch, wrong.len().min(3));
            Way::Taken { is_batch, events, fields: fields(first), data, invalid }
        }
        Err(error) => {
            assert!(error.position().is_none_or(|position| position <= body.len()), "{error}");
            assert!(error.to_string().len() < 1000, "an error does not repeat what it is about");
            let field = error.field().and_then(|field| FIELDS.iter().position(|known| *known == field));
            Way::Refused { code: error.code(), field }
        }
    }
}

fn fields(event: &Event) -> Vec<bool> {
    let texts = [&event.id, &event.subject, &event.time, &event.key, &event.content_type, &event.data_schema];
    let texts = texts.into_iter().chain([&event.idempotency_key]).map(Option::is_some);
    texts.chain([!event.headers.is_empty()]).collect()
}

fn rule(invalid: &InvalidEvent) -> &'static str {
    match invalid {
        InvalidEvent::Field { why, .. } => why,
        InvalidEvent::TooLarge { .. } => "is too large",
    }
}

/// Does with an event what is done with events. Gives the rule that it breaks.
fn use_event(event: &Event, limits: &EventLimits) -> Option<InvalidEvent> {
    let mut record = Vec::new();
    StoredEvent::encode(event, &mut record);
    assert_eq!(record.len(), StoredEvent::encoded_bytes(event));
    let read = StoredEvent::decode(42, 1_700_000_000_123_456, record.into());
    if let Ok(stored) = &read {
        assert!(stored.has_content_of(event));
        write_all(stored);
    }
    if let Err(invalid) = event.check(limits) {
        return Some(invalid);
    }
    let stored = read.unwrap();
    comes_back_native(&stored, &event.tenant, limits);
    comes_back_structured(&stored, &event.tenant, limits);
    comes_back_binary(&stored, event, limits);
    None
}

/// Writes every form, of which none may panic or break a line.
pub(crate) fn write_all(stored: &StoredEvent) {
    for write in [native::write_json, cloudevents::write_cloudevent_json] {
        let mut out = Vec::new();
        write(stored, &mut out);
        assert_eq!(out.last(), Some(&b'}'));
    }
}

/// The same event in the log.
fn stored_again(event: &Event, limits: &EventLimits) -> StoredEvent {
    assert_eq!(event.check(limits), Ok(()), "what came out does not keep the rules that it kept");
    let mut record = Vec::new();
    StoredEvent::encode(event, &mut record);
    StoredEvent::decode(42, 1_700_000_000_123_456, record.into()).unwrap()
}

fn only(decoded: Result<DecodedEvents, DecodeEventsError>) -> Event {
    let mut decoded = decoded.unwrap();
    assert_eq!((decoded.events.len(), decoded.is_batch), (1, false));
    decoded.events.remove(0)
}

fn comes_back_native(stored: &StoredEvent, tenant: &Tenant, limits: &EventLimits) {
    let mut written = Vec::new();
    native::write_json(stored, &mut written);
    assert_eq!(json::validate(&written, &json::Limits::default()), Ok(()));
    assert!(!written.contains(&b'\n'));
    // What the log adds cannot be published.
    let mut members: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(&written).unwrap();
    for field in ["id", "offset", "tenant", "received_at"] {
        members.remove(field).unwrap();
    }
    if let Some(id) = members.remove("client_id") {
        members.insert("id".to_owned(), id);
    }
    let body = Bytes::from(serde_json::to_vec(&members).unwrap());
    let again = only(native::decode(&body, tenant, limits));
    let mut written_again = Vec::new();
    native::write_json(&stored_again(&again, limits), &mut written_again);
    assert_eq!(written_again.escape_ascii().to_string(), written.escape_ascii().to_string());
}

fn comes_back_structured(stored: &StoredEvent, tenant: &Tenant, limits: &EventLimits) {
    let mut written = Vec::new();
    cloudevents::write_cloudevent_json(stored, &mut written);
    assert!(!written.contains(&b'\n'));
    let again = only(cloudevents::decode_structured(&written.clone().into(), tenant, limits));
    let mut written_again = Vec::new();
    cloudevents::write_cloudevent_json(&stored_again(&again, limits), &mut written_again);
    assert_eq!(written_again.escape_ascii().to_string(), written.escape_ascii().to_string());
}

fn comes_back_binary(stored: &StoredEvent, event: &Event, limits: &EventLimits) {
    let owned = |stored: &StoredEvent| -> Vec<(String, String)> {
        cloudevents::attributes(stored).map(|(name, value)| (name.to_owned(), value.into_owned())).collect()
    };
    let attributes = owned(stored);
    let headers: Vec<(String, Vec<u8>)> = attributes
        .iter()
        .map(|(name, value)| {
            (format!("ce-{name}"), cloudevents::encode_header_value(value).into_owned().into_bytes())
        })
        .collect();
    assert!(headers.iter().all(|(_, value)| value.iter().all(|byte| (0x21..0x7f).contains(byte))));
    let body = event.data.as_ref().map_or_else(Bytes::new, |data| data.bytes().clone());
    let borrowed = headers.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
    let content_type = event.content_type.as_deref();
    let again = only(cloudevents::decode_binary(borrowed, content_type, body.clone(), &event.tenant, limits));
    // A body has no kind of its own, and an empty one is none.
    let read = again.data.as_ref().map_or_else(Bytes::new, |data| data.bytes().clone());
    assert_eq!(read, body);
    assert_eq!(owned(&stored_again(&again, limits)), attributes);
}
