use bytes::Bytes;

use super::*;
use crate::{DataKind, DecodeEventsError, DecodedEvents, Event, EventLimits, StoredEvent, Tenant};

fn structured(body: &str) -> Result<Event, DecodeEventsError> {
    let decoded =
        decode_structured(&Bytes::from(body.to_owned()), &Tenant::default(), &EventLimits::default())?;
    Ok(decoded.events.into_iter().next().unwrap())
}

fn batch(body: &str) -> Result<DecodedEvents, DecodeEventsError> {
    decode_batch(&Bytes::from(body.to_owned()), &Tenant::default(), &EventLimits::default())
}

fn binary(
    headers: &[(&str, &[u8])],
    content_type: Option<&str>,
    body: &[u8],
) -> Result<Event, DecodeEventsError> {
    let headers = headers.iter().copied();
    let body = Bytes::copy_from_slice(body);
    let decoded = decode_binary(headers, content_type, body, &Tenant::default(), &EventLimits::default())?;
    Ok(decoded.events.into_iter().next().unwrap())
}

const REQUIRED: [(&str, &[u8]); 4] =
    [("ce-specversion", b"1.0"), ("ce-id", b"1"), ("ce-source", b"/s"), ("ce-type", b"t")];

fn with(name: &'static str, value: &'static [u8]) -> Vec<(&'static str, &'static [u8])> {
    REQUIRED.into_iter().filter(|(required, _)| *required != name).chain([(name, value)]).collect()
}

fn fault<T>(result: Result<T, DecodeEventsError>) -> (&'static str, Option<String>) {
    let error = result.err().unwrap();
    (error.code(), error.field().map(str::to_owned))
}

fn field(code: &'static str, field: &str) -> (&'static str, Option<String>) {
    (code, Some(field.to_owned()))
}

#[test]
fn the_specifications_example_is_read() {
    let event = structured(
        r#"{
            "specversion" : "1.0",
            "type" : "com.github.pull_request.opened",
            "source" : "https://github.com/cloudevents/spec/pull",
            "subject" : "123",
            "id" : "A234-1234-1234",
            "time" : "2018-04-05T17:31:00Z",
            "comexampleextension1" : "value",
            "comexampleothervalue" : 5,
            "unsetextension": null,
            "comexampleflag" : false,
            "partitionkey" : "p",
            "datacontenttype" : "text/xml",
            "data" : "<much wow=\"xml\"/>"
        }"#,
    )
    .unwrap();
    assert_eq!(
        (&*event.event_type, event.id.as_deref()),
        ("com.github.pull_request.opened", Some("A234-1234-1234"))
    );
    assert_eq!((event.key.as_deref(), event.content_type.as_deref()), (Some("p"), Some("text/xml")));
    let headers: Vec<_> = event.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(
        headers,
        [("comexampleextension1", "value"), ("comexampleothervalue", "5"), ("comexampleflag", "false")]
    );
    let data = event.data.unwrap();
    assert_eq!((data.kind(), &data.bytes()[..]), (DataKind::Text, &b"<much wow=\"xml\"/>"[..]));
}

#[test]
fn required_attributes_are_required() {
    let all = [("specversion", "1.0"), ("id", "1"), ("source", "s"), ("type", "t")];
    for (missing, _) in all {
        let members: Vec<_> = all
            .iter()
            .filter(|(name, _)| *name != missing)
            .map(|(name, value)| format!("\"{name}\":\"{value}\""))
            .collect();
        assert_eq!(fault(structured(&format!("{{{}}}", members.join(",")))), field("missing_field", missing));
        let headers: Vec<_> = REQUIRED.into_iter().filter(|(name, _)| name[3..] != *missing).collect();
        assert_eq!(fault(binary(&headers, None, b"")), field("missing_field", missing));
    }
}

#[test]
fn attributes_have_types() {
    let with = |rest: &str| {
        structured(&format!(r#"{{"specversion":"1.0","id":"1","source":"s","type":"t",{rest}}}"#))
    };
    let invalid = |name: &str| field("invalid_field", name);
    let value = |text: &str| with(&format!("\"ext\":{text}")).map(|event| event.headers[0].1.clone());
    assert_eq!(value("2147483647").unwrap(), "2147483647");
    assert_eq!(value("-2147483648").unwrap(), "-2147483648");
    for bad in ["2147483648", "-2147483649", "1.0", "1e2", "{}", "[]"] {
        assert_eq!(fault(value(bad)), invalid("ext"), "{bad}");
    }
    assert_eq!(fault(with(r#""subject":1"#)), invalid("subject"));
    assert_eq!(fault(with(r#""time":false"#)), invalid("time"));
    assert_eq!(fault(with(r#""Ext":"1""#)), invalid("Ext"));
    assert_eq!(fault(with(r#""a_b":"1""#)), invalid("a_b"));
    assert_eq!(fault(with(r#""abcdefghij01234567890":"1""#)), invalid("abcdefghij01234567890"));
    assert_eq!(fault(with(r#""data":1,"data_base64":"aGk=""#)), invalid("data_base64"));
    let old = structured(r#"{"specversion":"0.3","id":"1","source":"s","type":"t"}"#);
    assert_eq!(fault(old), invalid("specversion"));
}

#[test]
fn a_batch_is_an_array_and_a_structured_event_is_none() {
    let event = r#"{"specversion":"1.0","id":"1","source":"s","type":"t"}"#;
    assert_eq!(batch(&format!("[{event},{event}]")).unwrap().events.len(), 2);
    assert_eq!(fault(batch(event)).0, "not_an_array");
    assert_eq!(fault(batch("[]")).0, "empty_batch");
    assert_eq!(fault(structured(&format!("[{event}]"))).0, "not_an_object");
    assert_eq!(batch(&format!("[{event},{{}}]")).unwrap_err().index, Some(1));
}

#[test]
fn header_values_are_unquoted_and_decoded_once() {
    let subject = |value: &'static [u8]| {
        binary(&with("ce-subject", value), None, b"").map(|event| event.subject.unwrap())
    };
    let cases: [(&[u8], &str); 8] = [
        (b"Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),
        (b"%e2%82%ac", "€"),
        (b"a%2525b", "a%25b"),
        (b"\"a b\\\"c%20d\"", "a b\"c d"),
        (b"a\"b", "a\"b"),
        (b"plain text", "plain text"),
        ("€".as_bytes(), "€"),
        (b"%22", "\""),
    ];
    for (value, expected) in cases {
        assert_eq!(subject(value).unwrap(), expected);
    }
    let bad: [&[u8]; 9] = [b"%", b"%2", b"%zz", b"%+1", b"%C0%AF", b"%ED%A0%80", b"\xff", b"\"a", b"\"a\"b"];
    for value in bad {
        assert_eq!(
            fault(subject(value)),
            field("invalid_field", "ce-subject"),
            "{}",
            String::from_utf8_lossy(value)
        );
    }
}

#[test]
fn header_names_have_no_case_and_come_once() {
    let mut headers = with("Ce-MyExt", b"v");
    headers.push(("accept", b"*/*"));
    assert_eq!(binary(&headers, None, b"").unwrap().headers, [("myext".to_owned(), "v".to_owned())]);
    headers.push(("ce-myext", b"w"));
    assert_eq!(fault(binary(&headers, None, b"")), field("invalid_field", "ce-myext"));
    for forbidden in ["ce-datacontenttype", "Ce-Data", "ce-", "ce-a-b", "ce-data_base64"] {
        assert_eq!(fault(binary(&with(forbidden, b"v"), None, b"")), field("invalid_field", forbidden));
    }
}

#[test]
fn the_body_is_the_data() {
    let data = |content_type: Option<&str>, body: &[u8]| {
        binary(&REQUIRED, content_type, body).map(|event| event.data.map(|data| data.kind()))
    };
    assert_eq!(data(Some("application/json"), b" {\"a\":1}\n"), Ok(Some(DataKind::Json)));
    assert_eq!(fault(data(Some("application/json"), b"{")).0, "malformed_json");
    assert_eq!(data(Some("text/plain"), "ä".as_bytes()), Ok(Some(DataKind::Text)));
    assert_eq!(data(Some("text/plain"), b"\xe4"), Ok(Some(DataKind::Binary)));
    assert_eq!(data(Some("text/plain"), b"a\0b"), Ok(Some(DataKind::Binary)));
    assert_eq!(data(Some("application/octet-stream"), b"text"), Ok(Some(DataKind::Binary)));
    // As the Python SDK sends JSON.
    assert_eq!(data(None, b"{}"), Ok(Some(DataKind::Json)));
    assert_eq!(data(None, b"{"), Ok(Some(DataKind::Binary)));
    assert_eq!(data(Some("application/json"), b""), Ok(None));
    let event = binary(&REQUIRED, Some("application/json"), b"").unwrap();
    assert_eq!(event.content_type.as_deref(), Some("application/json"));
}

#[test]
fn an_event_without_an_id_goes_out_under_ours() {
    let event = Event::new(Tenant::default(), "t".to_owned(), "s".to_owned());
    let mut record = Vec::new();
    StoredEvent::encode(&event, &mut record);
    let stored = StoredEvent::decode(1, 2, record.into()).unwrap();
    let mut out = Vec::new();
    write_cloudevent_json(&stored, &mut out);
    let expected = format!(r#"{{"specversion":"1.0","id":"{}","source":"s","type":"t"}}"#, stored.id());
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn header_values_are_encoded_as_the_binding_says() {
    assert_eq!(encode_header_value("Euro € 😀"), "Euro%20%E2%82%AC%20%F0%9F%98%80");
    assert_eq!(encode_header_value("\"%\u{7f}"), "%22%25%7F");
    assert!(matches!(encode_header_value("!plain~"), std::borrow::Cow::Borrowed("!plain~")));
}
