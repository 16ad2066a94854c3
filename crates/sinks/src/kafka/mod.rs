//! Produces events to Kafka topics, by librdkafka's idempotent producer with `acks=all`.
//!
//! | file | |
//! |---|---|
//! | `message.rs` | an event as a message: CloudEvents' Kafka binding, topics, keys, headers |
//! | `producer.rs`, `call.rs` | librdkafka, and what it reports of each message |
//! | `outcome.rs` | what a report means for the event: the table of retries and rejections |
//! | `gate/` | all that librdkafka connects to: passes its connections on to the brokers, judged by [`crate::egress`] |
//! | `broker.rs`, `login.rs`, `scram.rs` | connections to brokers: address, TLS, SASL |
//! | `check.rs` | whether deliveries would get through |
//!
//! An event is delivered when all replicas in sync have confirmed it. Each event of a batch has an outcome of its own; what may
//! have been refused for a neighbour in its request is sent again in a request of its own (by a second producer, made when it is
//! first needed).
//!
//! *Order.* Messages with one key go to one partition, and keep their order there through all retries within the producer. A batch
//! is sent as a whole, so after one of its events failed, others behind it may be delivered: with `order = "by_key"` no
//! two events of a batch have one key; with `"strict"` a batch has one event. A call that its caller drops leaves its messages with
//! the producer, where they are confirmed or given up in front of those of the next attempt. When a producer fails for
//! good, its messages are repeated by another one: what a broker had received and not yet written by then may appear once
//! more, between later messages.
//!
//! *Bounds.* What is with librdkafka has at most about `queue_bytes`; a call waits for room up to a third of `timeout_ms`. What is not
//! confirmed a second before two thirds more have passed is given up, within `timeout_ms` altogether.

mod broker;
mod call;
mod check;
mod gate;
mod login;
mod message;
mod metadata;
mod outcome;
mod producer;
mod producers;
mod scram;
mod settings;
mod wire;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode as Code;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

pub use login::Mechanism;
pub use settings::{Compression, Format, KIND, Partitioner, Sasl, Settings, UnknownTopic};

use self::broker::{BrokerAddress, Dialler};
use self::call::{Call, Ticket};
use self::check::Check;
use self::login::Credentials;
use self::message::MessageTemplate;
use self::outcome::{Judge, Verdict};
use self::producer::{Producer, Sharing};
use self::producers::Producers;
use crate::egress::Protocols;
use crate::settings::refused;
use crate::{Attempt, BatchLimit, BoxFuture, CheckError, Delivery, Environment, Outcome, Sink, SinkError};

/// What librdkafka needs for a message beside its bytes, about.
const MESSAGE_OVERHEAD_BYTES: usize = 1024;

/// How many messages are queued before other tasks have their turn.
const MESSAGES_PER_TURN: usize = 64;

/// How much later than it should librdkafka may give a message up: it looks once a second.
const REPORT_DELAY: Duration = Duration::from_secs(1);

/// A Kafka sink.
pub struct KafkaSink {
    dialler: Arc<Dialler>,
    brokers: Vec<BrokerAddress>,
    template: MessageTemplate,
    judge: Judge,
    producers: Producers,
    creates_topics: bool,
    limit: BatchLimit,
    /// How many bytes may be with the producers, and how many of these are free.
    room_bytes: u32,
    room: Arc<Semaphore>,
    timeout: Duration,
}

impl KafkaSink {
    /// Makes the sink. Reads the files that the settings name; connects to nothing and starts nothing yet.
    ///
    /// # Errors
    /// Names the field that is wrong. No error shows a secret.
    pub fn new(settings: Settings, environment: &Environment) -> Result<Self, SinkError> {
        settings.check()?;
        let template = MessageTemplate::new(&settings)?;
        let brokers = brokers(&settings, environment)?;
        let shown = settings.brokers.join(", ");
        let tls = match &settings.tls {
            Some(files) => Some(files.client_tls(KIND, Protocols::None, &shown, environment)?),
            None => None,
        };
        let credentials = match &settings.sasl {
            Some(sasl) => {
                if tls.is_none() && sasl.mechanism == Mechanism::Plain {
                    let message = "PLAIN without TLS: anyone on the way can read the password";
                    tracing::warn!(brokers = shown, kind = KIND, message);
                }
                let password = sasl.password(environment)?;
                Some(Credentials { mechanism: sasl.mechanism, user: sasl.user.clone(), password })
            }
            None => None,
        };
        let dialler = Arc::new(Dialler::new(
            environment.clone(),
            tls,
            credentials,
            settings.client_id.clone(),
            Duration::from_millis(settings.connect_timeout_ms),
        ));
        let timeout = Duration::from_millis(settings.timeout_ms);
        let give_up_after = timeout * 2 / 3 - REPORT_DELAY;
        let (unknown_topic, max_message_bytes) = (settings.unknown_topic, settings.max_message_bytes);
        let room_bytes = u32::try_from(settings.queue_bytes).unwrap_or(u32::MAX);
        Ok(Self {
            template,
            judge: Judge { unknown_topic, max_message_bytes, give_up_after },
            creates_topics: settings.auto_create_topics,
            limit: BatchLimit { events: settings.batch_events, bytes: settings.batch_bytes },
            room_bytes,
            room: Arc::new(Semaphore::new(settings.queue_bytes)),
            timeout,
            producers: Producers::new(
                Arc::new(settings),
                Arc::clone(&dialler),
                brokers.clone(),
                give_up_after,
            ),
            dialler,
            brokers,
        })
    }

    async fn deliver_batch(&self, batch: &[Delivery]) -> Vec<Outcome> {
        let deadline = Instant::now() + self.timeout;
        let Some(room) = self.wait_for_room(batch).await else {
            let limit = self.room_bytes;
            let why = format!("no room: {limit} bytes of earlier messages are not confirmed yet");
            return vec![Outcome::Retry { after: None, why }; batch.len()];
        };
        let all: Vec<usize> = (0..batch.len()).collect();
        let mut verdicts = self.send(batch, &all, Sharing::Batches, &room, deadline).await;
        let suspects: Vec<usize> =
            all.into_iter().filter(|&index| verdicts[index] == Verdict::SendAlone).collect();
        if !suspects.is_empty() {
            let alone = if deadline.duration_since(Instant::now()) < self.judge.give_up_after + REPORT_DELAY {
                let why = "a request that it shared was refused, and there was no time for one of its own";
                let retry = Outcome::Retry { after: None, why: why.to_owned() };
                vec![Verdict::Settled(retry); suspects.len()]
            } else {
                self.send(batch, &suspects, Sharing::Alone, &room, deadline).await
            };
            for (index, verdict) in suspects.into_iter().zip(alone) {
                verdicts[index] = verdict;
            }
        }
        verdicts.into_iter().map(Verdict::into_outcome).collect()
    }

    /// Room for a batch among what the producers have; none when there is none in time.
    async fn wait_for_room(&self, batch: &[Delivery]) -> Option<Arc<OwnedSemaphorePermit>> {
        // JSON with base64 in it is a third longer.
        let event_bytes =
            |delivery: &Delivery| delivery.event.encoded().len() * 4 / 3 + MESSAGE_OVERHEAD_BYTES;
        let bytes: usize = batch.iter().map(event_bytes).sum();
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.room_bytes);
        let acquiring = Arc::clone(&self.room).acquire_many_owned(bytes);
        tokio::time::timeout(self.timeout / 3, acquiring).await.ok()?.ok().map(Arc::new)
    }

    /// Sends some events of a batch, and judges the reports.
    async fn send(
        &self,
        batch: &[Delivery],
        indexes: &[usize],
        sharing: Sharing,
        room: &Arc<OwnedSemaphorePermit>,
        deadline: Instant,
    ) -> Vec<Verdict> {
        let (call, tickets) = Call::new(indexes.len(), Arc::clone(room));
        let mut queued = Vec::with_capacity(indexes.len());
        // Kept until all is confirmed, for a producer that nobody has gives its messages up.
        let mut used: Vec<Arc<Producer>> = Vec::with_capacity(1);
        for (turn, (&index, ticket)) in indexes.iter().zip(tickets).enumerate() {
            if turn % MESSAGES_PER_TURN == MESSAGES_PER_TURN - 1 {
                tokio::task::yield_now().await;
            }
            let producer = match self.producers.get(sharing).await {
                Ok(producer) => producer,
                Err(error) => {
                    queued.push(Err(Outcome::Retry { after: None, why: error.to_string() }));
                    continue;
                }
            };
            queued.push(self.queue(&producer, &batch[index], ticket));
            if !used.last().is_some_and(|last| Arc::ptr_eq(last, &producer)) {
                used.push(producer);
            }
        }
        let reports = call.reports(deadline).await;
        let is_late = |report: &Option<_>| matches!(report, None | Some(Err(Code::MessageTimedOut)));
        if reports.iter().any(is_late) && self.producers.are_forgotten() {
            used.iter().for_each(|producer| producer.give_up());
        }
        drop(used);
        let was_alone = sharing == Sharing::Alone;
        let circumstances = || self.producers.circumstances();
        let judged = queued.into_iter().zip(reports).map(|(queued, report)| match queued {
            Ok(topic) => self.judge.verdict(report, &topic, was_alone, circumstances),
            Err(outcome) => Verdict::Settled(outcome),
        });
        judged.collect()
    }

    /// Queues an event; the topic that it goes to, or why there is nothing to queue.
    fn queue(
        &self,
        producer: &Producer,
        delivery: &Delivery,
        ticket: Ticket,
    ) -> Result<Cow<'_, str>, Outcome> {
        let reject = |why: String| Outcome::Reject { why };
        let topic = self.template.topic(&delivery.event).map_err(|error| reject(error.to_string()))?;
        let message = self.template.message(delivery, &topic).map_err(|error| reject(error.to_string()))?;
        if message.bytes > self.judge.max_message_bytes {
            return Err(self.judge.too_large(message.bytes));
        }
        if self.template.fixed_topic().is_none() {
            producer.note_topic(&topic);
        }
        producer.send(message, ticket);
        Ok(topic)
    }
}

impl Sink for KafkaSink {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn batch_limit(&self) -> BatchLimit {
        self.limit
    }

    fn keeps_order_within_batch(&self) -> bool {
        false
    }

    fn deliver<'a>(&'a self, batch: &'a [Delivery]) -> BoxFuture<'a, Vec<Attempt>> {
        Box::pin(Attempt::of_call(self.deliver_batch(batch)))
    }

    fn check(&self) -> BoxFuture<'_, Result<(), CheckError>> {
        Box::pin(async {
            let check = Check {
                dialler: &self.dialler,
                brokers: &self.brokers,
                topic: self.template.fixed_topic(),
                creates_topic: self.creates_topics,
            };
            check.run().await
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.producers.close())
    }
}

/// Shows where it delivers to.
impl std::fmt::Debug for KafkaSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("KafkaSink").field(&self.brokers).finish()
    }
}

/// The brokers of the settings, as far as they may be connected to.
fn brokers(settings: &Settings, environment: &Environment) -> Result<Vec<BrokerAddress>, SinkError> {
    let mut addresses = Vec::with_capacity(settings.brokers.len());
    for (index, text) in settings.brokers.iter().enumerate() {
        let refused = |why: String| refused(KIND, format!("brokers[{index}]"), why);
        let address = BrokerAddress::parse(text).map_err(|error| refused(error.to_string()))?;
        if !environment.allowed_ports.is_empty() && !environment.allowed_ports.contains(&address.port()) {
            return Err(refused(format!("port {} is not among the allowed ports", address.port())));
        }
        if let Some(ip) = address.ip() {
            let judged = environment.addresses.check(ip);
            judged.map_err(|why| refused(format!("{address} is {why}, which may not be connected to")))?;
        }
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Ok(addresses)
}
