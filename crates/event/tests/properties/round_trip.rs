//! An event comes out of every form as it went in.

use std::collections::BTreeMap;

use bytes::Bytes;
use eventrelay_event::{
    Data, DataKind, DecodedEvents, Event, EventLimits, StoredEvent, Tenant, cloudevents, json, native,
};
use proptest::prelude::*;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::generate;

fn stored(event: &Event) -> StoredEvent {
    let mut record = Vec::new();
    StoredEvent::encode(event, &mut record);
    assert_eq!(record.len(), StoredEvent::encoded_bytes(event));
    StoredEvent::decode(42, 1_700_000_000_123_456, record.into()).unwrap()
}

/// Texts, headers and data.
type Parts = (Vec<Option<String>>, Vec<(String, String)>, Option<(DataKind, Bytes)>);

/// What the log keeps of the event, for comparing.
fn parts(event: &StoredEvent) -> Parts {
    let texts = [
        Some(event.tenant()),
        Some(event.event_type()),
        Some(event.source()),
        event.client_id(),
        event.subject(),
        event.time(),
        event.key(),
        event.content_type(),
        event.data_schema(),
        event.idempotency_key(),
    ];
    let headers = event.headers().map(|(name, value)| (name.to_owned(), value.to_owned()));
    let data = event.data().map(|(kind, bytes)| (kind, bytes.clone()));
    (texts.map(|text| text.map(str::to_owned)).to_vec(), headers.collect(), data)
}

fn only(decoded: DecodedEvents) -> Event {
    assert_eq!(decoded.events.len(), 1);
    decoded.events.into_iter().next().unwrap()
}

/// JSON forms drop the line breaks between the parts of a JSON value.
fn without_line_breaks(mut event: Event) -> Event {
    event.data = event.data.map(|data| match data.kind() {
        DataKind::Json => {
            let bytes: Vec<u8> =
                data.bytes().iter().copied().filter(|byte| !b"\r\n".contains(byte)).collect();
            Data::json(bytes.into(), &json::Limits::default()).unwrap()
        }
        DataKind::Text | DataKind::Binary => data,
    });
    event
}

/// What CloudEvents' forms do not carry.
fn cloud_event(mut event: Event) -> Event {
    event.id =
        Some(event.id.unwrap_or_else(|| {
            stored(&Event::new(Tenant::default(), "t".into(), "s".into())).id().to_string()
        }));
    event.idempotency_key = None;
    event
}

proptest! {
    #[test]
    fn generated_events_keep_the_rules(event in generate::event()) {
        prop_assert_eq!(event.check(&EventLimits::default()), Ok(()));
    }

    #[test]
    fn the_log_gives_back_what_it_was_given(event in generate::event()) {
        let read = stored(&event);
        let (texts, headers, data) = parts(&read);
        let given = [
            Some(event.tenant.as_str().to_owned()), Some(event.event_type.clone()), Some(event.source.clone()), event.id.clone(),
            event.subject.clone(), event.time.clone(), event.key.clone(), event.content_type.clone(),
            event.data_schema.clone(), event.idempotency_key.clone(),
        ];
        prop_assert_eq!(texts, given);
        prop_assert_eq!(headers, event.headers.clone());
        prop_assert_eq!(data, event.data.as_ref().map(|data| (data.kind(), data.bytes().clone())));
        let again = StoredEvent::decode(42, 1_700_000_000_123_456, read.encoded().clone()).unwrap();
        prop_assert_eq!(parts(&again), parts(&read));
        prop_assert!(read.has_content_of(&event));
    }

    #[test]
    fn structured_cloudevents_come_back(event in generate::event()) {
        let event = cloud_event(event);
        let mut body = Vec::new();
        cloudevents::write_cloudevent_json(&stored(&event), &mut body);
        let decoded = cloudevents::decode_structured(&body.into(), &event.tenant, &EventLimits::default()).unwrap();
        prop_assert_eq!(only(decoded), without_line_breaks(event));
    }

    #[test]
    fn binary_cloudevents_come_back(event in generate::event()) {
        let event = cloud_event(event);
        let stored = stored(&event);
        let headers: Vec<(String, Vec<u8>)> = cloudevents::attributes(&stored)
            .map(|(name, value)| (format!("ce-{name}"), cloudevents::encode_header_value(&value).into_owned().into_bytes()))
            .collect();
        prop_assert!(headers.iter().all(|(_, value)| value.iter().all(|byte| (0x21..0x7f).contains(byte))));
        let body = event.data.as_ref().map_or_else(Bytes::new, |data| data.bytes().clone());
        let borrowed = headers.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
        let decoded =
            cloudevents::decode_binary(borrowed, event.content_type.as_deref(), body, &event.tenant, &EventLimits::default());
        let mut decoded = only(decoded.unwrap());
        // A body has no kind of its own, and an empty one is none.
        let bytes = |event: &Event| event.data.as_ref().map(|data| data.bytes().clone()).filter(|bytes| !bytes.is_empty());
        prop_assert_eq!(bytes(&decoded), bytes(&event));
        decoded.data.clone_from(&event.data);
        prop_assert_eq!(decoded, event);
    }

    #[test]
    fn native_output_says_all_there_is(event in generate::event()) {
        let read = stored(&event);
        let mut out = Vec::new();
        native::write_json(&read, &mut out);
        prop_assert_eq!(json::validate(&out, &json::Limits::default()), Ok(()));
        prop_assert!(!out.contains(&b'\n'));
        let value: Value = serde_json::from_slice(&out).unwrap();
        let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        prop_assert_eq!(text("id"), Some(read.id().to_string()));
        prop_assert_eq!(value["offset"].as_u64(), Some(42));
        prop_assert_eq!(text("type"), Some(event.event_type.clone()));
        prop_assert_eq!(text("client_id"), event.id.clone());
        prop_assert_eq!(text("subject"), event.subject.clone());
        prop_assert_eq!(text("key"), event.key.clone());
        prop_assert_eq!(text("received_at"), Some("2023-11-14T22:13:20.123456Z".to_owned()));
        // What comes out can be published again.
        let mut members: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(&out).unwrap();
        for field in ["id", "offset", "tenant", "received_at"] {
            members.remove(field).unwrap();
        }
        if let Some(id) = members.remove("client_id") {
            members.insert("id".to_owned(), id);
        }
        let body = Bytes::from(serde_json::to_vec(&members).unwrap());
        let mut again = only(native::decode(&body, &event.tenant, &EventLimits::default()).unwrap());
        again.headers.sort();
        let mut event = without_line_breaks(event);
        event.headers.sort();
        event.time.get_or_insert_with(|| "2023-11-14T22:13:20.123456Z".to_owned());
        prop_assert_eq!(again, event);
    }
}
