//! An idempotent REST ingester's clients: started with nothing but its environment, against a real Redis and PostgreSQL.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};

use crate::call;
use crate::components::Component;
use crate::harness::{RelayProcess, SMALL_LOG, eventrelay, poll};

type Entry = (String, BTreeMap<String, String>);

/// Without a `Content-Type`, as its clients' `curl -d` sends them.
fn publish(server: SocketAddr, key: &str, body: &Value) -> (u16, Value) {
    call(server, "POST", "/events", &[("Idempotency-Key", key)], &body.to_string())
}

fn post(server: SocketAddr, path: &str, body: &Value) -> (u16, Value) {
    call(server, "POST", path, &[], &body.to_string())
}

fn start(directory: &Path, variables: &[(&str, String)]) -> RelayProcess {
    std::fs::write(directory.join("eventrelay.toml"), SMALL_LOG).unwrap();
    let mut command = eventrelay(directory);
    command.args(["serve", "--http-listen", "127.0.0.1:0"]);
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    RelayProcess::spawn(command).unwrap_or_else(|failure| panic!("{failure:?}"))
}

fn entries(redis: &mut redis::Connection, stream: &str) -> Vec<Entry> {
    redis::cmd("XRANGE").arg(stream).arg("-").arg("+").query(redis).unwrap()
}

/// What the group reads next, all of it.
fn read_group(redis: &mut redis::Connection) -> Vec<Entry> {
    let mut command = redis::cmd("XREADGROUP");
    command.arg("GROUP").arg("eventrail.cg").arg("worker-1").arg("STREAMS").arg("eventrail.events").arg(">");
    let streams: Option<Vec<(String, Vec<Entry>)>> = command.query(redis).unwrap();
    streams.into_iter().flatten().flat_map(|(_, entries)| entries).collect()
}

fn order(number: u32) -> Value {
    json!({"event_type": "order.created", "source": "shop", "payload": {"order": number}})
}

#[test]
fn events_are_taken_once_and_read_back() {
    let directory = tempfile::tempdir().unwrap();
    let relay = start(directory.path(), &[]);
    let server = relay.http();
    let (status, created) = publish(server, "k-1", &order(1));
    assert_eq!((status, created.as_object().unwrap().len()), (201, 1), "{created}");
    assert_eq!(publish(server, "k-1", &order(1)), (201, created.clone()));
    assert_eq!(publish(server, "k-1", &order(2)).0, 422);
    assert_ne!(publish(server, "k-2", &order(1)).1, created);

    let id = created["id"].as_str().unwrap();
    let (status, mut event) = call(server, "GET", &format!("/events/{id}"), &[], "");
    let created_at = event.as_object_mut().unwrap().remove("created_at").unwrap();
    assert!(created_at.as_str().unwrap().ends_with('Z'), "{created_at}");
    let mut wanted = order(1);
    wanted["id"] = id.into();
    assert_eq!((status, event), (200, wanted));
    let nobodys = "/events/00000000-0000-7000-8000-000000000000";
    assert_eq!(call(server, "GET", nobodys, &[], "").0, 404);

    for (missing, body) in [
        ("event_type", json!({"source": "s", "payload": {}})),
        ("source", json!({"event_type": "t", "payload": {}})),
        ("payload", json!({"event_type": "t", "source": "s"})),
        ("source", json!({"event_type": "t", "source": "", "payload": {}})),
    ] {
        let (status, problem) = publish(server, "k-3", &body);
        assert_eq!((status, &problem["field"]), (400, &json!(missing)), "{problem}");
    }
    assert_eq!(post(server, "/events", &order(3)).0, 400, "without a key");
    assert_eq!(call(server, "POST", "/events", &[("Idempotency-Key", "k-4")], "{").0, 400);
    assert_eq!(post(server, "/replay", &json!({"from": "x", "to": "2026-01-31T12:00:00Z"})).0, 400);
    // Nobody delivers to the stream here.
    let range = json!({"from": "2020-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"});
    assert_eq!(post(server, "/replay", &range).0, 409);
    let (status, health) = call(server, "GET", "/health", &[], "");
    assert_eq!((status, &health["status"]), (200, &json!("ok")), "{health}");
}

#[test]
fn the_same_environment_delivers_replays_and_moves_the_workers() {
    let Some(component) = Component::start("redis") else { return };
    let directory = tempfile::tempdir().unwrap();
    let variables = [
        ("REDIS_ADDR", component.address().to_string()),
        ("MAX_RETRIES", "5".to_owned()),
        ("BASE_BACKOFF_MS", "50".to_owned()),
        ("CONSUMER_NAME", "worker-1".to_owned()),
    ];
    let relay = start(directory.path(), &variables);
    let server = relay.http();
    let url = format!("redis://{}", component.address());
    let mut redis = redis::Client::open(url).unwrap().get_connection().unwrap();

    let ids: Vec<String> = (1..=3)
        .map(|number| {
            let body = if number == 2 {
                json!({"event_type": "user.created", "source": "crm", "payload": null_free(number)})
            } else {
                order(number)
            };
            publish(server, &format!("k-{number}"), &body).1["id"].as_str().unwrap().to_owned()
        })
        .collect();
    let delivered = poll::until("three entries", || {
        let found = entries(&mut redis, "eventrail.events");
        (found.len() >= 3).then_some(found)
    });
    for (_, fields) in &delivered {
        let names: Vec<&str> = fields.keys().map(String::as_str).collect();
        assert_eq!(names, ["created_at", "event_id", "event_type", "retry", "source"], "{fields:?}");
    }

    let range = |more: Value| {
        let mut body = json!({"from": "2020-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        post(server, "/replay", &body)
    };
    assert_eq!(
        range(json!({"event_type": "order.created", "source": "shop"})),
        (200, json!({"published": 2}))
    );
    assert_eq!(range(json!({"limit": 1})), (200, json!({"published": 1})));
    assert_eq!(range(json!({"source": "nobody"})), (200, json!({"published": 0})));
    let replayed: Vec<Entry> = entries(&mut redis, "eventrail.events").split_off(3);
    let shown: Vec<(&str, &str)> =
        replayed.iter().map(|(_, fields)| (fields["event_id"].as_str(), fields["replay"].as_str())).collect();
    let wanted = [&ids[0], &ids[2], &ids[0]].map(|id| (id.as_str(), "1"));
    assert_eq!(sorted(&shown), sorted(&wanted), "the answer comes when they are there");

    assert_eq!(read_group(&mut redis).len(), 6);
    assert!(read_group(&mut redis).is_empty());
    let cursor = |body: Value| post(server, "/consumer-groups/set-cursor", &body).0;
    assert_eq!(cursor(json!({"start_id": delivered[2].0})), 204);
    assert_eq!(read_group(&mut redis), replayed);
    assert_eq!(cursor(json!({"group": "eventrail.cg", "start_id": "0"})), 204);
    assert_eq!(cursor(json!({"start_id": "$"})), 204);
    assert!(read_group(&mut redis).is_empty());
    assert_eq!(cursor(json!({})), 400);
    assert_eq!(cursor(json!({"start_id": "yesterday"})), 400);
    assert_eq!(cursor(json!({"group": "nobody", "start_id": "0"})), 404);

    let (_, health) = call(server, "GET", "/health", &[], "");
    assert_eq!(health["components"]["subscriptions"][0]["name"], "ingester-redis", "{health}");
}

#[test]
fn a_database_of_the_environment_has_every_event() {
    let Some(component) = Component::start("postgres") else { return };
    let directory = tempfile::tempdir().unwrap();
    let dsn = format!("postgres://eventrelay:eventrelay@{}/postgres?sslmode=disable", component.address());
    let relay = start(directory.path(), &[("POSTGRES_DSN", dsn.clone())]);
    let id = publish(relay.http(), "k-1", &order(7)).1["id"].as_str().unwrap().to_owned();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (client, connection) =
        runtime.block_on(tokio_postgres::connect(&dsn, tokio_postgres::NoTls)).unwrap();
    runtime.spawn(connection);
    let query = "SELECT id::text, event_type, source, payload::text, idempotency_key FROM eventrail_events";
    let row = poll::until("a row", || runtime.block_on(client.query_opt(query, &[])).ok().flatten());
    let text = |column: usize| row.get::<_, String>(column);
    assert_eq!((text(0), text(1), text(2)), (id, "order.created".to_owned(), "shop".to_owned()));
    assert_eq!((text(3), text(4)), (r#"{"order": 7}"#.to_owned(), "k-1".to_owned()));
}

/// A payload that is no object.
fn null_free(number: u32) -> Value {
    json!([number, "text", {"nested": true}])
}

fn sorted<'a>(pairs: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut sorted = pairs.to_vec();
    sorted.sort_unstable();
    sorted
}
