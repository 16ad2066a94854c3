use bytes::Bytes;

use super::*;
use crate::{Data, Tenant};

fn event() -> Event {
    Event::new(Tenant::default(), "order.created".to_owned(), "/shop".to_owned())
}

fn check(change: impl FnOnce(&mut Event)) -> Result<(), String> {
    let mut event = event();
    change(&mut event);
    event.check(&EventLimits::default()).map_err(|invalid| match invalid {
        InvalidEvent::Field { field, .. } => field.into_owned(),
        InvalidEvent::TooLarge { .. } => "too large".to_owned(),
    })
}

fn refused(field: &str) -> Result<(), String> {
    Err(field.to_owned())
}

#[test]
fn names_have_1_to_256_bytes() {
    type Set = fn(&mut Event, String);
    let fields: [(&str, Set); 4] = [
        ("type", |event, text| event.event_type = text),
        ("id", |event, text| event.id = Some(text)),
        ("key", |event, text| event.key = Some(text)),
        ("idempotency_key", |event, text| event.idempotency_key = Some(text)),
    ];
    for (field, set) in fields {
        assert_eq!(check(|event| set(event, "é".repeat(128))), Ok(()), "{field}");
        assert_eq!(check(|event| set(event, "é".repeat(128) + "x")), refused(field));
        assert_eq!(check(|event| set(event, String::new())), refused(field));
        assert_eq!(check(|event| set(event, "a\nb".to_owned())), refused(field));
    }
}

#[test]
fn a_source_is_a_uri_reference_of_2048_bytes() {
    let source = |text: &str| check(|event| event.source = text.to_owned());
    assert_eq!(source(&"s".repeat(2048)), Ok(()));
    assert_eq!(source(&"s".repeat(2049)), refused("source"));
    assert_eq!(source(""), refused("source"));
    assert_eq!(source("my shop"), refused("source"));
    assert_eq!(source("urn:x:my%20shop"), Ok(()));
}

#[test]
fn a_schema_is_a_uri_with_a_scheme() {
    let schema = |text: &str| check(|event| event.data_schema = Some(text.to_owned()));
    assert_eq!(schema("https://example.com/s#1"), Ok(()));
    assert_eq!(schema("/s"), refused("dataschema"));
    assert_eq!(schema(""), refused("dataschema"));
    assert_eq!(schema(&("a:".to_owned() + &"s".repeat(2046))), Ok(()));
    assert_eq!(schema(&("a:".to_owned() + &"s".repeat(2047))), refused("dataschema"));
}

#[test]
fn a_subject_has_1_to_1024_bytes_of_text() {
    let subject = |text: &str| check(|event| event.subject = Some(text.to_owned()));
    assert_eq!(subject(&"s".repeat(1024)), Ok(()));
    assert_eq!(subject(&"s".repeat(1025)), refused("subject"));
    assert_eq!(subject(""), refused("subject"));
    for bad in
        ["\u{0}", "\u{1f}", "\u{7f}", "\u{80}", "\u{9f}", "\u{fdd0}", "\u{fffe}", "\u{1ffff}", "\u{10fffe}"]
    {
        assert_eq!(subject(bad), refused("subject"), "{bad:?}");
    }
    assert_eq!(subject("\u{a0}\u{fdcf}\u{fdf0}\u{fffd}\u{1fffd}😀"), Ok(()));
}

#[test]
fn a_time_is_rfc_3339() {
    let time = |text: &str| check(|event| event.time = Some(text.to_owned()));
    for good in ["2026-01-31T12:00:00Z", "2026-01-31t12:00:00.123456789+14:00", "2016-12-31T23:59:60Z"] {
        assert_eq!(time(good), Ok(()), "{good}");
    }
    for bad in [
        "",
        "2026-01-31",
        "2026-01-31T12:00:00",
        "2026-02-30T12:00:00Z",
        "2026-01-31T25:00:00Z",
        "1700000000",
    ] {
        assert_eq!(time(bad), refused("time"), "{bad}");
    }
    assert_eq!(time(&format!("2026-01-31T12:00:00.{}Z", "0".repeat(64))), refused("time"));
}

#[test]
fn a_content_type_is_a_media_type_of_256_bytes() {
    let content_type = |text: &str| check(|event| event.content_type = Some(text.to_owned()));
    assert_eq!(content_type(&format!("a/{}", "b".repeat(254))), Ok(()));
    assert_eq!(content_type(&format!("a/{}", "b".repeat(255))), refused("content_type"));
    assert_eq!(content_type("json"), refused("content_type"));
}

#[test]
fn headers_are_64_extensions_each_once() {
    let header =
        |name: &str, value: &str| check(|event| event.headers = vec![(name.to_owned(), value.to_owned())]);
    assert_eq!(header("abcdefghij0123456789", ""), Ok(()));
    assert_eq!(header("abcdefghij01234567890", ""), refused("headers.abcdefghij0123456789"));
    assert_eq!(header("a", &"v".repeat(4096)), Ok(()));
    assert_eq!(header("a", &"v".repeat(4097)), refused("headers.a"));
    for bad in ["", "A", "x-y", "é", "a_b", "id", "type", "partitionkey", "data", "specversion"] {
        assert_eq!(header(bad, "v"), refused(&format!("headers.{bad}")), "{bad}");
    }
    assert_eq!(header("a", "b\r\nc: d"), refused("headers.a"));
    let many = |count: usize| {
        check(|event| event.headers = (0..count).map(|i| (format!("h{i}"), String::new())).collect())
    };
    assert_eq!(many(64), Ok(()));
    assert_eq!(many(65), refused("headers"));
    let twice = vec![("a".to_owned(), "1".to_owned()), ("a".to_owned(), "1".to_owned())];
    assert_eq!(check(|event| event.headers = twice), refused("headers.a"));
}

#[test]
fn text_data_needs_a_content_type_that_is_not_json() {
    let text = |content_type: Option<&str>| {
        check(|event| {
            event.data = Some(Data::text("x".to_owned()));
            event.content_type = content_type.map(str::to_owned);
        })
    };
    assert_eq!(text(Some("text/plain")), Ok(()));
    assert_eq!(text(Some("application/problem+json")), refused("content_type"));
    assert_eq!(text(None), refused("content_type"));
}

#[test]
fn the_whole_event_has_a_limit() {
    let limits = EventLimits { event_bytes: 1000, ..EventLimits::default() };
    let mut event = event();
    let rest = 1000 - StoredEvent::encoded_bytes(&event);
    event.data = Some(Data::binary(Bytes::from(vec![0; rest])));
    assert_eq!(event.check(&limits), Ok(()));
    event.data = Some(Data::binary(Bytes::from(vec![0; rest + 1])));
    assert_eq!(event.check(&limits), Err(InvalidEvent::TooLarge { bytes: 1001, limit: 1000 }));
}
