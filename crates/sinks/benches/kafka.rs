//! How fast the Kafka sink drains a backlog, beside a bare program with the same client library and the same messages.
//!
//! `cargo bench -p eventrelay-sinks --bench kafka [-- <events> [<brokers>]]`
//!
//! Without brokers, librdkafka's mock cluster is started, which takes its share of the processors; `scripts/services start kafka`
//! gives a real one (create the topic `bench` first). Both sides take turns, three times, so that they meet the same machine; the ratio
//! of the medians is what counts. The bare program is the most that can be had: it makes each message from the same parts, with the
//! same headers, and waits for all confirmations at the end.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use eventrelay_event::json::Limits;
use eventrelay_event::{Data, Event, StoredEvent, Tenant};
use eventrelay_sinks::egress::AddressPolicy;
use eventrelay_sinks::{Delivery, Environment, Outcome, Owner, Purpose, Sink, build};
use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer};
use serde_json::json;

const TOPIC: &str = "bench";
const BATCH: usize = 1000;
/// Calls of the sink at once, as a dispatcher makes them.
const CALLS: usize = 4;
const ROUNDS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(300);

fn main() {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let events = arguments.first().and_then(|it| it.parse().ok()).unwrap_or(300_000);
    let mock = arguments.get(1).is_none().then(|| {
        let mock = MockCluster::new(1).unwrap();
        mock.create_topic(TOPIC, 3, 1).unwrap();
        mock
    });
    let brokers = mock.as_ref().map_or_else(|| arguments[1].clone(), MockCluster::bootstrap_servers);
    let batch: Arc<[Delivery]> = (0..BATCH as u64).map(delivery).collect();

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let sink = sink(&brokers);
    let (mut bare_rates, mut sink_rates) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        bare_rates.push(rate(events, || bare(&brokers, &batch, events)));
        sink_rates.push(rate(events, || runtime.block_on(drain(&sink, &batch, events))));
    }
    runtime.block_on(sink.close());
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

fn sink(brokers: &str) -> Arc<dyn Sink> {
    let environment = Environment { addresses: AddressPolicy::private_allowed(), ..Environment::default() };
    let owner = Owner { tenant: "default".to_owned(), subscription: "bench".to_owned(), log_id: [0; 16] };
    let settings = json!({"brokers": brokers.split(',').collect::<Vec<_>>(), "topic": TOPIC});
    build("kafka", &settings, &owner, &environment).unwrap()
}

async fn drain(sink: &Arc<dyn Sink>, batch: &Arc<[Delivery]>, events: usize) {
    let left = Arc::new(AtomicUsize::new(events / BATCH));
    let calls: Vec<_> = (0..CALLS)
        .map(|_| {
            let (sink, batch, left) = (Arc::clone(sink), Arc::clone(batch), Arc::clone(&left));
            tokio::spawn(async move {
                while left
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
                    .is_ok()
                {
                    let attempts = sink.deliver(&batch).await;
                    assert!(attempts.iter().all(|it| it.outcome == Outcome::Delivered), "{:?}", attempts[0]);
                }
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
}

#[derive(Default)]
struct Confirmations(AtomicUsize);

impl ClientContext for Confirmations {}

impl ProducerContext for Confirmations {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        assert!(result.is_ok());
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn bare(brokers: &str, batch: &[Delivery], events: usize) {
    let producer: ThreadedProducer<Confirmations> = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("linger.ms", "1")
        .set("partitioner", "murmur2_random")
        .set("queue.buffering.max.messages", "100000")
        .create_with_context(Confirmations::default())
        .unwrap();
    let payload = data();
    for _ in 0..events / BATCH {
        for delivery in batch {
            let event = &delivery.event;
            let id = event.id().to_string();
            let mut headers = OwnedHeaders::new_with_capacity(16);
            for (key, value) in [
                ("eventrelay_id", &*id),
                ("ce_specversion", "1.0"),
                ("ce_id", &id),
                ("ce_source", event.source()),
                ("ce_type", event.event_type()),
                ("ce_partitionkey", event.key().unwrap()),
                ("content-type", "application/json"),
            ] {
                headers = headers.insert(Header { key, value: Some(value) });
            }
            let mut record =
                BaseRecord::to(TOPIC).key(event.key().unwrap()).payload(&payload[..]).headers(headers);
            while let Err((_full, again)) = producer.send(record) {
                record = again;
                std::thread::yield_now();
            }
        }
    }
    producer.flush(PATIENCE).unwrap();
    assert_eq!(producer.context().0.load(Ordering::Relaxed), events / BATCH * BATCH);
}

fn rate(events: usize, work: impl FnOnce()) -> f64 {
    let clock = Instant::now();
    work();
    events as f64 / clock.elapsed().as_secs_f64()
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}
