//! The same expressions in the `cel` crate: where it gives a value, so do we, and the same one.
//!
//! Not compared is what differs on purpose (see `evaluate`): fields of what is no map, and arithmetic over several types.

use cel::{Context, Program};
use proptest::prelude::*;

use super::*;

const DATA: &str = r#"{"n": 3, "m": -4, "d": 1.5, "t": "text", "e": "", "b": true, "z": null,
    "l": [1, 2, 3], "s": ["a", "b", "text"], "o": {"n": 7, "t": "in"}, "os": [{"n": 1}, {"n": 2}, {"t": 3}]}"#;

/// What the reference says; none when it fails.
fn reference(source: &str) -> Option<serde_json::Value> {
    let program = Program::compile(source).unwrap_or_else(|error| panic!("{source}: {error}"));
    let mut context = Context::default();
    let data: serde_json::Value = serde_json::from_str(DATA).unwrap();
    context.add_variable("data", data).unwrap();
    program.execute(&context).ok()?.json().ok()
}

/// Expressions of all operators, macros and functions, most of which make sense.
fn expressions() -> impl Strategy<Value = String> {
    let numbers = prop_oneof![
        (-5..50i64).prop_map(|n| n.to_string()),
        Just("data.n".to_owned()),
        Just("data.m".to_owned()),
        Just("data.o.n".to_owned()),
        Just("data.l[1]".to_owned()),
        Just("size(data.l)".to_owned()),
        Just("data.t.size()".to_owned()),
        Just("data.gone".to_owned()),
    ];
    let numbers = numbers.prop_recursive(3, 12, 2, |inner| {
        (inner.clone(), prop_oneof!["\\+", "-", "\\*", "/", "%"], inner)
            .prop_map(|(a, op, b)| format!("({a} {op} {b})"))
    });
    let texts = prop_oneof![
        "'[a-z]{0,3}'",
        Just("data.t".to_owned()),
        Just("data.e".to_owned()),
        Just("data.s[0]".to_owned()),
        Just("data.o.t".to_owned()),
        Just("data.o.gone".to_owned()),
        Just("string(data.n)".to_owned()),
    ];
    let texts = texts
        .prop_recursive(2, 6, 2, |inner| (inner.clone(), inner).prop_map(|(a, b)| format!("({a} + {b})")));
    let compare = prop_oneof![Just("=="), Just("!="), Just("<"), Just("<="), Just(">"), Just(">=")];
    let conditions = prop_oneof![
        (numbers.clone(), compare.clone(), numbers.clone()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
        (texts.clone(), compare, texts.clone()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
        (texts.clone(), prop_oneof!["contains", "startsWith", "endsWith"], texts.clone())
            .prop_map(|(a, f, b)| format!("{a}.{f}({b})")),
        (texts.clone(), "[a-z]{1,2}[*+?]?").prop_map(|(a, p)| format!("{a}.matches('{p}')")),
        numbers.clone().prop_map(|n| format!("{n} in data.l")),
        texts.clone().prop_map(|t| format!("{t} in data.s")),
        texts.clone().prop_map(|t| format!("{t} in data.o")),
        (numbers.clone(), prop_oneof!["all", "exists", "exists_one"])
            .prop_map(|(n, f)| format!("data.l.{f}(x, x > {n})")),
        numbers.clone().prop_map(|n| format!("data.os.exists(x, x.n == {n})")),
        numbers.clone().prop_map(|n| format!("data.os.all(x, has(x.n) && x.n > {n})")),
        Just("has(data.o.t)".to_owned()),
        Just("has(data.gone)".to_owned()),
        Just("data.z == null".to_owned()),
        Just("data.b".to_owned()),
    ];
    let conditions = conditions.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            (inner.clone(), prop_oneof![Just("&&"), Just("||")], inner.clone())
                .prop_map(|(a, op, b)| format!("({a} {op} {b})")),
            inner.clone().prop_map(|a| format!("!({a})")),
            (inner.clone(), inner.clone(), inner).prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
        ]
    });
    prop_oneof![
        4 => conditions.clone(),
        1 => numbers.clone(),
        1 => texts.clone(),
        1 => (numbers.clone(), conditions.clone()).prop_map(|(n, c)| format!("data.l.map(x, {c}, x + {n})")),
        1 => numbers.clone().prop_map(|n| format!("data.l.filter(x, x < {n}) + [{n}]")),
        1 => (numbers, texts, conditions).prop_map(|(n, t, c)| format!("{{'n': {n}, 't': [{t}], 'c': {c}}}")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, ..ProptestConfig::default() })]

    #[test]
    fn what_the_reference_has_a_value_for_has_the_same_here(source in expressions()) {
        let ours = Transform::compile(&source);
        prop_assert!(ours.is_ok() || source.len() > 400, "{}: {:?}", source, ours);
        if let (Some(expected), Ok(_)) = (reference(&source), ours) {
            match value(&source, &event(DATA)) {
                Ok(value) => prop_assert_eq!(value, expected, "{}", source),
                Err(error) => prop_assert!(false, "{}: {}, not {}", source, error, expected),
            }
        }
    }
}
