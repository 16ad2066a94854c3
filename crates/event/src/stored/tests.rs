use super::*;
use crate::{Data, Tenant};

fn full() -> Event {
    let text = |text: &str| Some(text.to_owned());
    Event {
        tenant: Tenant::default(),
        event_type: "order.created".to_owned(),
        source: "/shop/ä".to_owned(),
        id: text("A-1"),
        subject: text("order 7"),
        time: text("2026-01-02T03:04:05Z"),
        key: text("kunde-é"),
        content_type: text("application/json"),
        data_schema: text("https://example.com/schema"),
        headers: vec![
            ("traceparent".to_owned(), "00-1".to_owned()),
            ("region".to_owned(), "日本".to_owned()),
        ],
        idempotency_key: text("once"),
        data: Some(Data::binary(Bytes::from_static(b"{\"total\":1}"))),
    }
}

fn encode(event: &Event) -> Vec<u8> {
    let mut out = Vec::new();
    StoredEvent::encode(event, &mut out);
    out
}

#[test]
fn the_format_is_what_the_docs_draw() {
    let mut event = Event::new(Tenant::default(), "t".to_owned(), "s".to_owned());
    event.key = Some("k".to_owned());
    event.headers = vec![("h".to_owned(), "vv".to_owned())];
    event.data = Some(Data::binary(Bytes::from_static(&[0xff])));
    let expected = b"\x01\x08\x03\x01\x07\x01\x01\x01\x01\x02defaulttskhvv\xff";
    assert_eq!(encode(&event), expected);
}

#[test]
fn an_event_reads_back_as_it_was() {
    let event = full();
    let record = Bytes::from(encode(&event));
    assert_eq!(record.len(), StoredEvent::encoded_bytes(&event));
    let stored = StoredEvent::decode(7, 1_700_000_000_123_456, record.clone()).unwrap();
    assert_eq!((stored.offset(), stored.append_time_micros()), (7, 1_700_000_000_123_456));
    assert_eq!(
        (stored.tenant(), stored.event_type(), stored.source()),
        ("default", "order.created", "/shop/ä")
    );
    assert_eq!(stored.client_id(), Some("A-1"));
    assert_eq!(stored.subject(), Some("order 7"));
    assert_eq!(stored.time(), Some("2026-01-02T03:04:05Z"));
    assert_eq!(stored.key(), Some("kunde-é"));
    assert_eq!(stored.content_type(), Some("application/json"));
    assert_eq!(stored.data_schema(), Some("https://example.com/schema"));
    assert_eq!(stored.idempotency_key(), Some("once"));
    assert_eq!(stored.headers().collect::<Vec<_>>(), [("traceparent", "00-1"), ("region", "日本")]);
    assert_eq!(stored.data(), Some((DataKind::Binary, &Bytes::from_static(b"{\"total\":1}"))));
    assert_eq!(stored.encoded(), &record);
}

#[test]
fn absent_and_empty_are_told_apart() {
    let mut event = Event::new(Tenant::default(), "t".to_owned(), "s".to_owned());
    let bare = StoredEvent::decode(0, 0, encode(&event).into()).unwrap();
    assert_eq!((bare.subject(), bare.data()), (None, None));
    event.subject = Some(String::new());
    event.data = Some(Data::binary(Bytes::new()));
    let empty = StoredEvent::decode(0, 0, encode(&event).into()).unwrap();
    assert_eq!((empty.subject(), empty.data()), (Some(""), Some((DataKind::Binary, &Bytes::new()))));
}

#[test]
fn every_cut_is_refused_or_loses_only_data() {
    let event = full();
    let record = encode(&event);
    let data_start = record.len() - event.data.as_ref().unwrap().bytes().len();
    for length in 0..data_start {
        assert!(
            StoredEvent::decode(0, 0, Bytes::copy_from_slice(&record[..length])).is_err(),
            "cut to {length}"
        );
    }
}

#[test]
fn no_flipped_bit_makes_a_panic() {
    let record = encode(&full());
    for bit in 0..record.len() * 8 {
        let mut flipped = record.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        if let Ok(stored) = StoredEvent::decode(0, 0, flipped.into()) {
            assert_eq!(stored.headers().count(), 2, "decoding has checked all that reading needs");
        }
    }
}

#[test]
fn what_a_newer_release_wrote_is_named_so() {
    let mut record = encode(&full());
    record[0] = 2;
    let error = StoredEvent::decode(9, 0, record.into()).unwrap_err();
    assert!(error.to_string().contains("offset 9") && error.why.contains("version"), "{error}");
}

#[test]
fn a_span_may_not_cut_a_character() {
    // Type "é" and source "s": one byte moves from the type to the source.
    let mut record = encode(&Event::new(Tenant::default(), "é".to_owned(), "s".to_owned()));
    assert_eq!(record[4..7], [7, 2, 1]);
    record[5] = 1;
    record[6] = 2;
    assert_eq!(
        StoredEvent::decode(0, 0, record.into()).unwrap_err().why,
        "a field is cut inside a character"
    );
}

#[test]
fn a_length_has_one_spelling() {
    let mut record = encode(&Event::new(Tenant::default(), "t".to_owned(), "s".to_owned()));
    record.splice(4..5, [0x87, 0]);
    assert!(StoredEvent::decode(0, 0, record.into()).unwrap_err().why.contains("shortest"));
}

#[test]
fn offsets_and_times_out_of_range_are_refused() {
    let record = Bytes::from(encode(&full()));
    assert!(StoredEvent::decode(EventId::OFFSET_LIMIT, 0, record.clone()).is_err());
    assert!(StoredEvent::decode(0, EventId::TIME_LIMIT_MICROS, record).is_err());
}
