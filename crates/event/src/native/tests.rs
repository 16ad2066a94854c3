use bytes::Bytes;

use super::*;
use crate::{DataKind, DecodeEventsError, Event, EventLimits, StoredEvent, Tenant};

fn one(body: &str) -> Result<Event, DecodeEventsError> {
    let decoded = decode(&Bytes::from(body.to_owned()), &Tenant::default(), &EventLimits::default())?;
    assert!(!decoded.is_batch && decoded.events.len() == 1);
    Ok(decoded.events.into_iter().next().unwrap())
}

/// Code, index and field.
fn fault(body: &str) -> (&'static str, Option<usize>, Option<String>) {
    let decoded = decode(&Bytes::from(body.to_owned()), &Tenant::default(), &EventLimits::default());
    let error = decoded.unwrap_err();
    (error.code(), error.index, error.field().map(str::to_owned))
}

fn stored(event: &Event) -> StoredEvent {
    let mut record = Vec::new();
    StoredEvent::encode(event, &mut record);
    StoredEvent::decode(7, 1_769_860_800_000_123, record.into()).unwrap()
}

fn written(event: &Event) -> String {
    let mut out = Vec::new();
    write_json(&stored(event), &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn every_field_is_read() {
    let event = one(
        r#"{"type":"order.created","source":"/shop","id":"1","subject":"s","time":"2026-01-31T12:00:00Z","key":"k",
            "content_type":"application/json","dataschema":"a:b","idempotency_key":"i","headers":{"b":"2","a":"\u0031"},
            "data": {"total" : 1.0} }"#,
    )
    .unwrap();
    assert_eq!((&*event.event_type, &*event.source), ("order.created", "/shop"));
    assert_eq!((event.id.as_deref(), event.subject.as_deref()), (Some("1"), Some("s")));
    assert_eq!((event.time.as_deref(), event.key.as_deref()), (Some("2026-01-31T12:00:00Z"), Some("k")));
    assert_eq!(event.content_type.as_deref(), Some("application/json"));
    assert_eq!((event.data_schema.as_deref(), event.idempotency_key.as_deref()), (Some("a:b"), Some("i")));
    assert_eq!(event.headers, [("b".to_owned(), "2".to_owned()), ("a".to_owned(), "1".to_owned())]);
    let data = event.data.unwrap();
    assert_eq!((data.kind(), &data.bytes()[..]), (DataKind::Json, &br#"{"total" : 1.0}"#[..]));
}

#[test]
fn data_shares_the_body() {
    let body = Bytes::from(r#"{"type":"t","source":"s","data":[1,2,3]}"#.to_owned());
    let decoded = decode(&body, &Tenant::default(), &EventLimits::default()).unwrap();
    let data = decoded.events[0].data.as_ref().unwrap().bytes().as_ptr_range();
    assert!(body.as_ptr_range().contains(&data.start));
}

#[test]
fn null_is_absence_but_for_data() {
    let event = one(r#"{"type":"t","source":"s","id":null,"headers":null,"data":null}"#).unwrap();
    assert_eq!((event.id, event.headers.len()), (None, 0));
    assert_eq!(event.data.unwrap().bytes(), "null");
    assert_eq!(fault(r#"{"type":null,"source":"s"}"#), ("missing_field", None, Some("type".to_owned())));
    assert_eq!(fault(r#"{"type":"t"}"#), ("missing_field", None, Some("source".to_owned())));
}

#[test]
fn the_content_type_says_what_a_string_is() {
    let kind = |rest: &str| {
        let data = one(&format!(r#"{{"type":"t","source":"s",{rest}}}"#)).unwrap().data.unwrap();
        (data.kind(), String::from_utf8_lossy(data.bytes()).into_owned())
    };
    assert_eq!(kind(r#""data":"a\nb""#), (DataKind::Json, r#""a\nb""#.to_owned()));
    assert_eq!(kind(r#""data":"a\nb","content_type":"text/plain""#), (DataKind::Text, "a\nb".to_owned()));
    assert_eq!(kind(r#""data":"ab","content_type":"text/plain""#), (DataKind::Text, "ab".to_owned()));
    assert_eq!(kind(r#""data":1,"content_type":"text/plain""#), (DataKind::Json, "1".to_owned()));
    assert_eq!(
        kind(r#""data_base64":"aGk=","content_type":"text/plain""#),
        (DataKind::Binary, "hi".to_owned())
    );
}

#[test]
fn wrong_shapes_are_named() {
    let event = |rest: &str| fault(&format!(r#"{{"type":"t","source":"s",{rest}}}"#));
    let invalid = |field: &str| ("invalid_field", None, Some(field.to_owned()));
    assert_eq!(event(r#""id":1"#), invalid("id"));
    assert_eq!(event(r#""headers":[]"#), invalid("headers"));
    assert_eq!(event(r#""headers":{"a":1}"#), invalid("headers.a"));
    assert_eq!(event(r#""data_base64":"a""#), invalid("data_base64"));
    assert_eq!(event(r#""data_base64":"aGk""#), invalid("data_base64"));
    assert_eq!(event(r#""data_base64":"aGk=","data":1"#), invalid("data_base64"));
    assert_eq!(event(r#""event":1"#), ("unknown_field", None, Some("event".to_owned())));
    assert_eq!(event(r#""typ\u0065":"x""#).0, "duplicate_name");
    for scalar in ["1", "null", "\"x\"", "true"] {
        assert_eq!(fault(scalar), ("not_an_object", None, None));
    }
    assert_eq!(fault("[[]]"), ("not_an_object", Some(0), None));
}

#[test]
fn a_batch_names_the_event_to_blame() {
    let good = r#"{"type":"t","source":"s"}"#;
    assert_eq!(fault(&format!(r#"[{good},{good},{{"type":"t"}}]"#)).1, Some(2));
    assert_eq!(fault("[ ]"), ("empty_batch", None, None));
    let batch = |count: usize| Bytes::from(format!("[{}]", vec![good; count].join(",")));
    let limits = EventLimits::default();
    assert_eq!(decode(&batch(1000), &Tenant::default(), &limits).unwrap().events.len(), 1000);
    assert_eq!(decode(&batch(1001), &Tenant::default(), &limits).unwrap_err().code(), "batch_too_large");
    assert!(decode(&batch(1), &Tenant::default(), &limits).unwrap().is_batch);
}

#[test]
fn lines_are_read_one_by_one() {
    let lines =
        |body: &str| decode_lines(&Bytes::from(body.to_owned()), &Tenant::default(), &EventLimits::default());
    let good = r#"{"type":"t","source":"s"}"#;
    let decoded = lines(&format!("\n{good}\r\n\n {good} \n")).unwrap();
    assert!(decoded.is_batch && decoded.events.len() == 2);
    let error = lines(&format!("{good}\n\n{{\"type\":}}")).unwrap_err();
    assert_eq!(
        (error.code(), error.index, error.position()),
        ("malformed_json", Some(1), Some(good.len() + 2 + 8))
    );
    assert_eq!(lines(&format!("{good} {good}")).unwrap_err().code(), "malformed_json");
    assert_eq!(lines("\n \n").unwrap_err().code(), "empty_batch");
    assert_eq!(lines(&format!("[{good}]")).unwrap_err().code(), "not_an_object");
    assert_eq!(lines(&vec![good; 1001].join("\n")).unwrap_err().code(), "batch_too_large");
}

#[test]
fn data_is_as_deep_alone_as_in_a_batch() {
    let event = |depth: usize| {
        format!(r#"{{"type":"t","source":"s","data":{}{}}}"#, "[".repeat(depth), "]".repeat(depth))
    };
    assert!(one(&event(64)).is_ok());
    assert_eq!(fault(&event(65)).0, "json_too_deep");
    assert_eq!(fault(&format!("[{}]", event(65))).0, "json_too_deep");
    let batch = Bytes::from(format!("[{}]", event(64)));
    assert!(decode(&batch, &Tenant::default(), &EventLimits::default()).is_ok());
}

#[test]
fn what_is_absent_is_left_out() {
    let event = Event::new(Tenant::default(), "t".to_owned(), "s".to_owned());
    let time = "2026-01-31T12:00:00.000123Z";
    assert_eq!(
        written(&event),
        format!(
            r#"{{"id":"{}","offset":7,"tenant":"default","type":"t","source":"s","time":"{time}","received_at":"{time}"}}"#,
            stored(&event).id()
        )
    );
}

#[test]
fn output_is_one_line_of_json_whatever_the_event_holds() {
    let mut event = one("{\"type\":\"t\",\"source\":\"s\",\"data\":{\n  \"a\":\t\"b\\n\"\r\n}}").unwrap();
    event.subject = Some("\"\\\u{1}\u{1f}\n😀".to_owned());
    event.headers = vec![("a".to_owned(), "\t".to_owned())];
    let text = written(&event);
    assert!(!text.contains(['\n', '\r']));
    crate::json::validate(text.as_bytes(), &crate::json::Limits::default()).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["subject"], *event.subject.unwrap());
    assert_eq!(value["headers"]["a"], "\t");
    assert_eq!(value["data"]["a"], "b\n");
}
