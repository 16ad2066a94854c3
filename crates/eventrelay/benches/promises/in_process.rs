//! The publisher and the log in this process, without a front door.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use eventrelay_event::{Data, Event, Tenant};
use eventrelay_ingest::{PublishLimits, Publisher, PublisherMetrics};
use eventrelay_log::disk::{DurableWrites, RealDisk};
use eventrelay_log::{Log, Options};

use crate::part;
use crate::table::{Bar, Table};

/// How long each rate is measured.
const MEASURED: Duration = Duration::from_secs(5);
const EVENT_BYTES: usize = 256;

/// Whether events carry a key of their own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keys {
    None,
    /// Distinct ones, from this number on.
    From(u64),
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

pub(crate) fn open_log(directory: &Path) -> Log {
    let disk = Arc::new(RealDisk::new(DurableWrites::Direct));
    Log::open(disk, Options::new(directory.join("log"))).expect("a log")
}

pub(crate) fn publisher(log: &Log) -> Arc<Publisher> {
    Arc::new(Publisher::new(log.clone(), PublishLimits::default(), PublisherMetrics::default()))
}

/// An event of 256 bytes of data.
pub(crate) fn event(key: Option<u64>) -> Event {
    static DATA: [u8; EVENT_BYTES] = [b'x'; EVENT_BYTES];
    Event {
        idempotency_key: key.map(|key| key.to_string()),
        data: Some(Data::binary(Bytes::from_static(&DATA))),
        ..Event::new(Tenant::default(), "order.created".into(), "/shop".into())
    }
}

/// One publisher's wait, beside a bare write and fdatasync of as many bytes.
pub(crate) fn lone_publisher(directory: &Path, table: &mut Table) {
    const ROUNDS: usize = 3_000;
    let runtime = runtime();
    let log = open_log(directory);
    let publisher = publisher(&log);
    let bare_before = bare_p50(directory, ROUNDS);
    let acknowledged = runtime.block_on(async {
        let mut times = Vec::with_capacity(ROUNDS);
        for _ in 0..ROUNDS {
            let began = Instant::now();
            publisher.publish(vec![event(None)]).await.expect("published");
            times.push(began.elapsed());
        }
        p50(times)
    });
    let bare = bare_before.min(bare_p50(directory, ROUNDS));
    let beside = format!("write + fdatasync of 256 B {bare:?}, publish {acknowledged:?}");
    let ratio = acknowledged.as_secs_f64() / bare.as_secs_f64();
    table.add("one publisher, 256 B, p50 acknowledgement", ratio, "× bare", &beside, Bar::AtMost(1.5));
}

/// Writes into a file that is filled already, as kindly as it can be done.
fn bare_p50(directory: &Path, rounds: usize) -> Duration {
    let file = std::fs::File::create(directory.join("bare")).expect("a file");
    file.write_all_at(&vec![0; rounds * 4_096], 0).expect("filled");
    file.sync_all().expect("synced");
    let times = (0..rounds as u64).map(|i| {
        let began = Instant::now();
        file.write_all_at(&[7; EVENT_BYTES], i * 4_096).expect("written");
        file.sync_data().expect("synced");
        began.elapsed()
    });
    p50(times.collect())
}

fn p50(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// Durable events a second with many publishers.
pub(crate) fn throughput(directory: &Path, table: &mut Table) {
    let runtime = runtime();
    let log = open_log(&part(directory, "data"));
    let publisher = publisher(&log);
    let (single, batched) =
        (rate(&runtime, &publisher, 1_024, 1, Keys::None), rate(&runtime, &publisher, 64, 100, Keys::None));
    let disk = disk_bytes_per_second(directory);
    let share =
        |rate: f64| format!("{:.0} % of the disk's {:.0} MB/s in events", rate * 2.56e4 / disk, disk / 1e6);
    table.add(
        "in process, 1,024 publishers of one event",
        single,
        "events/s",
        &share(single),
        Bar::AtLeast(300_000.0),
    );
    table.add("in process, batches of 100", batched, "events/s", &share(batched), Bar::AtLeast(1_000_000.0));
}

/// Events a second that `publishers` tasks publish in batches.
pub(crate) fn rate(
    runtime: &tokio::runtime::Runtime,
    publisher: &Arc<Publisher>,
    publishers: u64,
    batch: u64,
    keys: Keys,
) -> f64 {
    let began = Instant::now();
    let end = began + MEASURED;
    let total: u64 = runtime.block_on(async {
        let tasks: Vec<_> = (0..publishers)
            .map(|at| tokio::spawn(publish_until(end, Arc::clone(publisher), at, batch, keys)))
            .collect();
        let mut total = 0;
        for task in tasks {
            total += task.await.expect("a publisher ends well");
        }
        total
    });
    total as f64 / began.elapsed().as_secs_f64()
}

async fn publish_until(end: Instant, publisher: Arc<Publisher>, at: u64, batch: u64, keys: Keys) -> u64 {
    let mut done = 0;
    while Instant::now() < end {
        let key = |n: u64| match keys {
            Keys::None => None,
            Keys::From(first) => Some(first + (at << 32) + done + n),
        };
        publisher.publish((0..batch).map(|n| event(key(n))).collect()).await.expect("published");
        done += batch;
    }
    done
}

/// What the disk takes in large synced writes.
fn disk_bytes_per_second(directory: &Path) -> f64 {
    const PIECE: usize = 4 << 20;
    const PIECES: u64 = 64;
    let file = std::fs::File::create(directory.join("sequential")).expect("a file");
    let piece = vec![7; PIECE];
    for i in 0..PIECES {
        file.write_all_at(&piece, i * PIECE as u64).expect("filled");
    }
    file.sync_all().expect("synced");
    let began = Instant::now();
    for i in 0..PIECES {
        file.write_all_at(&piece, i * PIECE as u64).expect("written");
        file.sync_data().expect("synced");
    }
    (PIECES * PIECE as u64) as f64 / began.elapsed().as_secs_f64()
}
