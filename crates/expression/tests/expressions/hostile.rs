//! Expressions and events that are made to cost too much: each ends soon, with a limit or a result.

use std::time::{Duration, Instant};

use eventrelay_expression::{Expression, Reason, TransformError};

use super::*;

/// Generous, for slow machines and builds without optimisation; without a budget these take hours.
const LIMIT: Duration = Duration::from_millis(500);

fn timed<T>(what: &str, run: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let result = run();
    assert!(begun.elapsed() < LIMIT, "{}: {:?}", &what[..what.len().min(100)], begun.elapsed());
    result
}

#[test]
fn compiling_ends_soon_whatever_the_text() {
    let nested = |open: &str, close: &str, count: usize| open.repeat(count) + "1" + &close.repeat(count);
    for text in [
        nested("(", ")", 10_000),
        nested("(", ")", 2_000),
        nested("[", "]", 2_000),
        nested("{1:", "}", 1_000),
        nested("[{'a':(", ")}]", 500),
        nested("data[", "]", 600),
        nested("-(", ")", 1_300),
        nested("size(", ")", 600),
        nested("[1].all(x,", ")", 300),
        "(".repeat(4096),
        "!".repeat(4090) + "true",
        "-".repeat(4090) + "1",
        "!-".repeat(2_000) + "1",
        "true?1:".repeat(500) + "1",
        "data".to_owned() + &".b".repeat(2_000),
        "1".to_owned() + &"+1".repeat(2_000),
        "data".to_owned() + &"[0]".repeat(1_300),
        "}{][)(".repeat(600),
        "'".repeat(4096),
        "\\".repeat(4096),
        "//".repeat(2_048),
        "0x".repeat(2_000),
        "1e".repeat(2_000),
        "😀".repeat(1_000),
        r"'a'.matches('(\\pL{50}){50}')".to_owned(),
        "'a'.matches('((((((a{9}){9}){9}){9}){9}){9})')".to_owned(),
    ] {
        assert!(timed(&text, || Expression::compile(&text)).is_err(), "{}", &text[..40]);
    }
    let patterns = vec![format!("'a'.matches('{}')", "(a*)*".repeat(40)); 8].join("&&");
    assert!(timed(&patterns, || Expression::compile(&patterns)).is_ok(), "odd, but bounded");
}

/// Evaluates what must be too much, for this event.
fn is_over_budget(cel: &str, event: &StoredEvent) {
    let begun = Instant::now();
    match value(cel, event) {
        Err(TransformError::Evaluation(error)) => {
            assert_eq!(error.reason, Reason::OverBudget, "{cel}: {error}");
        }
        Err(TransformError::TooLarge { .. }) => {}
        other => panic!("{cel}: {:?}", other.map(|value| value.to_string().len())),
    }
    assert!(begun.elapsed() < LIMIT, "{cel}: {:?}", begun.elapsed());
}

#[test]
fn evaluating_ends_soon_whatever_the_expression() {
    let numbers = format!("[{}]", vec!["1"; 20_000].join(","));
    let texts = format!("[{}]", vec!["\"abcdefgh\""; 20_000].join(","));
    let names: Vec<String> = (0..20_000).map(|n| format!("\"n{n}\":{n}")).collect();
    let long = "a".repeat(900_000);
    let event = event(&format!(
        r#"{{"numbers":{numbers},"texts":{texts},"names":{{{}}},"long":"{long}"}}"#,
        names.join(",")
    ));
    let doubling = "[0].map(a, 'xxxxxxxx')".to_owned();
    for cel in [
        "data.numbers.all(x, data.numbers.all(y, x == y))",
        "data.numbers.exists(x, data.numbers.exists(y, false))",
        "data.numbers.map(x, data.numbers)",
        "data.numbers.map(x, data.numbers + data.numbers)",
        "data.texts.map(x, data.texts.map(y, x + y))",
        "data.numbers.map(x, data.long + data.long)",
        "data.numbers.all(x, data.long != data.long + 'a')",
        "data.numbers.all(x, data.long.contains('b') == false)",
        "data.numbers.all(x, !data.long.matches('(a|aa)+b'))",
        "data.numbers.all(x, data.long.size() > 0)",
        "data.numbers.all(x, data.long.replace('a', data.long) != '')",
        "data.long.replace('', data.long)",
        "data.long.split('')",
        "data.texts.join(data.long)",
        "data.numbers.map(x, data.texts.join('')).join('')",
        "data.numbers.all(x, data.names.n19999 == 19999)",
        "data.numbers.all(x, data.names == data.names)",
        "data.names.map(a, data.names.map(b, a))",
        "data.numbers.all(x, 'b' in data.texts || true)",
        "data.numbers.all(x, event.headers == {} || event.time == event.time || true)",
        "data.numbers.all(x, string(data.numbers.map(y, event).size()) != '')",
        "data.numbers.map(x, {'a': [data.long, data.long]})",
        "[data, data, data]",
        "[[data.numbers, data.numbers].map(a, [a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a]), data, data]",
        "data.long.upperAscii().lowerAscii().upperAscii().lowerAscii().upperAscii().lowerAscii()",
    ] {
        is_over_budget(cel, &event);
    }
    assert!(value(&doubling, &event).is_ok());
}

#[test]
fn text_cannot_double_itself_without_end() {
    // Each macro doubles what the one before has made: without a bound 2^(levels) copies.
    let mut cel = "data.text".to_owned();
    for _ in 0..25 {
        cel = format!("[{cel}].map(t, t + t)[0]");
    }
    let event = event(&format!(r#"{{"text":"{}"}}"#, "x".repeat(1000)));
    assert!(matches!(Expression::compile(&cel), Ok(_) | Err(_)));
    if Expression::compile(&cel).is_ok() {
        is_over_budget(&cel, &event);
    }
    let chain = format!("data.text{}", ".replace('x', 'xxxxxxxx')".repeat(10));
    is_over_budget(&chain, &event);
}

#[test]
fn nothing_hides_that_the_budget_is_used_up() {
    let event = event(&format!("[{}]", vec!["1"; 20_000].join(",")));
    let costly = "data.all(x, data.all(y, true))";
    for cel in [
        format!("{costly} || true"),
        format!("!({costly} && false)"),
        format!("[1, 2].exists(i, {costly} || i == 2)")
            .replace("data.all(x, data.all(y, true))", "data.all(y, data == data)"),
        format!("has(data.x) || {costly} || true"),
    ] {
        let begun = Instant::now();
        let verdict = verdict(&cel, &event);
        assert!(matches!(verdict, Verdict::OverBudget(_)), "{cel}: {verdict:?}");
        assert!(begun.elapsed() < LIMIT, "{cel}");
    }
}

#[test]
fn what_can_be_afforded_is_not_refused() {
    let items: Vec<String> =
        (0..1_000).map(|n| format!(r#"{{"sku":"S-{n}","price":{n}.5,"tags":["a","b"]}}"#)).collect();
    let event = event(&format!(r#"{{"items":[{}]}}"#, items.join(",")));
    assert_eq!(
        verdict("data.items.all(i, i.tags.exists(t, t == 'b') && i.price >= 0)", &event),
        Verdict::Match
    );
    let made = value("data.items.map(i, {'id': i.sku, 'cents': i.price * 100})", &event).unwrap();
    assert_eq!(made.as_array().unwrap().len(), 1_000);
}
