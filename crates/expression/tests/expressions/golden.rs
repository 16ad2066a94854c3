//! A table of expressions, events and what comes of them.

use eventrelay_event::{Data, Event};
use eventrelay_expression::{Because, Reason, TransformError};
use serde_json::json;

use super::*;

const ORDER: &str = r#"{"id": 17, "amount": 120.5, "count": 3, "paid": true, "note": null, "big": 18446744073709551615,
    "currency": "EUR", "customer": {"email": "Ann@Example.org", "tags": ["vip", "eu"]}, "Größe": "XL",
    "items": [{"sku": "A-1", "price": 20, "n": 2}, {"sku": "B-2", "price": 80.5, "n": 1}], "empty": [], "nothing": {}}"#;

fn order() -> StoredEvent {
    stored(&Event {
        subject: Some("order/17".to_owned()),
        time: Some("2026-01-30T10:15:30+02:00".to_owned()),
        key: Some("ann".to_owned()),
        id: Some("client-1".to_owned()),
        headers: vec![("region".to_owned(), "eu".to_owned())],
        ..event_with(Some(json_data(ORDER)))
    })
}

#[test]
fn values() {
    let order = order();
    for (cel, expected) in [
        // Literals
        ("1", json!(1)),
        ("-9223372036854775808", json!(i64::MIN)),
        ("0x1F", json!(31)),
        ("7u", json!(7)),
        ("1.5e3", json!(1500.0)),
        (".5", json!(0.5)),
        (r#"'a\n\u00e4\x41\101' + "b" + '''c'd''' + r'\n'"#, json!("a\näAAbc'd\\n")),
        (r"string(b'\xc3\xa4')", json!("ä")),
        ("b'ab'", json!("YWI=")),
        ("[1, 'a', null, true,]", json!([1, "a", null, true])),
        ("{'a': 1, 2: [], true: {}}", json!({"a": 1, "2": [], "true": {}})),
        ("1 // a remark\n + 1", json!(2)),
        // The event
        ("event.type + ' ' + event.source", json!("order.created /shop/1")),
        ("event.subject + event.key + event.client_id + event.tenant", json!("order/17annclient-1default")),
        ("event.id", json!("019c13ec-9e00-7000-8000-000000000007")),
        ("event.headers.region + event.headers['region']", json!("eueu")),
        ("has(event.subject) && !has(event.dataschema) && has(event.headers.region)", json!(true)),
        ("event.time", json!("2026-01-30T10:15:30+02:00")),
        ("event.received_at", json!("2026-01-31T12:00:00Z")),
        ("event['type'] == event.type && 'key' in event && !('content_type' in event)", json!(true)),
        // The data
        ("data.amount", json!(120.5)),
        ("data.customer.tags[1]", json!("eu")),
        ("data['Größe']", json!("XL")),
        ("data.items[0]", json!({"sku": "A-1", "price": 20, "n": 2})),
        ("data.big", json!(u64::MAX)),
        ("data.note == null && data.note != 0", json!(true)),
        ("has(data.note) && !has(data.gone) && !has(data.amount.cents)", json!(true)),
        // Numbers
        ("7 / 2 + 7 % 2 - -1", json!(5)),
        ("-7 / 2 * 10 + -7 % 2", json!(-31)),
        ("data.count * data.amount", json!(361.5)),
        ("1 + 2u", json!(3)),
        ("1 == 1.0 && 1u == 1 && 1 < 1.5 && 2u > 1.5 && 9007199254740993 > 9007199254740992.0", json!(true)),
        ("1.0 / 0.0 > 1e308", json!(true)),
        ("1 == '1' || [1] == {}", json!(false)),
        ("'a' < 'b' && 'ä' > 'z' && false < true", json!(true)),
        // Logic
        ("true || 1 / 0 == 1", json!(true)),
        ("1 / 0 == 1 || true", json!(true)),
        ("!(data.gone == 1 && false)", json!(true)),
        ("data.paid ? 'yes' : 1 / 0", json!("yes")),
        ("false ? 1 : false ? 2 : 3", json!(3)),
        ("1 + 2 * 3 == 7 && !false == true", json!(true)),
        // Lists and maps
        ("[1] + data.empty + [2]", json!([1, 2])),
        ("[1, [2, {'a': 3}]] == [1.0, [2, {'a': 3u}]]", json!(true)),
        ("{'a': 1, 'b': 2} == {'b': 2, 'a': 1}", json!(true)),
        ("data.customer == {'tags': ['vip', 'eu'], 'email': 'Ann@Example.org'}", json!(true)),
        ("2 in [1, 2.0] && 'amount' in data && !('x' in data.nothing) && 1 in {1: 2}", json!(true)),
        ("{1: 'a'}[1] + {true: 'b'}[true]", json!("ab")),
        ("size(data.items) + data.empty.size() + size(data) + size('äö')", json!(16)),
        // Macros
        ("data.items.all(it, it.n > 0) && !data.items.all(it, it.n > 1)", json!(true)),
        ("data.items.exists(it, it.sku.startsWith('B'))", json!(true)),
        ("data.items.exists_one(it, it.n == 1) && data.items.existsOne(it, it.n == 2)", json!(true)),
        ("data.empty.all(it, 1 / 0 == 1) && !data.empty.exists(it, true)", json!(true)),
        ("[0, 1].exists(x, 1 / x == 1) && ![0, 2].all(x, 2 / x == 2)", json!(true)),
        ("data.items.filter(it, it.price > 50).map(it, it.sku)", json!(["B-2"])),
        ("data.items.map(it, it.n > 1, it.price * it.n)", json!([40])),
        ("data.nothing.map(k, k) + data.customer.map(k, k)", json!(["email", "tags"])),
        ("[1, 2].map(x, [10, 20].map(y, x * y))", json!([[10, 20], [20, 40]])),
        ("[1, 2].map(x, [3].map(x, x)[0] + x)", json!([4, 5])),
        // Functions
        ("'abc'.contains('b') && 'abc'.startsWith('ab') && 'abc'.endsWith('c')", json!(true)),
        ("data.customer.email.lowerAscii().matches('^[a-z]+@example[.]org$')", json!(true)),
        ("matches('x1', '\\\\d') && !'x'.matches('\\\\d')", json!(true)),
        ("' aBc '.trim().upperAscii()", json!("ABC")),
        ("'a,b'.split(',') + 'äb'.split('')", json!(["a", "b", "ä", "b"])),
        ("['a', 'b'].join('-') + ['c'].join()", json!("a-bc")),
        ("'banana'.replace('an', '<>') + 'ab'.replace('', '.')", json!("b<><>a.a.b.")),
        ("'hällo'.substring(1, 3) + 'abc'.substring(2) + 'a'.substring(1)", json!("älc")),
        ("int('12') + int(3.9) + int(-3.9) + int(4u)", json!(16)),
        ("uint('5') == 5u && double('1.5') == 1.5 && double(2) == 2.0 && bool('true')", json!(true)),
        ("string(1) + string(1.5) + string(2.0) + string(true) + string(1e300)", json!("11.52true1e300")),
        ("bytes('ä') == b'\\303\\244'", json!(true)),
        // Times
        ("timestamp('2026-01-31T12:00:00Z') == event.received_at", json!(true)),
        ("event.received_at - event.time > duration('27h') && event.time < event.received_at", json!(true)),
        (
            "timestamp('2026-01-31T00:00:00Z') + duration('1h30m') - duration('1.5s')",
            json!("2026-01-31T01:29:58.5Z"),
        ),
        ("duration('-90s') == -1 * 0 || duration('1m') > duration('59s')", json!(true)),
        (
            "[event.time.getFullYear(), event.time.getMonth(), event.time.getDate(), event.time.getDayOfWeek(), \
           event.time.getHours(), event.time.getMinutes(), event.time.getSeconds()]",
            json!([2026, 0, 30, 5, 8, 15, 30]),
        ),
        ("int(timestamp('1970-01-01T00:01:00Z')) + int(duration('5s'))", json!(65)),
        ("string(duration('90s'))", json!("90s")),
    ] {
        match value(cel, &order) {
            Ok(value) => assert_eq!(value, expected, "{cel}"),
            Err(error) => panic!("{cel}: {error}"),
        }
    }
}

#[test]
fn faults() {
    let order = order();
    for (cel, reason, column) in [
        ("data.gone", Reason::Missing, 6),
        ("data.note.deeper", Reason::Missing, 11),
        ("1 == data.items[2].n", Reason::Missing, 16),
        ("data.items[-1]", Reason::Missing, 11),
        ("event.content_type", Reason::Missing, 7),
        ("data.amount > 'x'", Reason::Failed, 13),
        ("data.paid + 1", Reason::Failed, 11),
        ("1 / 0", Reason::Failed, 3),
        ("1 % 0", Reason::Failed, 3),
        ("9223372036854775807 + 1", Reason::Failed, 21),
        ("-(-9223372036854775807 - 1)", Reason::Failed, 1),
        ("0u - 1u", Reason::Failed, 4),
        ("!data.count", Reason::Failed, 7),
        ("data.count && true", Reason::Failed, 6),
        ("data.currency ? 1 : 2", Reason::Failed, 6),
        ("int('x')", Reason::Failed, 1),
        ("int(1e19)", Reason::Failed, 1),
        ("uint(-1)", Reason::Failed, 1),
        ("timestamp('yesterday')", Reason::Failed, 1),
        ("duration('1 h')", Reason::Failed, 1),
        ("{1: 2, 1u: 3}", Reason::Failed, 8),
        ("{null: 1}", Reason::Failed, 2),
        ("data.count.all(x, true)", Reason::Failed, 6),
        ("'abc'.substring(2, 1)", Reason::Failed, 7),
        ("'abc'.substring(4)", Reason::Failed, 7),
        ("1 in 'a'", Reason::Failed, 3),
        ("[1]['a']", Reason::Failed, 4),
        ("size(1)", Reason::Failed, 1),
        ("data.items.map(it, it.gone)", Reason::Missing, 23),
    ] {
        match value(cel, &order) {
            Err(TransformError::Evaluation(error)) => {
                assert_eq!((error.reason, error.position.column), (reason, column), "{cel}: {error}");
            }
            other => panic!("{cel}: {other:?}"),
        }
    }
}

#[test]
fn a_filter_matches_when_it_is_true_and_says_why_it_does_not() {
    let order = order();
    assert_eq!(verdict("data.amount > 100", &order), Verdict::Match);
    assert_eq!(verdict("data.amount > 200", &order), Verdict::NoMatch(Because::ExpressionIsFalse));
    assert_eq!(verdict("data.gone > 200", &order), Verdict::NoMatch(Because::Missing(5)));
    assert_eq!(verdict("data.gone > 200 || data.paid", &order), Verdict::Match);
    let Verdict::Failed(error) = verdict("data.currency > 100", &order) else { panic!("it compares text") };
    assert_eq!(error.to_string(), "line 1, column 15: `>` does not take a string and an int");
    let Verdict::Failed(error) = verdict("data.amount", &order) else { panic!("it is a number") };
    assert_eq!(error.to_string(), "line 1, column 6: this must be true or false, and is a double");
}

#[test]
fn data_that_is_no_json_is_text_bytes_or_null() {
    let text = stored(&Event {
        content_type: Some("text/plain".to_owned()),
        ..event_with(Some(Data::text("hällo".to_owned())))
    });
    assert_eq!(verdict("data.startsWith('hä') && data.size() == 5", &text), Verdict::Match);
    assert!(matches!(verdict("data.amount > 1", &text), Verdict::NoMatch(Because::Missing(_))));
    let binary = stored(&event_with(Some(Data::binary(vec![1, 2, 255].into()))));
    assert_eq!(verdict(r"data == b'\x01\x02\xff' && size(data) == 3", &binary), Verdict::Match);
    let none = stored(&event_with(None));
    assert_eq!(verdict("data == null && !has(data.amount)", &none), Verdict::Match);
}
