//! A cluster of three masters: each stream at the node that has its slot, also when that changes.

use std::net::SocketAddr;
use std::sync::Arc;

use eventrelay_sinks::{Outcome, Sink, build};
use serde_json::{Value, json};

use crate::broker_events::{
    batch, deliver, deliver_all, deliver_in_the_end, ids, loopback, owner, until, within_patience,
};
use crate::components::Component;
use crate::raw_client::{RawClient, Reply};

/// A cluster that has all of its slots, and a client of each node.
async fn start() -> Option<(Component, Vec<RawClient>)> {
    let cluster = Component::start("redis-cluster")?;
    let mut nodes = Vec::new();
    until(async || {
        let ports = std::fs::read_to_string(cluster.directory().join("ports")).unwrap_or_default();
        cluster.directory().join("created").exists() && ports.lines().count() == 3
    })
    .await;
    for port in std::fs::read_to_string(cluster.directory().join("ports")).unwrap().lines() {
        let mut node = RawClient::connect(SocketAddr::from(([127, 0, 0, 1], port.parse().unwrap())));
        until(async || node.run(&["CLUSTER", "INFO"]).text().contains("cluster_state:ok")).await;
        nodes.push(node);
    }
    Some((cluster, nodes))
}

fn sink(cluster: &Component, extra: &Value) -> Arc<dyn Sink> {
    let mut settings =
        json!({"servers": [format!("redis+cluster://{}", cluster.address())], "stream": "events.{type}"});
    settings.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    build("redis", &settings, &owner(), &loopback()).unwrap()
}

/// The node that has a key's slot, and the slot.
fn owner_of(nodes: &mut [RawClient], key: &str) -> (usize, i64) {
    let slot = nodes[0].run(&["CLUSTER", "KEYSLOT", key]).number();
    let at = nodes.iter_mut().position(|node| !matches!(node.ask(&["XLEN", key]), Reply::Error(_)));
    (at.expect("some node has the slot"), slot)
}

#[tokio::test]
async fn every_stream_is_at_its_own_node_and_a_slot_that_moves_is_followed() {
    let Some((cluster, mut nodes)) = start().await else { return };
    let sink = sink(&cluster, &json!({"create_group": "workers"}));
    assert_eq!(within_patience(sink.check()).await, Ok(()));
    let types = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let mixed = |start: u64| -> Vec<_> {
        let each = types.iter().zip(0..).flat_map(|(it, n)| batch(it, start + n * 10..start + n * 10 + 10));
        each.collect()
    };
    deliver_all(&sink, &mixed(0)).await;
    let mut used = std::collections::BTreeSet::new();
    for event_type in types {
        let stream = format!("events.{event_type}");
        let (at, _) = owner_of(&mut nodes, &stream);
        assert_eq!(nodes[at].run(&["XLEN", &stream]), Reply::Number(10));
        used.insert(at);
    }
    assert!(used.len() > 1, "the streams are spread");
    // One slot goes to another node, in the middle of which nothing is lost.
    let (from, slot) = owner_of(&mut nodes, "events.a");
    let to = (from + 1) % 3;
    let id = |node: &mut RawClient| node.run(&["CLUSTER", "MYID"]).text().to_owned();
    let (from_id, to_id) = (id(&mut nodes[from]), id(&mut nodes[to]));
    let slot = slot.to_string();
    nodes[to].run(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id]);
    nodes[from].run(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id]);
    let port = std::fs::read_to_string(cluster.directory().join("ports")).unwrap();
    let port = port.lines().nth(to).unwrap().to_owned();
    nodes[from].run(&["MIGRATE", "127.0.0.1", &port, "events.a", "0", "5000"]);
    deliver_all(&sink, &batch("a", 1000..1010)).await;
    for node in &mut nodes {
        node.run(&["CLUSTER", "SETSLOT", &slot, "NODE", &to_id]);
    }
    deliver_in_the_end(&sink, &mixed(2000)).await;
    assert_eq!(nodes[to].run(&["XLEN", "events.a"]), Reply::Number(30));
    assert_eq!(owner_of(&mut nodes, "events.a").0, to);
}

#[tokio::test]
async fn exactly_once_holds_on_a_cluster_too() {
    let Some((cluster, mut nodes)) = start().await else { return };
    let sink = sink(&cluster, &json!({"stream": "orders", "ids": "offset"}));
    deliver_all(&sink, &batch("a", 0..50)).await;
    deliver_all(&sink, &batch("a", 25..60)).await;
    let (at, _) = owner_of(&mut nodes, "orders");
    assert_eq!(nodes[at].field("orders", "eventrelay_id"), ids(&batch("a", 0..60)));
    assert_eq!(nodes[at].run(&["EXISTS", "{orders}:eventrelay"]), Reply::Number(1));
}

#[tokio::test]
async fn a_single_server_that_is_a_cluster_says_what_the_settings_lack() {
    let Some((cluster, mut nodes)) = start().await else { return };
    let settings = json!({"servers": [format!("redis://{}", cluster.address())], "stream": "events.{type}"});
    let sink = build("redis", &settings, &owner(), &loopback()).unwrap();
    let elsewhere = ["a", "b", "c", "d", "e", "f"]
        .into_iter()
        .find(|it| owner_of(&mut nodes, &format!("events.{it}")).0 != 0)
        .unwrap();
    let outcomes = deliver(&sink, &batch(elsewhere, 0..1)).await;
    assert!(
        matches!(&outcomes[0], Outcome::Retry { why, .. } if why.contains("redis+cluster://")),
        "{outcomes:?}"
    );
}
