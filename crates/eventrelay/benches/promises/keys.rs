//! What ten million known idempotency keys cost.

use std::path::Path;
use std::time::{Duration, Instant};

use eventrelay_log::{Group, Key, Log};
use prometheus_client::registry::Registry;

use crate::in_process::{Keys, open_log, publisher, rate, runtime};
use crate::memory::resident_bytes;
use crate::table::{Bar, Table};

const KNOWN: u64 = 10_000_000;
const RUN: u32 = 50;

pub(crate) fn ten_million(directory: &Path, table: &mut Table) {
    let runtime = runtime();
    let log = open_log(directory);
    let before = resident_bytes(std::process::id());
    runtime.block_on(fill(&log));
    wait_until_merged(&log);
    let resident = resident_bytes(std::process::id()).saturating_sub(before);
    let index = gauge(&log, "eventrelay_log_keys_memory_bytes");
    let known = gauge(&log, "eventrelay_log_keys");
    assert!(known >= KNOWN as f64, "{known} keys are known");
    let beside = format!("the index itself says {:.0} MiB for {known:.0} keys", index / 1_048_576.0);
    table.add(
        "memory for 10,000,000 keys",
        resident as f64 / 1_048_576.0,
        "MiB",
        &beside,
        Bar::AtMost(200.0),
    );
    let (p50, p99) = miss_times(&log);
    let beside = format!("p99 {p99:?}, over runs of {RUN} look-ups");
    table.add("key look-up that misses, p50", p50.as_secs_f64() * 1e6, "µs", &beside, Bar::AtMost(1.0));
    let publisher = publisher(&log);
    for (publishers, batch, what) in
        [(1_024, 1, "1,024 publishers of one event"), (64, 100, "batches of 100")]
    {
        let first = KNOWN + batch * (1 << 44);
        // In turns, so that a slower moment of the machine hits both.
        let mut rates = [0.0; 2];
        for turn in 0..2 {
            rates[0] += rate(&runtime, &publisher, publishers, batch, Keys::None);
            rates[1] += rate(&runtime, &publisher, publishers, batch, Keys::From(first + turn * (1 << 43)));
        }
        let [plain, keyed] = rates.map(|rate| rate / 2.0);
        let beside = format!("{plain:.0} events/s without keys, {keyed:.0} with");
        let slower = (1.0 - keyed / plain) * 100.0;
        table.add(&format!("distinct keys, {what}, slower by"), slower, "%", &beside, Bar::AtMost(25.0));
    }
}

/// The time of a look-up of a key that is not known, in runs since a clock costs as much as a look-up.
fn miss_times(log: &Log) -> (Duration, Duration) {
    let runs = (0..4_000u64).map(|run| {
        let began = Instant::now();
        for n in 0..u64::from(RUN) {
            let seed = (1 << 60) + run * u64::from(RUN) + n;
            let hash = u128::from(spread(seed)) << 64 | u128::from(spread(!seed));
            assert_eq!(log.find_key(hash).expect("looked up"), None);
        }
        began.elapsed() / RUN
    });
    let mut times: Vec<Duration> = runs.collect();
    times.sort();
    (times[times.len() / 2], times[times.len() * 99 / 100])
}

/// Ten million small records, each with a key.
pub(crate) async fn fill(log: &Log) {
    const BATCH: u64 = 2_000;
    for first in (0..KNOWN).step_by(BATCH as usize) {
        let mut group = Group::with_capacity(BATCH as usize * 40);
        for n in first..first + BATCH {
            let hash = u128::from(spread(n)) << 64 | u128::from(spread(n ^ 0x5bd1_e995_0000_0000));
            group.push(Some(Key { hash, fingerprint: n }), |out| out.extend_from_slice(&n.to_le_bytes()));
        }
        let reservation = log.reserve(group.bytes()).await.expect("room");
        log.append(reservation, group).await.expect("appended");
    }
}

/// Mixes all bits (the finisher of SplitMix64).
fn spread(n: u64) -> u64 {
    let n = (n ^ n >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ n >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ n >> 31
}

/// Until the background thread has written and merged what it wants to, so that the steady state is measured.
pub(crate) fn wait_until_merged(log: &Log) {
    let deadline = Instant::now() + Duration::from_secs(120);
    let mut last = (f64::MAX, Instant::now());
    while Instant::now() < deadline && last.1.elapsed() < Duration::from_secs(4) {
        let bytes = gauge(log, "eventrelay_log_keys_memory_bytes");
        if (bytes - last.0).abs() > 1.0 {
            last = (bytes, Instant::now());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn gauge(log: &Log, name: &str) -> f64 {
    let mut registry = Registry::default();
    log.register_metrics(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).expect("encoded");
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
    value.unwrap_or_else(|| panic!("no gauge {name}"))
}
