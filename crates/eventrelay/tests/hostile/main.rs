//! Rude clients at every door of the built binary at once, while good ones go on publishing over all protocols: the good
//! ones have every event acknowledged, and soon; the rude ones are told what is wrong, or closed, and a metric says so;
//! nothing of theirs is stored.
//!
//! What is wrong with one protocol's own requests in detail is tested in `bad_input.rs` and in the server's crate; here the
//! doors stand side by side, with their own limits, in one process.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's way to fail")]

mod attacks;
#[path = "../one_key/doors.rs"]
mod doors;
mod good_clients;
#[path = "../harness/mod.rs"]
mod harness;
mod idle;
mod ports;
mod slow;

use std::collections::BTreeMap;

use doors::{Answer, DoorKind, KeyedEvent};
use good_clients::GoodClients;
use harness::{SMALL_LOG, http, poll};
use ports::Server;

#[test]
fn rude_clients_at_every_door_are_told_why_and_harm_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), SMALL_LOG);
    let attacks = attacks::all();
    let good = GoodClients::start(server.ports);
    for attack in &attacks {
        attack.carry_out(&server.ports);
    }
    let stored = good.stop();
    println!("{} attacks; {stored}", attacks.len());
    assert_eq!(server.durable_offset(), stored.events, "something of theirs was stored");

    let mut expected: BTreeMap<&str, usize> = BTreeMap::new();
    for attack in &attacks {
        *expected.entry(attack.metric).or_default() += 1;
    }
    // Who is closed may know before it is counted.
    poll::until("every attack is counted", || {
        let metrics = http::get(server.ports.http, "/metrics").body;
        let value = |line: &str| ports::sample(&metrics, line).unwrap_or(0.0);
        expected.iter().all(|(metric, times)| value(metric) >= *times as f64).then_some(())
    });
    assert_eq!(server.relay.terminate().code(), Some(0));
}

#[test]
fn a_reused_key_is_refused_at_every_door() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), SMALL_LOG);
    let event = |data: &str| KeyedEvent { key: "once".to_owned(), data: data.to_owned() };
    let publish =
        |door: DoorKind, data| door.open(server.ports.addresses()).unwrap().publish(&event(data)).unwrap();
    let Answer::Stored(first) = publish(DoorKind::Http, "1") else { panic!("the first is taken") };
    for door in DoorKind::ALL {
        match publish(door, "2") {
            Answer::Refused(code) => assert_eq!(code, "idempotency_key_reused", "{door:?}"),
            Answer::Stored(receipt) => panic!("{door:?} took another event: {receipt:?}"),
        }
        match publish(door, "1") {
            Answer::Stored(receipt) => assert_eq!((receipt.id, receipt.duplicate), (first.id.clone(), true)),
            Answer::Refused(code) => panic!("{door:?} refused the same event: {code}"),
        }
    }
    assert_eq!(server.durable_offset(), 1);
}
