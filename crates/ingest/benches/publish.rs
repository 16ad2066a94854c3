//! What the publisher costs on top of the log that it writes to: the same disk, the same sizes, in one run.
//!
//! `BENCH_DIR` is where the log goes, `BENCH_SECONDS` how long each line runs.

#![allow(clippy::unwrap_used, reason = "a bench stops by panicking")]

use std::hash::Hasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use eventrelay_event::{Data, Event, EventLimits, StoredEvent, Tenant, json, native};
use eventrelay_ingest::{PublishLimits, Publisher, PublisherMetrics};
use eventrelay_log::disk::{DurableWrites, RealDisk};
use eventrelay_log::{Group, Log, Options};
use siphasher::sip::SipHasher13;

const DATA: &str = r#"{"order":{"number":"A-1000231","total":{"amount":"129.90","currency":"EUR"},"lines":[{"sku":"X-1","count":2},{"sku":"Y-22","count":1}]},"customer":{"id":"c-77120","name":"Jane Doe"}}"#;

fn main() {
    let directory = std::env::var("BENCH_DIR").unwrap_or_else(|_| "target/bench-data".into());
    std::fs::create_dir_all(&directory).unwrap();
    let directory = tempfile::tempdir_in(directory).unwrap();
    let disk = Arc::new(RealDisk::new(DurableWrites::Direct));
    let log = Log::open(disk, Options::new(directory.path().join("log"))).unwrap();
    let publisher =
        Arc::new(Publisher::new(log.clone(), PublishLimits::default(), PublisherMetrics::default()));
    println!("an event of {} bytes", StoredEvent::encoded_bytes(&event(None)));
    time_steps();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for (publishers, batch) in [(1, 1), (64, 1), (1024, 1), (64, 100)] {
        let bare = runtime.block_on(rate(publishers, batch, {
            let log = log.clone();
            move |batch| append(log.clone(), batch)
        }));
        let [plain, keyed] = [false, true].map(|keyed| {
            runtime.block_on(rate(publishers, batch, {
                let publisher = Arc::clone(&publisher);
                move |batch| publish(Arc::clone(&publisher), batch, keyed)
            }))
        });
        println!(
            "{publishers:5} publishers x {batch:3}: log alone {bare:9.0}/s, publisher {plain:9.0}/s ({:.2}), keyed {keyed:9.0}/s ({:.2})",
            plain / bare,
            keyed / bare
        );
    }
}

fn event(key: Option<u64>) -> Event {
    let mut event = Event::new(Tenant::default(), "order.created".to_owned(), "/shop/7".to_owned());
    event.idempotency_key = key.map(|key| format!("{key:020}"));
    event.data = Some(Data::binary(Bytes::from_static(DATA.as_bytes())));
    event
}

/// The parts of a publish that take processor time and no disk.
fn time_steps() {
    let body = Bytes::from(format!(r#"{{"type":"order.created","source":"/shop/7","data":{DATA}}}"#));
    let (tenant, limits) = (Tenant::default(), EventLimits::default());
    let event = event(Some(1));
    let mut record = Vec::new();
    StoredEvent::encode(&event, &mut record);
    let record = Bytes::from(record);
    let mut out = Vec::new();
    let stored = StoredEvent::decode(0, 0, record.clone()).unwrap();
    time("validate JSON", || json::validate(DATA.as_bytes(), &limits.json).is_ok());
    time("decode a request", || native::decode(&body, &tenant, &limits).is_ok());
    time("check the rules", || event.check(&limits).is_ok());
    time("hash the content", || {
        let mut hasher = SipHasher13::new_with_keys(1, 2);
        event.hash_content(&mut hasher);
        hasher.finish() != 0
    });
    time("encode for the log", || {
        out.clear();
        StoredEvent::encode(&event, &mut out);
        !out.is_empty()
    });
    time("decode from the log", || StoredEvent::decode(0, 0, record.clone()).is_ok());
    time("write as JSON", || {
        out.clear();
        native::write_json(&stored, &mut out);
        !out.is_empty()
    });
}

fn time(what: &str, mut step: impl FnMut() -> bool) {
    const ROUNDS: u64 = 200_000;
    let began = processor_nanos();
    for _ in 0..ROUNDS {
        assert!(std::hint::black_box(step()));
    }
    println!("{what:20} {:5} ns", (processor_nanos() - began) / ROUNDS);
}

/// Time that this thread had a processor: what other work on the machine takes does not count.
fn processor_nanos() -> u64 {
    let schedule = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    schedule.split(' ').next().unwrap().parse().unwrap()
}

async fn append(log: Log, batch: u64) {
    let record = [7; 256];
    let mut group = Group::with_capacity(300);
    for _ in 0..batch {
        group.push(None, |out| out.extend_from_slice(&record));
    }
    let reservation = log.reserve(group.bytes()).await.unwrap();
    log.append(reservation, group).await.unwrap();
}

/// The log is new, so counting makes keys that it does not know.
static NEXT_KEY: AtomicU64 = AtomicU64::new(0);

async fn publish(publisher: Arc<Publisher>, batch: u64, keyed: bool) {
    let first_key = keyed.then(|| NEXT_KEY.fetch_add(batch, Ordering::Relaxed));
    let events = (0..batch).map(|index| event(first_key.map(|first| first + index))).collect();
    publisher.publish(events).await.unwrap();
}

/// Events a second of this many tasks that each send one batch after another.
async fn rate<F>(publishers: u64, batch: u64, send: impl Fn(u64) -> F + Clone + Send + 'static) -> f64
where
    F: Future<Output = ()> + Send,
{
    let seconds = std::env::var("BENCH_SECONDS").map_or(3, |seconds| seconds.parse().unwrap());
    let began = Instant::now();
    let end = began + Duration::from_secs(seconds);
    let tasks: Vec<_> = (0..publishers)
        .map(|_| {
            let send = send.clone();
            tokio::spawn(async move {
                let mut sent = 0u32;
                while Instant::now() < end {
                    send(batch).await;
                    sent += u32::try_from(batch).unwrap();
                }
                sent
            })
        })
        .collect();
    let mut total = 0.0;
    for task in tasks {
        total += f64::from(task.await.unwrap());
    }
    total / began.elapsed().as_secs_f64()
}
