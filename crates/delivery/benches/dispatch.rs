//! How many events a second one subscription's dispatcher moves, with a target that answers at once. Prints a table.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use eventrelay_delivery::{Engine, EngineOptions, Target, resolve_start};
use eventrelay_event::{Data, Event, StoredEvent, Tenant};
use eventrelay_log::disk::RealDisk;
use eventrelay_log::{Group, Log, Options};
use eventrelay_sinks::{Attempt, BatchLimit, BoxFuture, Delivery, Outcome, Sink};
use eventrelay_state::{LogIdentity, OpenMode, State, Subscription};
use serde_json::json;
use tokio::sync::watch;

const EVENTS: usize = 400_000;

struct Counter {
    batch: usize,
    /// Yields once before it answers, as a target over a network does.
    yields: bool,
    delivered: watch::Sender<usize>,
}

impl Sink for Counter {
    fn kind(&self) -> &'static str {
        "counter"
    }

    fn batch_limit(&self) -> BatchLimit {
        BatchLimit { events: self.batch, bytes: 1 << 20 }
    }

    fn deliver<'a>(&'a self, batch: &'a [Delivery]) -> BoxFuture<'a, Vec<Attempt>> {
        Box::pin(async move {
            if self.yields {
                tokio::task::yield_now().await;
            }
            self.delivered.send_modify(|count| *count += batch.len());
            let attempt = |_| Attempt {
                outcome: Outcome::Delivered,
                started: SystemTime::UNIX_EPOCH,
                took: Duration::ZERO,
                response: None,
                exchange: None,
            };
            batch.iter().map(attempt).collect()
        })
    }
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    let directory = tempfile::tempdir().unwrap();
    let log = Log::open(Arc::new(RealDisk::default()), Options::new(directory.path().join("log"))).unwrap();
    fill(&log).await;
    println!("| order | events a call | answers | events/s |\n|---|---|---|---|");
    for (order, batch, yields) in [
        ("unordered", 1, false),
        ("unordered", 1, true),
        ("unordered", 100, true),
        ("by_key", 1, true),
        ("strict", 1, true),
    ] {
        let rate = measure(&log, order, batch, yields).await;
        println!("| {order} | {batch} | {} | {rate:.0} |", if yields { "later" } else { "at once" });
    }
    log.close();
}

/// Small events with a thousand keys in turn.
async fn fill(log: &Log) {
    for base in (0..EVENTS).step_by(500) {
        let mut group = Group::new();
        for n in base..base + 500 {
            let event = Event {
                key: Some(format!("customer-{}", n % 1000)),
                data: Some(Data::text("7".repeat(200))),
                ..Event::new(Tenant::default(), "order.created".to_owned(), "/bench".to_owned())
            };
            group.push(None, |bytes| StoredEvent::encode(&event, bytes));
        }
        let reservation = log.reserve(group.bytes()).await.unwrap();
        log.append(reservation, group).await.unwrap();
    }
}

async fn measure(log: &Log, order: &str, batch: usize, yields: bool) -> f64 {
    let directory = tempfile::tempdir().unwrap();
    let identity = LogIdentity { log_id: log.id().0, oldest_offset: 0, end_offset: log.durable_offset() };
    let state = State::open(&directory.path().join("state"), identity, OpenMode::CreateBesideLog).unwrap();
    let spec = json!({ "name": "bench", "start": "earliest", "order": order, "sink": { "kind": "counter" } });
    let declared = vec![serde_json::from_value(spec).unwrap()];
    let record = state
        .reconcile(declared, async |start| resolve_start(log, start).await)
        .await
        .unwrap()
        .declared
        .remove(0);
    let (delivered, mut watch) = watch::channel(0);
    let begun = Instant::now();
    let sink: Arc<dyn Sink> = Arc::new(Counter { batch, yields, delivered });
    let engine = Engine::start(
        log.clone(),
        state.clone(),
        vec![(record, Target::Push(sink))],
        Arc::new(|_: &Subscription, _| Ok(Target::Pull)),
        EngineOptions::default(),
    )
    .await
    .unwrap();
    watch.wait_for(|count| *count >= EVENTS).await.unwrap();
    let took = begun.elapsed();
    engine.shutdown(Duration::from_secs(5)).await;
    state.close().await;
    EVENTS as f64 / took.as_secs_f64()
}
