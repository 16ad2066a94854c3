//! Kafka, by an idempotent producer with `acks=all`.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer};

use super::{BATCH, BATCHES_IN_FLIGHT, Target, data, once_ready};
use crate::components::{Component, services_folder};

pub(super) struct Kafka;

#[derive(Default)]
struct Confirmations(AtomicU64);

impl ClientContext for Confirmations {}

impl ProducerContext for Confirmations {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        assert!(result.is_ok());
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Target for Kafka {
    const NAME: &'static str = "kafka";

    async fn prepare(component: &Component) {
        let broker = format!("tcp://{}", component.address());
        for topic in ["bench", "bare"] {
            once_ready(async || {
                let mut tool = std::process::Command::new(services_folder().join("tansu/bin/tansu"));
                let created = tool.args(["topic", "create", topic, "--broker", &broker]).output().unwrap();
                if created.status.success() { Ok(()) } else { Err(format!("{created:?}")) }
            })
            .await;
        }
    }

    fn subscription(address: SocketAddr) -> String {
        format!(
            "max_in_flight = {BATCHES_IN_FLIGHT}\nbatch = {{ max_events = {BATCH} }}\n[subscriptions.sink]\nkind = \"kafka\"\n\
             brokers = [\"{address}\"]\ntopic = \"bench\"\n"
        )
    }

    async fn bare(address: SocketAddr, events: u64) {
        let producing = tokio::task::spawn_blocking(move || produce(address, events));
        producing.await.unwrap();
    }
}

fn produce(address: SocketAddr, events: u64) {
    let producer: ThreadedProducer<Confirmations> = ClientConfig::new()
        .set("bootstrap.servers", address.to_string())
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("linger.ms", "1")
        .set("queue.buffering.max.messages", (BATCH * BATCHES_IN_FLIGHT).to_string())
        .create_with_context(Confirmations::default())
        .unwrap();
    let payload = data();
    for event in 0..events {
        let id = format!("019c12f0-0000-7000-8000-{event:012x}");
        let mut headers = OwnedHeaders::new_with_capacity(8);
        for (key, value) in [
            ("eventrelay_id", &*id),
            ("ce_specversion", "1.0"),
            ("ce_id", &id),
            ("ce_source", "/shop"),
            ("ce_type", "order.created"),
            ("ce_time", "2026-01-31T12:00:00Z"),
            ("content-type", "application/json"),
        ] {
            headers = headers.insert(Header { key, value: Some(value) });
        }
        let mut record: BaseRecord<'_, (), str> =
            BaseRecord::to("bare").payload(payload.as_str()).headers(headers);
        while let Err((_full, again)) = producer.send(record) {
            record = again;
            std::thread::yield_now();
        }
    }
    producer.flush(Duration::from_secs(300)).unwrap();
    assert_eq!(producer.context().0.load(Ordering::Relaxed), events);
}
