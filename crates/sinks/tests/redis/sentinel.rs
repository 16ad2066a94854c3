//! A master that sentinels know, and the one that comes after it.

use std::net::SocketAddr;
use std::sync::Arc;

use eventrelay_sinks::{CheckError, Sink, build};
use serde_json::{Value, json};

use crate::broker_events::{
    batch, deliver_all, deliver_in_the_end, ids, loopback, owner, until, within_patience,
};
use crate::components::Component;
use crate::raw_client::{RawClient, Reply};

/// A sentinel, and the addresses of the master and the replica that it watches.
async fn start() -> Option<(Component, RawClient, [SocketAddr; 2])> {
    let sentinel = Component::start("redis-sentinel")?;
    let ports = std::fs::read_to_string(sentinel.directory().join("ports")).unwrap();
    let mut ports = ports.lines().map(|port| SocketAddr::from(([127, 0, 0, 1], port.parse().unwrap())));
    let servers = [ports.next().unwrap(), ports.next().unwrap()];
    let mut raw = RawClient::connect(sentinel.address());
    // Before it has found the replica, it could not make it the master.
    until(async || raw.run(&["SENTINEL", "REPLICAS", "main"]).list().len() == 1).await;
    Some((sentinel, raw, servers))
}

/// A client of a server once it is the master; becoming it, it closes all connections.
async fn once_it_is_the_master(server: SocketAddr) -> RawClient {
    let master = Reply::Text("master".to_owned());
    until(async || {
        RawClient::connect(server).try_ask(&["ROLE"]).is_some_and(|role| role.list()[0] == master)
    })
    .await;
    RawClient::connect(server)
}

fn sink(sentinel: &Component, master: &str, extra: &Value) -> Arc<dyn Sink> {
    let server = format!("redis+sentinel://{}/{master}", sentinel.address());
    let mut settings = json!({"servers": [server], "stream": "events"});
    settings.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    build("redis", &settings, &owner(), &loopback()).unwrap()
}

#[tokio::test]
async fn the_master_is_found_and_when_it_dies_the_next_one() {
    let Some((sentinel, _raw, [master, replica])) = start().await else { return };
    // With the replica's word for each batch, nothing is lost with the master.
    let settings = json!({"ids": "offset", "wait_replicas": 1, "timeout_ms": 3000});
    let sink = sink(&sentinel, "main", &settings);
    deliver_all(&sink, &batch("a", 0..50)).await;
    RawClient::connect(master).ask_without_answer(&["SHUTDOWN", "NOSAVE", "NOW", "FORCE"]);
    let mut survivor = once_it_is_the_master(replica).await;
    // No replica is left to wait for.
    let alone = self::sink(&sentinel, "main", &json!({"ids": "offset", "timeout_ms": 3000}));
    deliver_in_the_end(&alone, &batch("a", 25..80)).await;
    assert_eq!(survivor.field("events", "eventrelay_id"), ids(&batch("a", 0..80)));
}

#[tokio::test]
async fn a_master_that_becomes_a_replica_is_left_for_the_new_one() {
    let Some((sentinel, mut raw, [master, replica])) = start().await else { return };
    let sink = sink(&sentinel, "main", &json!({}));
    deliver_all(&sink, &batch("a", 0..10)).await;
    // The sentinel has to see the replica as sound before it obeys.
    until(async || raw.ask(&["SENTINEL", "FAILOVER", "main"]) == Reply::Text("OK".to_owned())).await;
    let mut survivor = once_it_is_the_master(replica).await;
    // Until it hears of it, the old one takes what it will lose.
    let slave = Reply::Text("slave".to_owned());
    until(async || RawClient::connect(master).try_ask(&["ROLE"]).is_some_and(|role| role.list()[0] == slave))
        .await;
    deliver_in_the_end(&sink, &batch("a", 10..20)).await;
    until(async || survivor.field("events", "eventrelay_id").ends_with(&ids(&batch("a", 10..20)))).await;
}

#[tokio::test]
async fn a_master_that_no_sentinel_knows_is_missing() {
    let Some((sentinel, _raw, _)) = start().await else { return };
    let error = within_patience(sink(&sentinel, "other", &json!({})).check()).await.unwrap_err();
    assert!(
        matches!(&error, CheckError::Missing(why) if why.contains("knows no master \"other\"")),
        "{error}"
    );
}
