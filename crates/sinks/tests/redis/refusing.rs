//! Events that Redis does not take, and their neighbours.

use bytes::Bytes;
use eventrelay_event::{Data, Event};
use eventrelay_sinks::Outcome;
use serde_json::json;

use crate::broker_events::{batch, deliver, deliver_all, delivery, event, rejected, retried};
use crate::raw_client::Reply;
use crate::server;

#[tokio::test]
async fn a_key_that_is_no_stream_refuses_its_own_events_only() {
    let Some((server, mut raw)) = server::start() else { return };
    raw.run(&["SET", "events.b", "a text"]);
    let sink = server::sink(&server, &json!({"stream": "events.{type}", "create_group": "workers"}));
    let mut mixed = batch("a", 0..10);
    mixed.extend(batch("b", 10..13));
    mixed.extend(batch("c", 13..20));
    let outcomes = deliver(&sink, &mixed).await;
    for (place, outcome) in outcomes.iter().enumerate() {
        if (10..13).contains(&place) {
            assert!(rejected(outcome).contains("WRONGTYPE"), "{outcome:?}");
        } else {
            assert_eq!(*outcome, Outcome::Delivered, "{place}");
        }
    }
    assert_eq!(raw.run(&["XLEN", "events.a"]), Reply::Number(10));
    assert_eq!(raw.run(&["XLEN", "events.c"]), Reply::Number(7));
}

#[tokio::test]
async fn a_stream_without_rights_is_waited_for_and_its_neighbours_are_appended_once() {
    let Some((server, mut raw)) = server::start() else { return };
    raw.run(&["ACL", "SETUSER", "relay", "on", ">canary", "~events.a", "~events.c", "+@all"]);
    let login = json!({"stream": "events.{type}", "user": "relay", "password": "canary"});
    let sink = server::sink(&server, &login);
    let mut mixed = batch("a", 0..10);
    mixed.extend(batch("b", 10..13));
    mixed.extend(batch("c", 13..20));
    let outcomes = deliver(&sink, &mixed).await;
    for (place, outcome) in outcomes.iter().enumerate() {
        if (10..13).contains(&place) {
            assert!(
                retried(outcome).contains("NOPERM") && !retried(outcome).contains("canary"),
                "{outcome:?}"
            );
        } else {
            assert_eq!(*outcome, Outcome::Delivered, "{place}");
        }
    }
    assert_eq!(raw.run(&["XLEN", "events.a"]), Reply::Number(10));
    assert_eq!(raw.run(&["XLEN", "events.c"]), Reply::Number(7));
    raw.run(&["ACL", "SETUSER", "relay", "~events.b"]);
    deliver_all(&sink, &mixed[10..13]).await;
    assert_eq!(raw.run(&["XLEN", "events.b"]), Reply::Number(3));
}

#[tokio::test]
async fn an_event_without_a_key_for_its_stream_is_refused_alone() {
    let Some((server, mut raw)) = server::start() else { return };
    let sink = server::sink(&server, &json!({"stream": "{key}"}));
    let keyed =
        |offset, key: &str| delivery(offset, &Event { key: Some(key.to_owned()), ..event("a", offset) });
    let mixed = [keyed(0, "x"), delivery(1, &event("a", 1)), keyed(2, ""), keyed(3, "x")];
    let outcomes = deliver(&sink, &mixed).await;
    assert!(rejected(&outcomes[1]).contains("no key"), "{outcomes:?}");
    assert!(rejected(&outcomes[2]).contains("0 bytes"), "{outcomes:?}");
    assert_eq!((&outcomes[0], &outcomes[3]), (&Outcome::Delivered, &Outcome::Delivered));
    assert_eq!(raw.run(&["XLEN", "x"]), Reply::Number(2));
}

#[tokio::test]
async fn data_larger_than_the_server_takes_is_refused_before_it_costs_the_connection() {
    let Some((mut server, _)) = server::start() else { return };
    let large = |bytes: usize, offset| {
        let data = Data::of_body(
            Some("application/octet-stream"),
            Bytes::from(vec![b'x'; bytes]),
            &Default::default(),
        );
        delivery(offset, &Event { data: data.unwrap(), ..event("a", offset) })
    };
    let sink = server::sink(&server, &json!({"batch_bytes": 16_777_216}));
    let mixed = [large(10, 0), large(3 << 20, 1), large(10, 2)];
    deliver_all(&sink, &mixed).await;
    // The limit of a connection stays what it was asked for first.
    server.kill();
    let port = server.port();
    let conf =
        format!("bind 127.0.0.1\nport {port}\nappendonly yes\nappendfsync always\nproto-max-bulk-len 2mb\n");
    std::fs::write(server.directory().join("redis.conf"), conf).unwrap();
    server.resume();
    let mut raw = server::connect_again(&server).await;
    let outcomes = deliver_until_connected(&sink, &mixed).await;
    assert!(rejected(&outcomes[1]).contains("proto-max-bulk-len is 2097152"), "{outcomes:?}");
    assert_eq!((&outcomes[0], &outcomes[2]), (&Outcome::Delivered, &Outcome::Delivered));
    assert_eq!(raw.run(&["XLEN", "events"]), Reply::Number(5));
}

/// The first call after a restart may find the old connection.
async fn deliver_until_connected(
    sink: &std::sync::Arc<dyn eventrelay_sinks::Sink>,
    batch: &[eventrelay_sinks::Delivery],
) -> Vec<Outcome> {
    loop {
        let outcomes = deliver(sink, batch).await;
        if !outcomes.iter().any(|outcome| matches!(outcome, Outcome::Retry { .. })) {
            return outcomes;
        }
    }
}

#[tokio::test]
async fn a_full_server_is_waited_for() {
    let Some((server, mut raw)) = server::start() else { return };
    let sink = server::sink(&server, &json!({}));
    raw.run(&["CONFIG", "SET", "maxmemory", "1"]);
    let outcomes = deliver(&sink, &batch("a", 0..10)).await;
    assert!(outcomes.iter().all(|outcome| retried(outcome).contains("OOM")), "{outcomes:?}");
    raw.run(&["CONFIG", "SET", "maxmemory", "0"]);
    deliver_all(&sink, &batch("a", 0..10)).await;
    assert_eq!(raw.run(&["XLEN", "events"]), Reply::Number(10));
}

#[tokio::test]
async fn a_replica_is_told_apart_from_a_master() {
    let Some((server, mut raw)) = server::start() else { return };
    let sink = server::sink(&server, &json!({}));
    deliver_all(&sink, &batch("a", 0..1)).await;
    raw.run(&["REPLICAOF", "127.0.0.1", "1"]);
    let outcomes = deliver(&sink, &batch("a", 1..3)).await;
    assert!(outcomes.iter().all(|outcome| !retried(outcome).is_empty()), "{outcomes:?}");
    raw.run(&["REPLICAOF", "NO", "ONE"]);
    deliver_all(&sink, &batch("a", 1..3)).await;
    assert_eq!(raw.run(&["XLEN", "events"]), Reply::Number(3));
}

#[tokio::test]
async fn too_few_replicas_are_waited_for() {
    let Some((server, _raw)) = server::start() else { return };
    let sink = server::sink(&server, &json!({"wait_replicas": 1, "timeout_ms": 500}));
    let outcomes = deliver(&sink, &batch("a", 0..2)).await;
    assert!(outcomes.iter().all(|it| retried(it).contains("only 0 of 1 replicas")), "{outcomes:?}");
}
