use eventrelay_event::Timestamp;

use super::*;

#[derive(Debug, serde::Deserialize)]
struct File {
    subscriptions: Vec<Subscription>,
}

fn parse(text: &str) -> Result<Subscription, toml::de::Error> {
    toml::from_str::<File>(text).map(|mut file| file.subscriptions.remove(0))
}

#[test]
fn a_name_and_a_sink_are_enough() {
    let minimal =
        "[[subscriptions]]\nname = 'orders'\nsink = { kind = 'webhook', url = 'http://127.0.0.1:9/' }";
    let spec = parse(minimal).unwrap();
    assert_eq!(spec.validate(), Ok(()));
    assert_eq!((spec.tenant.as_str(), spec.order, spec.start), ("default", Order::Unordered, Start::Latest));
    assert_eq!((spec.retry.max_attempts.get(), spec.max_in_flight.get()), (12, 64));
    let sink = spec.sink.unwrap();
    assert_eq!(sink.settings["url"], "http://127.0.0.1:9/");
    assert!(!sink.settings.contains_key("kind"), "the sink's settings refuse fields that they do not know");
}

#[test]
fn without_a_sink_it_is_for_consumers_that_pull() {
    let spec = parse("[[subscriptions]]\nname = 'jobs'").unwrap();
    assert_eq!((spec.validate(), &spec.sink), (Ok(()), &None));
    let json = serde_json::to_string(&spec).unwrap();
    assert!(!json.contains("sink"), "{json}");
    assert_eq!(serde_json::from_str::<Subscription>(&json).unwrap(), spec);
    for wrong in ["sink = {}", "sink = 'pull'", "sinks = { kind = 'stdout' }"] {
        assert!(parse(&format!("[[subscriptions]]\nname = 'jobs'\n{wrong}")).is_err(), "{wrong}");
    }
}

#[test]
fn everything_survives_the_store() {
    let spec = parse(
        "[[subscriptions]]\nname = 'a'\ntenant = 't1'\nfilter = { types = ['order.*'] }\norder = 'by_key'\nmax_in_flight = 3\n\
         max_events_per_second = 50\nstart = { time = '2026-01-31T00:00:00.000001Z' }\nbatch = { max_events = 10 }\n\
         retry = { max_attempts = 3, timeout_ms = 100 }\nbreaker = { window = 7 }\nsink = { kind = 'file', path = 'x' }",
    )
    .unwrap();
    assert_eq!(spec.start, Start::Time(Timestamp(1_769_817_600_000_001)));
    let json = serde_json::to_string(&spec).unwrap();
    assert_eq!(serde_json::from_str::<Subscription>(&json).unwrap(), spec);
}

#[test]
fn each_start_has_one_spelling() {
    let start = |text: &str| {
        parse(&format!("[[subscriptions]]\nname = 'a'\nsink = {{ kind = 'stdout' }}\nstart = {text}"))
            .map(|spec| spec.start)
    };
    assert_eq!(start("'earliest'").unwrap(), Start::Earliest);
    assert_eq!(start("'latest'").unwrap(), Start::Latest);
    assert_eq!(start("{ offset = 12 }").unwrap(), Start::Offset(12));
    for wrong in
        ["'newest'", "{ offset = -1 }", "{ time = 'yesterday' }", "{ time = '1969-12-31T00:00:00Z' }"]
    {
        assert!(start(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn unknown_fields_and_values_are_errors() {
    for wrong in [
        "ordre = 'strict'",
        "order = 'fifo'",
        "retry = { attempts = 3 }",
        "breaker = { on = true }",
        "max_in_flight = 0",
        "tenant = 'No Spaces'",
        "batch = { max_events = 0 }",
    ] {
        let text = format!("[[subscriptions]]\nname = 'a'\nsink = {{ kind = 'stdout' }}\n{wrong}");
        assert!(parse(&text).is_err(), "{wrong}");
    }
}

#[test]
fn what_is_out_of_its_limits_is_named() {
    for (wrong, field) in [
        ("max_in_flight = 5000", "max_in_flight"),
        ("retry = { max_backoff_ms = 86400001 }", "retry.max_backoff_ms"),
        ("retry = { timeout_ms = 0 }", "retry.timeout_ms"),
        ("breaker = { failure_ratio = 0.0 }", "breaker.failure_ratio"),
        ("breaker = { failure_ratio = nan }", "breaker.failure_ratio"),
        ("breaker = { initial_probe_delay_ms = 70000 }", "breaker.initial_probe_delay_ms"),
    ] {
        let text = format!("[[subscriptions]]\nname = 'a'\nsink = {{ kind = 'stdout' }}\n{wrong}");
        assert_eq!(parse(&text).unwrap().validate().unwrap_err().field, field);
    }
    let named = |name: &str| Subscription {
        name: name.to_owned(),
        ..parse("[[subscriptions]]\nname='a'\nsink={kind='x'}").unwrap()
    };
    for name in ["", "Orders", "a b", &"x".repeat(65)] {
        assert_eq!(named(name).validate().unwrap_err().field, "name");
    }
}
