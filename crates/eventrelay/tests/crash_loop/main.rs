//! Kills the real server over and over while clients publish, and checks at the end that every promise was kept.
//!
//! Each round starts `eventrelay serve` on the same data and ends it at a random moment: with SIGKILL under load, right
//! after the start, before it has recovered (up to three times in a row) or while it drains; and sometimes with a SIGTERM
//! that it may obey to the end. Four clients publish single events, batches, NDJSON and CloudEvents, with and without
//! idempotency keys, two at once under one key, and repeat what they got no answer to.
//!
//! What is sent and answered is taken down by the clients ([`ledger`]), what is delivered by a receiver that outlives every
//! server ([`deliveries`]), and what is shown to readers by one ([`watcher`]); the content of every event follows from
//! its number, so nothing of it need be remembered ([`workload`]). After the last kill there is a quiet phase, and then
//! all of it is held against the log ([`audit`]).
//!
//! `TEST_CRASH_ROUNDS=1000` runs longer than the 50 rounds of every day, and `TEST_CRASH_SEED` repeats the
//! random choices of an earlier run; what the machine does in between is its own.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test's way to fail"
)]

mod audit;
mod deliveries;
mod findings;
#[path = "../harness/mod.rs"]
mod harness;
mod ledger;
mod lives;
mod producer;
mod random;
mod report;
mod target;
mod watcher;
mod workload;
mod world;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use audit::Audit;
use deliveries::{Board, Judge, Order};
use findings::{Findings, Kind};
use harness::receiver::Receiver;
use harness::{http, poll, run};
use ledger::Ledger;
use lives::Lives;
use producer::Producer;
use random::Random;
use report::Report;
use target::Target;
use watcher::Sighting;
use workload::{POISON_TYPE, USUAL_TYPE, Workload};
use world::World;

const DEFAULT_ROUNDS: u64 = 50;
const PRODUCERS: u64 = 4;

#[test]
fn nothing_is_lost_doubled_invented_or_reordered_however_often_it_is_killed() {
    let rounds = number_from_environment("TEST_CRASH_ROUNDS").unwrap_or(DEFAULT_ROUNDS);
    let seed = number_from_environment("TEST_CRASH_SEED").unwrap_or_else(fresh_seed);
    println!("{rounds} rounds with TEST_CRASH_SEED={seed}");

    let directory = tempfile::tempdir().unwrap();
    let world = world(seed);
    let judge = Arc::clone(&world.judge);
    let receiver = Receiver::start(move |request| judge.receive(request));
    std::fs::write(directory.path().join("eventrelay.toml"), configuration(&receiver)).unwrap();

    let started = Instant::now();
    let mut lives = Lives::new(directory.path(), &world, Random::new(seed));
    let sightings = run_rounds(&world, &mut lives, rounds, seed);
    let report = examine(&world, &lives, &sightings);
    println!("{}", report.text(rounds, lives.tally, started.elapsed(), &world));
    assert!(world.findings.is_empty(), "with TEST_CRASH_SEED={seed}:\n{}", world.findings);
}

fn number_from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|error| panic!("{name}: {error}")))
}

fn fresh_seed() -> u64 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_micros() as u64
}

fn world(seed: u64) -> World {
    let findings = Arc::new(Findings::default());
    let workload = Workload::new(seed);
    let boards = vec![
        Board::new("unordered", Order::None),
        Board::new("by_key", Order::ByKey),
        Board::new("strict", Order::Strict).of_bare_data(),
        Board::new("refusing", Order::None).refusing(),
    ];
    let judge = Arc::new(Judge { boards, workload, seed, findings: Arc::clone(&findings) });
    let ledger = Ledger::new(Arc::clone(&findings));
    World { target: Target::default(), ledger, findings, workload, judge }
}

/// Small segments, so that many are begun and sealed while the server is killed.
fn configuration(receiver: &Receiver) -> String {
    let webhook = |name: &str, types: &str, body: &str, more: &str| {
        format!(
            "[[subscriptions]]\nname = \"{name}\"\nfilter = {{ types = [\"{types}\"] }}\nstart = \"earliest\"\n\
             breaker = {{ consecutive_failures = 1000000, failure_ratio = 1.0, window = 10000 }}\n{more}\n\
             sink = {{ kind = \"webhook\", url = \"{}\", unsigned = true, body = \"{body}\" }}\n",
            receiver.url(&format!("/{name}"))
        )
    };
    let patient = "retry = { max_attempts = 1000, initial_backoff_ms = 10, max_backoff_ms = 100 }\n";
    let brief = "retry = { max_attempts = 2, initial_backoff_ms = 5 }\n";
    [
        "[log]\nsegment_bytes = 1048576\nmax_commit_bytes = 262144\n\
         [publish]\nmax_event_bytes = 131072\n\
         [egress]\nallow_private_addresses = true\n"
            .to_owned(),
        webhook("unordered", USUAL_TYPE, "standard", &format!("max_in_flight = 16\n{patient}")),
        webhook(
            "by_key",
            USUAL_TYPE,
            "cloudevents",
            &format!("order = \"by_key\"\nmax_in_flight = 8\n{patient}"),
        ),
        webhook("strict", USUAL_TYPE, "data", &format!("order = \"strict\"\n{patient}")),
        webhook("refusing", POISON_TYPE, "standard", &format!("max_in_flight = 4\n{brief}")),
        format!(
            "[[subscriptions]]\nname = \"file\"\nfilter = {{ types = [\"{USUAL_TYPE}\"] }}\nstart = \"earliest\"\n\
             sink = {{ kind = \"file\", directory = \"out\", max_bytes = 1000000 }}\n"
        ),
    ]
    .join("\n")
}

/// All rounds under load, and a last life in which the clients settle what is open.
fn run_rounds(world: &World, lives: &mut Lives<'_>, rounds: u64, seed: u64) -> Vec<Sighting> {
    std::thread::scope(|scope| {
        let _release = world.target.release_on_panic();
        let producers: Vec<_> =
            (0..PRODUCERS).map(|name| scope.spawn(move || Producer::new(world, name, seed).run())).collect();
        let watcher = scope.spawn(move || watcher::watch(world));
        for _ in 0..rounds {
            lives.live_and_die();
        }
        let relay = lives.start();
        world.target.finish();
        for producer in producers {
            producer.join().unwrap();
        }
        world.target.fall();
        assert_eq!(relay.terminate().code(), Some(0));
        watcher.join().unwrap()
    })
}

/// The quiet phase: everything is delivered, and all that is known is held against the log.
fn examine(world: &World, lives: &Lives<'_>, sightings: &[Sighting]) -> Report {
    let relay = lives.start();
    let settling = Instant::now();
    poll::until("every subscription is done", || is_settled(relay.http()).then_some(()));
    let settling = settling.elapsed();
    let health = http::get(relay.http(), "/health").json();
    let end_offset = health["components"]["log"]["durable_offset"].as_u64().unwrap();

    let audit = Audit::read(world, lives.directory, &relay.url(), end_offset);
    audit.check_answers();
    audit.check_sightings(sightings);
    audit.check_look_ups(relay.http());
    let mut seen = vec![];
    for board in &world.judge.boards {
        seen.push((board.name(), board.seen()));
        audit.check_deliveries(board.name(), &board.seen(), board.refuses());
    }
    seen.push(("file", audit.check_files(&lives.directory.join("data/out"))));
    let dead = gauge(&http::get(relay.http(), "/metrics").body, "dead_letters");
    let expected = [("refusing", audit.poison_events() as f64)];
    for (name, dead) in dead {
        let expected =
            expected.iter().find(|(refusing, _)| *refusing == name).map_or(0.0, |(_, count)| *count);
        if dead != expected {
            world.findings.add(Kind::Lost, format!("{name} has {dead} dead letters, not {expected}"));
        }
    }
    assert_eq!(relay.terminate().code(), Some(0));
    let verified = run(lives.directory, ["log", "verify"]);
    assert!(verified.status.success(), "{verified:?}");
    Report { log_events: audit.events(), sightings: sightings.len(), settling, seen }
}

/// Whether no subscription has anything left to do.
fn is_settled(server: SocketAddr) -> bool {
    let metrics = http::get(server, "/metrics").body;
    let none = |name| {
        let values = gauge(&metrics, name);
        !values.is_empty() && values.iter().all(|(_, value)| *value == 0.0)
    };
    none("lag_events") && none("retrying")
}

/// A gauge of every subscription.
fn gauge(metrics: &str, name: &str) -> Vec<(String, f64)> {
    let prefix = format!("eventrelay_subscription_{name}{{subscription=\"");
    metrics
        .lines()
        .filter_map(|line| line.strip_prefix(&prefix))
        .map(|rest| {
            let (subscription, rest) = rest.split_once('"').unwrap();
            let value = rest.rsplit(' ').next().unwrap();
            (subscription.to_owned(), value.parse().unwrap())
        })
        .collect()
}
