//! Events that the server or the stream does not take.

use std::time::{Duration, Instant};

use bytes::Bytes;
use eventrelay_event::{Data, Event};
use eventrelay_sinks::Outcome;
use serde_json::json;

use crate::broker_events::{batch, deliver, deliver_all, delivery, event, rejected, retried};
use crate::raw_client::RawClient;
use crate::server;

fn large(event_type: &str, bytes: usize) -> Event {
    Event { data: Some(Data::binary(Bytes::from(vec![b'x'; bytes]))), ..event(event_type, 0) }
}

#[tokio::test]
async fn what_is_refused_holds_up_no_neighbour() {
    let Some(server) = server::start() else { return };
    let mut raw = RawClient::connect(server.address());
    raw.create_stream("EVENTS", &["events.order.*"], &json!({"max_msg_size": 10_000}));
    let sink = server::sink(&server, &json!({}));
    let mut batch = batch("order.created", 0..100);
    batch[3] = delivery(3, &event("order created", 3));
    batch[40] = delivery(40, &large("order.created", 20_000));
    batch[41] = delivery(41, &large("order.created", 2_000_000));
    batch[42] = delivery(42, &event("unknown", 42));
    batch[43] = delivery(43, &event("$JS.API.STREAM.DELETE.EVENTS", 43));
    let outcomes = deliver(&sink, &batch).await;
    assert!(rejected(&outcomes[3]).contains("white space"));
    assert!(rejected(&outcomes[40]).contains("maximum"), "{:?}", outcomes[40]);
    assert!(rejected(&outcomes[41]).contains("too large for the server"), "{:?}", outcomes[41]);
    assert!(retried(&outcomes[42]).contains("no stream took \"events.unknown\""), "{:?}", outcomes[42]);
    // Behind the settings' own first token it is but a name, which no stream captures.
    assert!(retried(&outcomes[43]).contains("no stream took"), "{:?}", outcomes[43]);
    for (place, outcome) in outcomes.iter().enumerate() {
        assert!(
            [3, 40, 41, 42, 43].contains(&place) || *outcome == Outcome::Delivered,
            "{place}: {outcome:?}"
        );
    }
    assert_eq!(raw.messages("EVENTS").len(), 95);
}

#[tokio::test]
async fn no_producer_writes_to_the_servers_own_subjects() {
    let Some((server, mut raw)) = server::start_with_stream() else { return };
    let sink = server::sink(&server, &json!({"subject": "{type}"}));
    let outcomes = deliver(&sink, &[delivery(0, &event("$JS.API.STREAM.DELETE.EVENTS", 0))]).await;
    assert!(rejected(&outcomes[0]).contains("server's own"), "{outcomes:?}");
    assert_eq!(raw.messages("EVENTS").len(), 0, "the stream is still there");
}

#[tokio::test]
async fn a_full_stream_is_waited_for() {
    let Some(server) = server::start() else { return };
    let mut raw = RawClient::connect(server.address());
    raw.create_stream("EVENTS", &["events.>"], &json!({"max_msgs": 5, "discard": "new"}));
    let sink = server::sink(&server, &json!({}));
    let batch = batch("order.created", 0..8);
    let outcomes = deliver(&sink, &batch).await;
    assert!(outcomes[..5].iter().all(|outcome| *outcome == Outcome::Delivered));
    assert!(
        outcomes[5..].iter().all(|outcome| retried(outcome).contains("maximum messages exceeded")),
        "{outcomes:?}"
    );
    raw.api("STREAM.PURGE.EVENTS", &json!({}));
    deliver_all(&sink, &batch[5..]).await;
}

#[tokio::test]
async fn a_stream_that_is_not_the_named_one_takes_nothing() {
    let Some((server, mut raw)) = server::start_with_stream() else { return };
    let sink = server::sink(&server, &json!({"stream": "OTHERS"}));
    let outcomes = deliver(&sink, &batch("order.created", 0..1)).await;
    assert!(retried(&outcomes[0]).contains("expected stream does not match"), "{outcomes:?}");
    assert_eq!(raw.messages("EVENTS").len(), 0);
}

#[tokio::test]
async fn a_missing_right_is_told_at_once_and_of_its_subject_only() {
    let users = r#"
        authorization { users = [
            {user: admin, password: admin}
            {user: relay, password: relay, permissions: {publish: ["events.order.>"], subscribe: ["relay.answers.>"]}}
        ] }"#;
    let Some(server) = server::start_with(users) else { return };
    let mut raw = RawClient::log_in(server.address(), &json!({"user": "admin", "pass": "admin"}));
    raw.create_stream("EVENTS", &["events.>"], &json!({}));
    let login = json!({"user": "relay", "password": "relay", "inbox_prefix": "relay.answers"});
    let sink = server::sink(&server, &login);
    let mut batch = batch("order.created", 0..20);
    batch[7] = delivery(7, &event("invoice.created", 7));
    let began = Instant::now();
    let outcomes = deliver(&sink, &batch).await;
    assert!(began.elapsed() < Duration::from_secs(10), "it was not told, but timed out");
    assert!(
        retried(&outcomes[7]).contains("does not let this user publish to \"events.invoice.created\""),
        "{outcomes:?}"
    );
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Outcome::Delivered).count(), 19);

    // Without the prefix the server's answers cannot come.
    let deaf = server::sink(&server, &json!({"user": "relay", "password": "relay"}));
    let outcomes = deliver(&deaf, &batch[..1]).await;
    assert!(retried(&outcomes[0]).contains("inbox_prefix"), "{outcomes:?}");
}
