//! One idempotency key is one event, however many publishers use it at once, whichever door they come through, and however
//! often the server is killed meanwhile.
//!
//! 64 publishers go from key to key in step: all of them publish the same event under the same key at the same moment,
//! over HTTP, gRPC and TCP ([`doors`]), and each repeats it until it has a receipt. The server is killed again and again
//! while they do, and they wait for its next life ([`publisher`]). Before they go on to the next key, some publish once more,
//! so that receipts of before and after a kill can be compared. At the end all receipts are held against each other and
//! against the log ([`receipts`]).
//!
//! `TEST_CRASH_ROUNDS` is the number of kills, 30 when it is not set; `TEST_CRASH_SEED` repeats the random choices.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    reason = "a test's way to fail"
)]

mod doors;
#[path = "../harness/mod.rs"]
mod harness;
mod publisher;
#[allow(dead_code, reason = "the crash loop uses more of it")]
#[path = "../crash_loop/random.rs"]
mod random;
mod receipts;
#[allow(dead_code, reason = "the crash loop uses more of it")]
#[path = "../crash_loop/target.rs"]
mod target;

use std::path::Path;
use std::time::Instant;

use doors::{Addresses, DoorKind};
use harness::{RelayProcess, SMALL_LOG, eventrelay, http, run, stdout};
use publisher::{Publisher, World};
use random::Random;

const PUBLISHERS: u64 = 64;
const DEFAULT_KILLS: u64 = 30;
/// Between two kills the publishers get this many keys done at least, so that every life counts.
const KEYS_PER_LIFE: u64 = 6;

#[test]
fn sixty_four_publishers_over_three_protocols_and_kills_make_one_event_of_a_key() {
    let kills = number_from_environment("TEST_CRASH_ROUNDS").unwrap_or(DEFAULT_KILLS);
    let seed = number_from_environment("TEST_CRASH_SEED").unwrap_or_else(fresh_seed);
    println!("{kills} kills with TEST_CRASH_SEED={seed}");

    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("eventrelay.toml"), SMALL_LOG).unwrap();
    let world = World::default();
    let began = Instant::now();
    kill_again_and_again(&world, directory.path(), kills, seed);
    let took = began.elapsed();

    let receipts = world.receipts.into_inner().unwrap();
    let log = read_log(directory.path());
    println!(
        "{} keys, {} receipts ({:?}), {} publishes without an answer, {} events in the log, {took:.1?}",
        receipts.keys(),
        receipts.by_door().values().sum::<usize>(),
        receipts.by_door(),
        world.unanswered.into_inner(),
        log.len(),
    );
    assert!(receipts.keys() as u64 > kills * KEYS_PER_LIFE);
    for door in DoorKind::ALL {
        assert!(receipts.by_door().contains_key(&door), "nobody came through {door:?}");
    }
    let findings = receipts.check(&log);
    assert!(findings.is_empty(), "with TEST_CRASH_SEED={seed}:\n{}", findings.join("\n"));
}

fn number_from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|error| panic!("{name}: {error}")))
}

fn fresh_seed() -> u64 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_micros() as u64
}

/// All lives of the server while the publishers publish, and one more in which they finish.
fn kill_again_and_again(world: &World, directory: &Path, kills: u64, seed: u64) {
    let mut random = Random::new(seed);
    std::thread::scope(|scope| {
        let _release = world.target.release_on_panic();
        for name in 0..PUBLISHERS {
            scope.spawn(move || Publisher::new(world, name, seed).run());
        }
        for _ in 0..kills {
            let mut relay = rise(world, directory);
            publish_more(world, KEYS_PER_LIFE);
            // Somewhere within a key, which takes a few milliseconds.
            assert!(!relay.ends_within(random.time_up_to_ms(20)), "{}", relay.everything_said());
            world.target.fall();
            relay.kill();
        }
        let relay = rise(world, directory);
        let last = world.steps.end_after(KEYS_PER_LIFE);
        // Nobody comes to the next without a receipt of the last.
        wait_for_key(world, last + 1);
        world.target.finish();
        world.target.fall();
        relay.kill();
    });
}

/// Waits until everybody is done with so many more keys.
fn publish_more(world: &World, keys: u64) {
    let done = world.steps.done().expect("nobody has failed");
    wait_for_key(world, done + keys);
}

fn wait_for_key(world: &World, key: u64) {
    harness::poll::until("keys are published", || {
        let done = world.steps.done().expect("nobody has failed");
        (done >= key).then_some(())
    });
}

fn rise(world: &World, directory: &Path) -> RelayProcess {
    let (relay, addresses) = start(directory);
    world.target.rise(addresses);
    relay
}

fn start(directory: &Path) -> (RelayProcess, Addresses) {
    let mut command = eventrelay(directory);
    command.args(["serve", "--http-listen", "127.0.0.1:0", "--tcp-lines-listen", "127.0.0.1:0"]);
    let mut relay = RelayProcess::spawn(command).unwrap_or_else(|failure| panic!("{failure:?}"));
    let mut address = |scheme: &str| {
        let line =
            relay.wait_for_line(|line| line.starts_with(&format!("Listening on {scheme}://"))).unwrap();
        line.split("://").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap()
    };
    let (grpc, lines) = (address("grpc"), address("tcp"));
    let addresses = Addresses { http: relay.http(), grpc, lines };
    (relay, addresses)
}

/// All that the log has, read by one more life of the server.
fn read_log(directory: &Path) -> Vec<serde_json::Value> {
    let (relay, _) = start(directory);
    let health = http::get(relay.http(), "/health").json();
    let count = health["components"]["log"]["durable_offset"].as_u64().unwrap().to_string();
    let tail = run(directory, ["tail", "--url", &relay.url(), "--from", "earliest", "--count", &count]);
    assert_eq!(relay.terminate().code(), Some(0));
    stdout(&tail).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
