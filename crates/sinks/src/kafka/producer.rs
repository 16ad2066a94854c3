//! librdkafka's producer: idempotent, so that brokers take no message twice and none before its predecessors.
//!
//! It numbers the messages of each partition. At most five requests of a partition are in flight, and a broker takes one only
//! when its numbers are the next; after a failure the rest is sent again in its order, or, where messages were given up in
//! between, under a new *epoch*, with which brokers refuse what is still on its way from the older one. So of one producer,
//! messages of a partition are never reordered: an attempt that its caller has given up is in front of the next attempt, or
//! gone.
//!
//! What it cannot make sure of any more ends a producer for good (a *fatal* error), and so does a broker that does not know it any
//! more, as one that came back without its data: librdkafka would try that for ever. Its messages all fail then, and the next
//! call makes another, which brokers take for another client.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DeliveryResult, ProducerContext, ThreadedProducer};

use super::call::Ticket;
use super::gate::Gate;
use super::message::Message;
use super::settings::{Partitioner, Settings};

/// The most topics that one producer is used for. librdkafka keeps something of each as long as it lives, and names
/// may come from event types that anyone invents.
const MAX_TOPICS: usize = 10_000;

/// How long librdkafka believes that a topic which it does not find is about to appear.
const TOPIC_PATIENCE: Duration = Duration::from_secs(1);

/// How many messages share a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sharing {
    /// As many as fit.
    Batches,
    /// Each has its own, so that what is refused is it and no neighbour.
    Alone,
}

/// A producer. When it is dropped, its messages are given up, and its threads end in the background.
pub(super) struct Producer {
    /// There until it is dropped.
    native: Option<ThreadedProducer<Context>>,
    is_dead: Arc<AtomicBool>,
    /// The topics that it was used for, where they are named by events.
    topics: Mutex<HashSet<Box<str>>>,
}

/// What librdkafka calls back.
struct Context {
    is_dead: Arc<AtomicBool>,
}

impl Producer {
    /// Makes a producer, which connects by itself when it has messages. Starts threads: not for an async task.
    pub(super) fn new(
        settings: &Settings,
        sharing: Sharing,
        gate: &Gate,
        give_up_after: Duration,
    ) -> KafkaResult<Self> {
        let is_dead = Arc::new(AtomicBool::new(false));
        let context = Context { is_dead: Arc::clone(&is_dead) };
        let native = configure(settings, sharing, gate, give_up_after).create_with_context(context)?;
        Ok(Self { native: Some(native), is_dead, topics: Mutex::new(HashSet::new()) })
    }

    /// Queues a message. The ticket is handed in when it is known what became of it.
    pub(super) fn send(&self, message: Message<'_>, ticket: Ticket) {
        let record = BaseRecord {
            topic: message.topic,
            partition: None,
            payload: message.value.as_deref(),
            key: message.key.map(str::as_bytes),
            timestamp: None,
            headers: Some(message.headers),
            delivery_opaque: Box::new(ticket),
        };
        // Without a producer the ticket is dropped with the record, which says so.
        if let Some(native) = &self.native
            && let Err((error, record)) = native.send(record)
        {
            let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::InvalidArgument);
            if ends_producer(code) {
                self.give_up();
            }
            record.delivery_opaque.hand_in(Err(code));
        }
    }

    /// Whether it can be used no more.
    pub(super) fn is_dead(&self) -> bool {
        self.is_dead.load(Ordering::Relaxed)
    }

    /// Uses it no more: the next call makes another.
    pub(super) fn give_up(&self) {
        self.is_dead.store(true, Ordering::Relaxed);
    }

    /// Notes a topic that an event names. With one too many the producer is to be replaced.
    pub(super) fn note_topic(&self, topic: &str) {
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        if topics.contains(topic) {
            return;
        }
        if topics.len() >= MAX_TOPICS {
            self.give_up();
        }
        topics.insert(topic.into());
    }

    /// Gives up its messages, and waits until its threads have ended: not for an async task.
    pub(super) fn end(mut self) {
        drop(self.native.take());
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        let Some(native) = self.native.take() else { return };
        match tokio::runtime::Handle::try_current() {
            // Nobody waits for it: what it still does is give up messages that nobody waits for.
            Ok(runtime) => drop(runtime.spawn_blocking(move || drop(native))),
            Err(_no_runtime) => drop(native),
        }
    }
}

/// Whether brokers take nothing more from a producer that has this error: it failed for good, or they do not know it any more,
/// or another one in its place.
pub(super) fn ends_producer(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::Fatal
            | RDKafkaErrorCode::UnknownProducerId
            | RDKafkaErrorCode::InvalidProducerIdMapping
            | RDKafkaErrorCode::InvalidProducerEpoch
            | RDKafkaErrorCode::OutOfOrderSequenceNumber
            | RDKafkaErrorCode::ProducerFenced
    )
}

fn configure(settings: &Settings, sharing: Sharing, gate: &Gate, give_up_after: Duration) -> ClientConfig {
    let connect = Duration::from_millis(settings.connect_timeout_ms);
    let millis = |duration: Duration| duration.as_millis().to_string();
    // A request lives as long as its first message at most; this is for the others.
    let request = give_up_after.max(Duration::from_secs(1));
    let batch = match sharing {
        Sharing::Batches => "10000",
        Sharing::Alone => "1",
    };
    let partitioner = match settings.partitioner {
        Partitioner::Murmur2 => "murmur2_random",
        Partitioner::Crc32 => "consistent_random",
    };
    let mut config = ClientConfig::new();
    config
        .set_log_level(RDKafkaLogLevel::Info)
        .set("bootstrap.servers", gate.bootstrap_servers())
        .set("client.id", gate.token())
        .set("security.protocol", "plaintext")
        .set("broker.address.family", "v4")
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("max.in.flight.requests.per.connection", "5")
        .set("message.timeout.ms", millis(give_up_after))
        .set("request.timeout.ms", millis(request))
        .set("socket.timeout.ms", millis(request))
        .set("linger.ms", settings.linger_ms.to_string())
        .set("batch.num.messages", batch)
        .set("batch.size", settings.max_message_bytes.to_string())
        .set("message.max.bytes", settings.max_message_bytes.to_string())
        // The room for messages is bounded before they come here; this never bites.
        .set("queue.buffering.max.messages", "0")
        .set("queue.buffering.max.kbytes", "2097151")
        .set("compression.type", settings.compression.name())
        .set("partitioner", partitioner)
        .set("allow.auto.create.topics", settings.auto_create_topics.to_string())
        .set("topic.metadata.propagation.max.ms", millis(TOPIC_PATIENCE))
        // The gate may take that long to connect and log in, and only then passes the first request on.
        .set("socket.connection.setup.timeout.ms", millis(connect + Duration::from_secs(2)))
        .set("api.version.request.timeout.ms", millis(connect + Duration::from_secs(1)))
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "1000")
        .set("retry.backoff.ms", "50")
        .set("retry.backoff.max.ms", "1000")
        .set("socket.nagle.disable", "true")
        .set("receive.message.max.bytes", (64 * 1024 * 1024).to_string())
        .set("enable.metrics.push", "false")
        .set("log.connection.close", "false");
    config
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        // It reports each broken connection as an error. What matters of that is told by the attempts.
        tracing::debug!(?level, facility, line, "librdkafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
            self.is_dead.store(true, Ordering::Relaxed);
            tracing::warn!(reason, "the Kafka producer cannot go on; another takes over");
        } else {
            tracing::debug!(%error, reason, "librdkafka");
        }
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = Box<Ticket>;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: Box<Ticket>) {
        let report = match result {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown)),
        };
        if report.is_err_and(ends_producer) {
            self.is_dead.store(true, Ordering::Relaxed);
        }
        ticket.hand_in(report);
    }
}
