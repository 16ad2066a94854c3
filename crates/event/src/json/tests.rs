use super::*;

fn check(text: impl AsRef<[u8]>) -> Result<(), (usize, JsonErrorKind)> {
    validate(text.as_ref(), &Limits::default()).map_err(|error| (error.position, error.kind))
}

fn code(text: impl AsRef<[u8]>) -> &'static str {
    validate(text.as_ref(), &Limits::default()).map_or_else(|error| error.kind.code(), |()| "ok")
}

#[test]
fn json_of_every_kind_is_taken() {
    let good = [
        "0",
        "-0",
        "-0.0e-0",
        "1E+2",
        "0.1",
        "123456789012345678901234567890",
        "1e308",
        "true",
        "false",
        "null",
        "\"\"",
        "[]",
        "{}",
        " [ ] ",
        "\t\n\r{ }\n",
        "[[],{},[{}]]",
        "{\"\":0}",
        r#"{"a":{"a":[1,2,{"a":null}]},"b":"a"}"#,
        r#""\"\\\/\b\f\n\r\t""#,
        r#""\u0001\uFFFF\ud83d\ude00""#,
        "\"\u{7f}😀\u{ffff}\"",
        "[1 , 2\n,\r3]",
        "{\"a\" : 1 , \"b\"\t:2}",
    ];
    for text in good {
        assert_eq!(check(text), Ok(()), "{text}");
        assert!(serde_json::from_str::<serde_json::Value>(text).is_ok(), "{text}");
    }
}

#[test]
fn what_rfc_8259_forbids_is_refused() {
    let bad = [
        "",
        " ",
        "[",
        "]",
        "{",
        "}",
        "[,]",
        "[1,]",
        "[,1]",
        "[1,,2]",
        "[1 2]",
        "[1}",
        "{]",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\" 1}",
        "{\"a\":1,}",
        "{,}",
        "{a:1}",
        "{'a':1}",
        "{1:1}",
        "{\"a\":1 \"b\":2}",
        "{\"a\":1,,\"b\":2}",
        "01",
        "-",
        "+1",
        ".1",
        "1.",
        "1.e1",
        "1e",
        "1e+",
        "0x10",
        "1_0",
        "--1",
        "-a",
        "NaN",
        "Infinity",
        "-Infinity",
        "00",
        "-01",
        "1.2.3",
        "1e1.5",
        "tru",
        "True",
        "nul",
        "truefalse",
        "null null",
        "1 2",
        "[] []",
        "\"",
        "\"a",
        "\"\\",
        "\"\\\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12G4\"",
        "\"\\U0041\"",
        "\"\n\"",
        "\"\t\"",
        "\"\u{1f}\"",
        "'a'",
        "a",
        "/**/1",
        "1//",
        "\u{feff}1",
        "\u{a0}1",
        "[1]\u{0}",
        "\u{c}1",
        "[\"a\",\n4\n,1,",
        "{\"a\":\"a\" 123}",
        "[true,fals]",
        "\"\\u",
        "\"\\u+041\"",
        "{\"a\":1]",
        "[{]",
        "\"\\'\"",
    ];
    for text in bad {
        assert_eq!(code(text), "malformed_json", "{text:?}");
        assert!(serde_json::from_str::<serde_json::Value>(text).is_err(), "{text:?}");
    }
}

#[test]
fn faults_are_named_and_placed() {
    use JsonErrorKind as Kind;
    let cases: [(&[u8], usize, Kind); 14] = [
        (b"[1,", 3, Kind::UnexpectedEnd),
        (b"[1;2]", 2, Kind::Expected("',' or ']'")),
        (b"{} x", 3, Kind::TrailingText),
        (b"\"a\nb\"", 2, Kind::ControlCharacter),
        (b"\"ab\\q\"", 3, Kind::UnknownEscape),
        (b"[\"\xff\"]", 2, Kind::InvalidUtf8),
        (b"\"\xc0\xaf\"", 1, Kind::InvalidUtf8),
        (b"\"\xed\xa0\x80\"", 1, Kind::InvalidUtf8),
        (br#"["\ud800"]"#, 2, Kind::LoneSurrogate),
        (br#""\ud800\u0041""#, 1, Kind::LoneSurrogate),
        (br#""\udc00\ud800""#, 1, Kind::LoneSurrogate),
        (br#"{"a":"\u0000"}"#, 6, Kind::Nul),
        (b"[0,1e309]", 3, Kind::NumberOutOfRange),
        (br#"{"a":1,"b":2,"a":3}"#, 13, Kind::DuplicateName),
    ];
    for (text, position, kind) in cases {
        assert_eq!(check(text), Err((position, kind)), "{}", String::from_utf8_lossy(text));
    }
}

#[test]
fn depth_has_a_limit_and_no_stack() {
    let nested = |open: &str, close: &str, depth: usize| open.repeat(depth) + "1" + &close.repeat(depth);
    assert_eq!(code(nested("[", "]", 64)), "ok");
    assert_eq!(check(nested("[", "]", 65)), Err((64, JsonErrorKind::TooDeep { limit: 64 })));
    assert_eq!(code(nested("{\"a\":", "}", 64)), "ok");
    assert_eq!(code(nested("{\"a\":", "}", 65)), "json_too_deep");
    assert_eq!(code(nested("[{\"a\":", "}]", 33)), "json_too_deep");
    assert_eq!(code("[".repeat(10_000_000)), "json_too_deep");
    let siblings = format!("[{}[]]", "[],".repeat(1000));
    assert_eq!(code(siblings), "ok");
    let deep = Limits { depth: usize::MAX, ..Limits::default() };
    assert_eq!(validate(nested("[", "]", 1_000_000).as_bytes(), &deep), Ok(()));
    assert!(validate(b"[]", &Limits { depth: 0, ..deep }).is_err());
    assert!(validate(b"1", &Limits { depth: 0, ..deep }).is_ok());
}

#[test]
fn numbers_are_those_that_every_reader_takes() {
    assert_eq!(code("9".repeat(64)), "ok");
    assert_eq!(code("9".repeat(65)), "number_out_of_range");
    for good in ["1.7976931348623157e308", "1e-400", "0e400", "-1E-0400"] {
        assert_eq!(code(good), "ok", "{good}");
    }
    for bad in ["1.8e308", "-1e309", "1e-401", "0e401", "0e99999999999", "1e+4294967297"] {
        assert_eq!(code(bad), "number_out_of_range", "{bad}");
    }
    let long = Limits { number_chars: 1000, ..Limits::default() };
    assert!(validate("9".repeat(308).as_bytes(), &long).is_ok());
    assert!(validate("9".repeat(310).as_bytes(), &long).is_err());
}

#[test]
fn names_are_compared_as_what_they_spell() {
    for twice in [
        r#"{"a":1,"\u0061":2}"#,
        r#"{"\u00e9":1,"é":2}"#,
        r#"{"\ud83d\ude00":1,"😀":2}"#,
        r#"{"\/":1,"/":2}"#,
        r#"{"":1,"":2}"#,
        r#"[{"x":{"b":1,"c":2,"b":3}}]"#,
        r#"{"a":{"b":1},"a":2}"#,
    ] {
        assert_eq!(code(twice), "duplicate_name", "{twice}");
    }
    for once in
        [r#"{"a":{"a":{"a":1}},"b":{"a":1}}"#, r#"[{"a":1},{"a":1}]"#, r#"{"a":1,"A":1,"a ":1,"\\u0061":2}"#]
    {
        assert_eq!(code(once), "ok", "{once}");
    }
}

#[test]
fn the_first_name_given_twice_is_found_among_many() {
    let names = |names: &[usize]| {
        let members: Vec<String> = names.iter().map(|name| format!("\"{name:04}\":0")).collect();
        format!("{{{}}}", members.join(","))
    };
    let mut many: Vec<usize> = (0..1000).rev().collect();
    assert_eq!(code(names(&many)), "ok");
    many[700] = 500;
    many[900] = 400;
    // Each member takes nine bytes, after the brace.
    assert_eq!(check(names(&many)), Err((1 + 9 * 700, JsonErrorKind::DuplicateName)));
}

#[test]
fn values_are_read_as_they_were_written() {
    let text = r#" {"a" : [1, "x,]}\"", {"b":{}}] ,"\u00e9":"\ud83d\ude00\n" } "#;
    validate(text.as_bytes(), &Limits::default()).unwrap();
    let members: Vec<_> = Value::of_document(text).members().unwrap().collect();
    assert_eq!(members.len(), 2);
    assert_eq!((&*members[0].0, &*members[1].0), ("a", "é"));
    assert_eq!(members[1].1.as_string().unwrap(), "😀\n");
    let elements: Vec<_> = members[0].1.elements().unwrap().map(Value::text).collect();
    assert_eq!(elements, ["1", r#""x,]}\"""#, r#"{"b":{}}"#]);
    assert!(members[0].1.members().is_none() && members[0].1.as_string().is_none());
}
