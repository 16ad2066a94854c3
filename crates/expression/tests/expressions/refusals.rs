//! What is no expression, or no filter, and how that is said.

use eventrelay_expression::{EventFilter, Expression, limits};

fn refusal(cel: &str) -> eventrelay_expression::CompileError {
    match Expression::compile(cel) {
        Err(error) => error,
        Ok(_) => panic!("it compiled: {cel}"),
    }
}

#[test]
fn each_says_what_is_wrong_and_where() {
    for (cel, line, column, said) in [
        ("", 1, 1, "expected a value, found the end"),
        ("data.amount >", 1, 14, "expected a value, found the end"),
        ("data.amount >> 1", 1, 14, "expected a value, found `>`"),
        ("event.type = 'x'", 1, 12, "to compare, write `==`"),
        ("a & b", 1, 3, "the operators are `&&` and `||`"),
        ("data.a == 1 &&\n  dat.b == 2", 2, 3, "there is no `dat`; did you mean `data`?"),
        ("amount > 1", 1, 1, "an expression knows `event` and `data`"),
        ("event.typ == 'x'", 1, 7, "did you mean `event.type`?"),
        ("event.data.x", 1, 7, "an event's data is `data`"),
        ("data.x.startswith('a')", 1, 8, "did you mean `startsWith`?"),
        ("lower(data.x)", 1, 1, "there is no function `lower`"),
        ("data.x.int()", 1, 8, "`int` is called as `int(…)`"),
        ("contains(data.x, 'a')", 1, 1, "`contains` is called as `….contains(…)`"),
        ("data.x.contains()", 1, 8, "takes 1 arguments, and is given 0"),
        ("data.x.matches(data.y)", 1, 16, "the pattern must be a text literal"),
        ("data.x.matches('(')", 1, 16, "unclosed group"),
        ("has(data)", 1, 5, "`has` asks for a field"),
        ("data.all(1, true)", 1, 10, "expected a name for the elements"),
        ("data.all(x)", 1, 11, "expected `,`, found `)`"),
        ("data.filter(x, true, x)", 1, 6, "takes a name and an expression"),
        ("data.all(event, true)", 1, 10, "has a meaning already"),
        ("data.all(x, y)", 1, 13, "there is no `y`"),
        ("data.all(x, true) && x", 1, 22, "there is no `x`"),
        ("'abc", 1, 1, "no closing quote"),
        ("'ab\nc'", 1, 1, "no closing quote on its line"),
        ("'a' + '\\q'", 1, 8, "an unknown escape"),
        ("'\\ud800'", 1, 2, "spells no character"),
        ("9223372036854775808", 1, 1, "out of range"),
        ("18446744073709551616", 1, 1, "out of range"),
        ("1x", 1, 1, "must not run into a name"),
        ("for", 1, 1, "is a word of the language"),
        ("(1", 1, 3, "expected `)`, found the end"),
        ("[1 2]", 1, 4, "expected `,`, an operator or `]`"),
        ("{1}", 1, 3, "expected `:`"),
        ("true false", 1, 6, "expected an operator or the end"),
        ("data.", 1, 6, "expected a field's name"),
        ("'ä' + ü", 1, 7, "unexpected `ü`"),
    ] {
        let error = refusal(cel);
        assert_eq!((error.position.line, error.position.column), (line, column), "{cel}: {error}");
        assert!(error.message.contains(said), "{cel}: {error}");
    }
}

#[test]
fn the_place_is_shown() {
    let shown = refusal("data.a == 1 &&\n  data.amount >> 100").to_string();
    assert_eq!(
        shown,
        "line 2, column 16: expected a value, found `>`\n    data.amount >> 100\n                 ^"
    );
}

#[test]
fn there_is_a_limit_on_everything() {
    let over = |text: String, said: &str| {
        let error = refusal(&text);
        assert!(error.message.contains(said), "{said}: {error}");
    };
    let sum = |count: usize| vec!["1"; count].join("+");
    assert!(Expression::compile(&format!("'{}'", "x".repeat(limits::MAX_SOURCE_BYTES - 2))).is_ok());
    over(format!("'{}'", "x".repeat(limits::MAX_SOURCE_BYTES - 1)), "4096 bytes");
    assert!(Expression::compile(&format!("[{}]", vec!["1"; 199].join(","))).is_ok());
    over(format!("[{}]", vec!["1"; 200].join(",")), "200 parts");
    assert!(Expression::compile(&sum(limits::MAX_DEPTH)).is_ok());
    over(sum(limits::MAX_DEPTH + 1), "64 deep");
    assert!(Expression::compile(&vec!["true"; 199].join("&&")).is_ok(), "a row is no depth");
    over(format!("{}1{}", "(".repeat(32), ")".repeat(32)), "32 deep");
    over("[1].all(a, [1].all(b, [1].all(c, true)))".to_owned(), "2 deep");
    assert!(Expression::compile("[1].all(a, [1].all(b, true)) && [1].all(c, [1].all(d, true))").is_ok());
    over(["'a'.matches('a')"; limits::MAX_PATTERNS + 1].join("&&"), "8 patterns");
    over(format!("'a'.matches('{}')", "a".repeat(257)), "256 bytes");
}

#[test]
fn what_can_never_be_a_filter_is_refused_when_it_is_saved() {
    let of = |cel: &str| EventFilter::new(eventrelay_event::filter::Filter::default(), Some(cel));
    let error = of("event.type").unwrap_err();
    assert!(error.message.contains("must be true or false"), "{error}");
    let long = "a".repeat(1_000);
    let costly = format!("'{long}'.split('').all(x, '{long}'.split('').all(y, x == y))");
    let error = of(&costly).unwrap_err();
    assert!(error.message.contains("more than 100000 steps"), "{error}");
    assert!(of("data.anything == 1").is_ok(), "it is no fault that the sample has no data");
}

#[test]
fn a_filter_keeps_its_text() {
    let written = r#"{"types":["order.*"],"subjects":["a/*"],"cel":"data.amount > 100"}"#;
    let filter: EventFilter = serde_json::from_str(written).unwrap();
    assert_eq!(serde_json::to_string(&filter).unwrap(), written);
    assert_eq!(serde_json::from_str::<EventFilter>("{}").unwrap(), EventFilter::default());
    assert!(serde_json::from_str::<EventFilter>(r#"{"expression":"true"}"#).is_err());
    let error = serde_json::from_str::<EventFilter>(r#"{"cel":"data.x ="}"#).unwrap_err();
    assert!(error.to_string().contains("cel: line 1, column 8"), "{error}");
}
