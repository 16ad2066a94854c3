//! How fast the Redis sink drains a backlog, beside a bare program with the same client library and the same entries.
//!
//! `cargo bench -p eventrelay-sinks --bench redis -- <events> <host:port>`
//!
//! `scripts/services start redis` gives a server that syncs every write before it answers; the stream `bench` there is emptied. Both
//! sides take turns, three times, so that they meet the same machine; the ratio of the medians is what counts. The bare program does
//! the same durable work: the same fields, in transactions of the same size, as many at once, over one connection.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use eventrelay_event::json::Limits;
use eventrelay_event::{Data, Event, StoredEvent, Tenant};
use eventrelay_sinks::egress::AddressPolicy;
use eventrelay_sinks::{Delivery, Environment, Outcome, Owner, Purpose, Sink, build};
use redis::AsyncConnectionConfig;
use redis::aio::MultiplexedConnection;
use serde_json::json;

const STREAM: &str = "bench";
const BATCH: usize = 1000;
/// Calls at once, as a dispatcher makes them.
const CALLS: usize = 4;
const ROUNDS: usize = 3;

fn main() {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let events = arguments.first().and_then(|it| it.parse().ok()).unwrap_or(300_000);
    let Some(server) = arguments.get(1) else {
        println!("no server: cargo bench -p eventrelay-sinks --bench redis -- <events> <host:port>");
        return;
    };
    let batch: Arc<[Delivery]> = (0..BATCH as u64).map(delivery).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (mut bare_rates, mut sink_rates) = (Vec::new(), Vec::new());
    runtime.block_on(async {
        let bare = connect(server).await;
        let sink = sink(server);
        for _ in 0..ROUNDS {
            empty(&bare).await;
            let clock = Instant::now();
            drain(events, async || append(&bare, &batch).await).await;
            bare_rates.push(events as f64 / clock.elapsed().as_secs_f64());
            empty(&bare).await;
            let clock = Instant::now();
            drain(events, async || deliver(&sink, &batch).await).await;
            sink_rates.push(events as f64 / clock.elapsed().as_secs_f64());
        }
        sink.close().await;
    });
    let (bare, sink) = (median(bare_rates), median(sink_rates));
    println!("events        {events} of {} bytes of data, in batches of {BATCH}", data().len());
    println!("bare client   {bare:.0}/s");
    println!("sink          {sink:.0}/s");
    println!("ratio         {:.2}", sink / bare);
}

/// The data of every event: a JSON string of 256 bytes.
fn data() -> Bytes {
    format!("\"{}\"", "x".repeat(254)).into()
}

fn delivery(offset: u64) -> Delivery {
    let event = Event {
        data: Some(Data::json(data(), &Limits::default()).unwrap()),
        key: Some(format!("key-{offset}")),
        ..Event::new(Tenant::default(), "order.created".to_owned(), "/shop".to_owned())
    };
    let mut record = Vec::new();
    StoredEvent::encode(&event, &mut record);
    let event = StoredEvent::decode(offset, 1_769_860_800_000_123, Bytes::from(record)).unwrap();
    Delivery { event, attempt: 1, purpose: Purpose::Live, span: None }
}

fn sink(server: &str) -> Arc<dyn Sink> {
    let environment = Environment { addresses: AddressPolicy::private_allowed(), ..Environment::default() };
    let owner = Owner { tenant: "default".to_owned(), subscription: "bench".to_owned(), log_id: [0; 16] };
    let settings = json!({"servers": [format!("redis://{server}")], "stream": STREAM});
    build("redis", &settings, &owner, &environment).unwrap()
}

/// Does a batch's work until all batches are done, some at once.
async fn drain(events: usize, work: impl AsyncFn()) {
    let left = AtomicUsize::new(events / BATCH);
    let take = || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
    let call = async || {
        while take() {
            work().await;
        }
    };
    futures_util::future::join_all((0..CALLS).map(|_| call())).await;
}

async fn deliver(sink: &Arc<dyn Sink>, batch: &[Delivery]) {
    let attempts = sink.deliver(batch).await;
    assert!(attempts.iter().all(|it| it.outcome == Outcome::Delivered), "{:?}", attempts[0]);
}

async fn connect(server: &str) -> MultiplexedConnection {
    let client = redis::Client::open(format!("redis://{server}")).unwrap();
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    client.get_multiplexed_async_connection_with_config(&config).await.unwrap()
}

async fn empty(connection: &MultiplexedConnection) {
    redis::cmd("DEL").arg(STREAM).exec_async(&mut connection.clone()).await.unwrap();
}

/// The most that can be had: the same entries in one transaction.
async fn append(connection: &MultiplexedConnection, batch: &[Delivery]) {
    let mut pipeline = redis::Pipeline::with_capacity(batch.len());
    pipeline.atomic();
    for delivery in batch {
        let event = &delivery.event;
        let id = event.id().to_string();
        pipeline.cmd("XADD").arg(STREAM).arg("*");
        for (name, value) in [
            ("specversion", "1.0"),
            ("id", &id),
            ("source", event.source()),
            ("type", event.event_type()),
            ("partitionkey", event.key().unwrap()),
            ("datacontenttype", "application/json"),
            ("eventrelay_id", &id),
        ] {
            pipeline.arg(name).arg(value);
        }
        pipeline.arg("data").arg(&event.data().unwrap().1[..]);
    }
    let ids: Vec<String> = pipeline.query_async(&mut connection.clone()).await.unwrap();
    assert_eq!(ids.len(), batch.len());
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}
