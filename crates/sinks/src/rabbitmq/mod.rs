//! Publishes events to RabbitMQ (AMQP 0-9-1), and waits for the broker's confirm of each.
//!
//! Messages are persistent, so a confirm says that a durable queue has the message on its disk, or a quorum queue on those
//! of most of its members. A batch is published as a whole before its first confirm is waited for.
//!
//! What comes of an event:
//!
//! | what happened | outcome |
//! |---|---|
//! | the broker confirmed it | delivered |
//! | the broker returned it: no queue is bound for it (`mandatory`) | reject |
//! | it lacks a field of the exchange or routing key, or does not fit into AMQP (`message.rs`) | reject |
//! | it is larger than the broker takes, or otherwise not what it takes (311, 406, 501, 502) | reject |
//! | the exchange does not exist, is locked or not ours to write to (403, 404, 405) | retry |
//! | the routing key is not ours to write to (403 about a topic) | retry |
//! | the broker answered with a negative confirm: a queue is full or failed | retry |
//! | the broker blocks publishers: it is low on memory or disk | retry |
//! | no connection, a lost one, no confirm in time | retry |
//!
//! An exchange that is missing is waited for, and an unroutable event is not: whoever makes the exchange wants the events,
//! but of an exchange that is there and sends an event nowhere it can only be said that nobody wants it.
//!
//! One event of a batch may fail while those behind it are queued, so a subscription with `order = "strict"` gives them
//! one at a time.
//!
//! lapin keeps one thread for the sink's one connection; batches share it, each on a channel of its own.

mod check;
mod connection;
mod message;
mod outcome;
mod publish;
mod settings;
mod sockets;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};

pub use settings::{AttributePrefix, KIND, Settings};

use self::connection::{Connection, Dialler};
use self::message::{Message, MessageTemplate};
use self::publish::Publisher;
use crate::connect_failure::ConnectFailure;
use crate::egress::{Protocols, Scheme, Servers};
use crate::shared_connection::SharedConnection;
use crate::{
    Attempt, BatchLimit, BoxFuture, CheckError, Delivery, Environment, Outcome, Owner, Sink, SinkError,
};

const SCHEMES: &[Scheme] =
    &[Scheme { name: "amqp", port: 5672, tls: false }, Scheme { name: "amqps", port: 5671, tls: true }];
/// How long a connection may take to say goodbye.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// An exchange of RabbitMQ.
pub struct RabbitmqSink {
    template: MessageTemplate,
    dialler: Dialler,
    connection: SharedConnection<Connection, ConnectFailure>,
    channels: Semaphore,
    mandatory: bool,
    limit: BatchLimit,
    timeout: Duration,
}

impl RabbitmqSink {
    /// Makes the sink. Reads the files that the settings name; connects to nothing yet.
    ///
    /// # Errors
    /// Names the field that is wrong. No error shows a secret.
    pub fn new(settings: &Settings, owner: &Owner, environment: &Environment) -> Result<Self, SinkError> {
        settings.check()?;
        Ok(Self {
            template: MessageTemplate::new(settings)?,
            dialler: dialler(settings, owner, environment)?,
            connection: SharedConnection::new(),
            channels: Semaphore::new(usize::from(settings.max_channels)),
            mandatory: settings.mandatory,
            limit: BatchLimit { events: settings.batch_events, bytes: settings.batch_bytes },
            timeout: Duration::from_millis(settings.timeout_ms),
        })
    }

    async fn connection(&self) -> Result<Arc<Connection>, ConnectFailure> {
        self.connection.get(Connection::is_usable, async || self.dialler.connect().await).await
    }

    async fn publish(&self, batch: &[Delivery]) -> Vec<Outcome> {
        let deadline = Instant::now() + self.timeout;
        let all = |why: String| vec![outcome::retry(why); batch.len()];
        let Ok(Ok(_permit)) = timeout_at(deadline, self.channels.acquire()).await else {
            return all("too many batches wait for their confirms".to_owned());
        };
        let connection = match self.dialler.connection_until(&self.connection, deadline).await {
            Ok(connection) => connection,
            Err(why) => return all(why),
        };
        let (messages, mut outcomes) = self.messages(batch, connection.frame_bytes());
        drop(connection);
        let mut publisher = Publisher {
            shared: &self.connection,
            dialler: &self.dialler,
            messages: &messages,
            outcomes: &mut outcomes,
            mandatory: self.mandatory,
            deadline,
        };
        let mut unpublished = String::new();
        for part in by_exchange(&messages) {
            if let Err(why) = publisher.publish(part).await {
                unpublished = why;
                break;
            }
        }
        outcomes
            .into_iter()
            .map(|outcome| outcome.unwrap_or_else(|| outcome::retry(unpublished.clone())))
            .collect()
    }

    /// The messages of a batch, and the outcomes of those that are none.
    fn messages(
        &self,
        batch: &[Delivery],
        frame_bytes: usize,
    ) -> (Vec<Option<Message>>, Vec<Option<Outcome>>) {
        let messages =
            batch.iter().map(|delivery| match self.template.message(&delivery.event, frame_bytes) {
                Ok(message) => (Some(message), None),
                Err(why) => (None, Some(Outcome::Reject { why })),
            });
        messages.unzip()
    }
}

/// The places of the messages of a batch, those to one exchange together, in their order.
fn by_exchange(messages: &[Option<Message>]) -> impl Iterator<Item = Vec<usize>> {
    let mut parts: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (place, message) in messages.iter().enumerate() {
        if let Some(message) = message {
            parts.entry(message.exchange.as_str()).or_default().push(place);
        }
    }
    parts.into_values()
}

fn dialler(settings: &Settings, owner: &Owner, environment: &Environment) -> Result<Dialler, SinkError> {
    let servers = Servers::parse(KIND, &settings.servers, SCHEMES, settings.tls.fields(), environment)?;
    let target = settings.servers.join(", ");
    let tls = match servers.tls {
        true => Some(settings.tls.client_tls(KIND, Protocols::None, &target, environment)?),
        false => None,
    };
    let connect_timeout = Duration::from_millis(settings.connect_timeout_ms);
    Ok(Dialler {
        servers: servers.connectors(tls.as_ref(), connect_timeout, environment)?,
        vhost: settings.vhost.clone(),
        user: settings.user.clone(),
        password: settings.read_password(environment)?,
        heartbeat_seconds: settings.heartbeat_seconds,
        connect_timeout,
        max_channels: settings.max_channels,
        name: format!("eventrelay {}/{}", owner.tenant, owner.subscription),
    })
}

impl Sink for RabbitmqSink {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn batch_limit(&self) -> BatchLimit {
        self.limit
    }

    fn deliver<'a>(&'a self, batch: &'a [Delivery]) -> BoxFuture<'a, Vec<Attempt>> {
        Box::pin(Attempt::of_call(self.publish(batch)))
    }

    fn check(&self) -> BoxFuture<'_, Result<(), CheckError>> {
        Box::pin(async move {
            let connection = self.connection().await?;
            let template = &self.template;
            check::check(&connection, template.fixed_exchange(), template.fixed_routing_key(), self.timeout)
                .await
        })
    }

    fn keeps_order_within_batch(&self) -> bool {
        false
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            let Some(connection) = self.connection.take() else { return };
            match timeout(CLOSE_TIMEOUT, connection.close()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::debug!(%error, "a RabbitMQ connection was gone before it was closed");
                }
                Err(_elapsed) => tracing::debug!("a RabbitMQ connection did not close in time"),
            }
        })
    }
}

/// Shows where it delivers to, as far as that is no secret.
impl std::fmt::Debug for RabbitmqSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RabbitmqSink({})", self.dialler.target())
    }
}
