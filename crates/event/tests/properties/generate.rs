//! Events and JSON texts of every shape, for property tests.

use bytes::Bytes;
use eventrelay_event::{Data, Event, Tenant, json};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

/// Events that keep every rule.
pub(crate) fn event() -> impl Strategy<Value = Event> {
    let texts =
        (option::of(text()), option::of(text()), option::of(time()), option::of(text()), option::of(text()));
    let headers = btree_map("x[a-z0-9]{0,19}", option::of(text()), 0..5);
    let required = ("[a-z0-9-]{1,64}", text(), source());
    (required, texts, option::of("urn:[a-z]{1,20}"), headers, payload()).prop_map(
        |((tenant, event_type, source), texts, data_schema, headers, (content_type, data))| {
            let (id, subject, time, key, idempotency_key) = texts;
            let headers =
                headers.into_iter().map(|(name, value)| (name, value.unwrap_or_default())).collect();
            let mut event = Event::new(Tenant::parse(&tenant).unwrap(), event_type, source);
            (event.id, event.subject, event.time, event.key) = (id, subject, time, key);
            (event.content_type, event.data_schema, event.idempotency_key) =
                (content_type, data_schema, idempotency_key);
            (event.headers, event.data) = (headers, data);
            event
        },
    )
}

/// JSON texts, with white space and escapes, and no name twice in an object.
pub(crate) fn json_text() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>()
            .prop_filter("JSON has no infinity", |number| number.is_finite())
            .prop_map(|n| format!("{n:e}")),
        json_string(),
    ];
    scalar.prop_recursive(4, 32, 4, |inner| {
        let space = "[ \t\n\r]{0,2}";
        let array = (vec((inner.clone(), space), 0..4), space).prop_map(|(elements, space)| {
            let elements: Vec<String> =
                elements.into_iter().map(|(element, space)| space + &element).collect();
            format!("[{}{space}]", elements.join(","))
        });
        let object = (vec((json_string(), inner, space), 0..12), space).prop_map(|(members, space)| {
            let members: Vec<String> = members
                .into_iter()
                .enumerate()
                // A number before each name makes it unique.
                .map(|(i, (name, value, space))| format!("{space}\"{i}{}{space}:{value}", &name[1..]))
                .collect();
            format!("{{{}{space}}}", members.join(","))
        });
        prop_oneof![array, object]
    })
}

fn json_string() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        "[^\"\\\\\u{0}-\u{1f}]{0,4}",
        r#"\\["\\/bfnrt]"#,
        r"\\u(00[2-9a-f][0-9a-fA-F]|[1-9abcdef][0-9a-f]{3})".prop_filter("no surrogates", |escape| {
            !(0xd800..0xe000).contains(&u32::from_str_radix(&escape[2..], 16).unwrap())
        }),
        Just(r"\ud83d\uDE00".to_owned()),
    ];
    vec(part, 0..5).prop_map(|parts| format!("\"{}\"", parts.concat()))
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[ -~]{1,40}", 1 => "[ -~é€😀\u{a0}]{1,20}"]
}

fn source() -> impl Strategy<Value = String> {
    "(urn:|/|https://example\\.com/)[a-zA-Z0-9._~-]{1,30}(%20)?"
}

fn time() -> impl Strategy<Value = String> {
    "20[0-9]{2}-(0[1-9]|1[0-2])-[0-2][1-8]T[01][0-9]:[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,9})?(Z|[+-]0[0-9]:30)"
}

/// A content type and data that go together.
fn payload() -> impl Strategy<Value = (Option<String>, Option<Data>)> {
    let json = |text: String| Data::json(Bytes::from(text), &json::Limits::default()).unwrap();
    let json_type = prop_oneof![Just(None), Just(Some("application/json".to_owned()))];
    let any_type = prop_oneof![Just(None), Just(Some("application/octet-stream".to_owned()))];
    prop_oneof![
        any_type.clone().prop_map(|content_type| (content_type, None)),
        (json_type, json_text()).prop_map(move |(content_type, text)| (content_type, Some(json(text)))),
        ".{0,64}".prop_map(|text| (Some("text/plain".to_owned()), Some(Data::text(text)))),
        (any_type, vec(any::<u8>(), 0..64))
            .prop_map(|(content_type, bytes)| (content_type, Some(Data::binary(bytes.into())))),
    ]
}
