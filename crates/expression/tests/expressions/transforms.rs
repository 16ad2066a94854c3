//! What a transform leaves, what it changes, and why it fails.

use eventrelay_event::{DataKind, Event, EventLimits};

use super::*;

#[test]
fn all_but_the_data_stays() {
    let before = stored(&Event {
        id: Some("c-1".to_owned()),
        subject: Some("s".to_owned()),
        time: Some("2026-01-30T00:00:00Z".to_owned()),
        key: Some("k".to_owned()),
        content_type: Some("application/xml".to_owned()),
        data_schema: Some("https://example.org/old".to_owned()),
        headers: vec![("b".to_owned(), "1".to_owned()), ("a".to_owned(), "2".to_owned())],
        idempotency_key: Some("i".to_owned()),
        ..event_with(Some(Data::binary(vec![255].into())))
    });
    let transform = Transform::compile("{'type': event.type}").unwrap();
    let after = transform.apply(&Subject::alone(&before), &EventLimits::default()).event.unwrap();
    assert_eq!(after.data(), Some((DataKind::Json, &br#"{"type":"order.created"}"#.to_vec().into())));
    assert_eq!((after.content_type(), after.data_schema()), (Some("application/json"), None));
    let kept = |event: &StoredEvent| {
        let text = [event.client_id(), event.subject(), event.time(), event.key(), event.idempotency_key()];
        let text = text.map(|text| text.map(str::to_owned));
        let headers: Vec<_> = event.headers().map(|(a, b)| (a.to_owned(), b.to_owned())).collect();
        (
            event.id(),
            event.append_time_micros(),
            event.event_type().to_owned(),
            event.source().to_owned(),
            text,
            headers,
        )
    };
    assert_eq!(kept(&after), kept(&before));
}

#[test]
fn it_fails_with_a_reason() {
    let event = event(r#"{"a": 1, "text": "x"}"#);
    let limits = EventLimits { event_bytes: 300, ..EventLimits::default() };
    for (cel, said) in [
        ("data.b", "line 1, column 6: there is no such field"),
        ("data.a + data.text", "line 1, column 8: `+` does not take an int and a string"),
        ("{'a': 1.0 / 0.0}", "not finite"),
        ("{1: 'a', '1': 'b'}", "a name that the object already has"),
        (r"'a\u0000'", "U+0000"),
        (
            "[1,2,3,4,5,6,7,8,9].map(x, 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa')",
            "more than 300 bytes",
        ),
    ] {
        let transform = Transform::compile(cel).unwrap();
        let error = transform.apply(&Subject::alone(&event), &limits).event.unwrap_err().to_string();
        assert!(error.contains(said), "{cel}: {error}");
    }
}
