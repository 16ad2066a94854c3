//! A connection to a broker, and its channels.
//!
//! A channel is lent to one batch at a time: confirms and returned messages belong to a channel, and only so do they
//! belong to a batch. It comes back when all of its messages are settled; otherwise it is closed.
//!
//! lapin's own recovery is off. A broken connection is replaced by the next call (`SharedConnection`).

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::{FutureExt as _, Stream, StreamExt as _};
use lapin::options::ConfirmSelectOptions;
use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};
use lapin::{Channel, ConnectionProperties, ErrorKind, Event};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::sockets::{AbortableStream, Handover, lapin_runtime};
use crate::Secret;
use crate::connect_failure::ConnectFailure;
use crate::egress::{Connector, Established};
use crate::error::chain;
use crate::shared_connection::SharedConnection;

/// The broker's own default, and the most that lapin's buffers are made for.
const FRAME_BYTES: u32 = 131_072;
const REPLY_SUCCESS: u16 = 200;
/// AMQP's numbers for what a login may come to.
const ACCESS_REFUSED: u16 = 403;
const NOT_ALLOWED: u16 = 530;

/// Makes connections.
pub(super) struct Dialler {
    /// One for each server.
    pub(super) servers: Vec<Connector>,
    pub(super) vhost: String,
    pub(super) user: String,
    pub(super) password: Secret,
    pub(super) heartbeat_seconds: u16,
    pub(super) connect_timeout: Duration,
    /// How many channels a connection may have.
    pub(super) max_channels: u16,
    /// What the broker calls the connection.
    pub(super) name: String,
}

/// A connection. Dropping the last reference to it ends it, whatever state it is in.
pub(super) struct Connection {
    lapin: lapin::Connection,
    idle: Mutex<Vec<Channel>>,
    events: Mutex<Events>,
    // Dropped last.
    _abort: DropGuard,
}

struct Events {
    stream: Pin<Box<dyn Stream<Item = Event> + Send>>,
    /// Why the broker blocks us, if it does.
    blocked: Option<String>,
}

impl Dialler {
    /// All brokers, for people.
    pub(super) fn target(&self) -> String {
        let names: Vec<_> = self.servers.iter().map(|server| server.endpoint().to_string()).collect();
        names.join(", ")
    }

    /// Connects to the first broker that takes us. Safe to drop at any await.
    pub(super) async fn connect(&self) -> Result<Connection, ConnectFailure> {
        let mut failure = None;
        for server in &self.servers {
            let deadline = Instant::now() + self.connect_timeout;
            match timeout_at(deadline, self.connect_to(server)).await {
                Ok(Ok(connection)) => return Ok(connection),
                // What one broker says of our login, the others would say too.
                Ok(Err(refused @ (ConnectFailure::Refused(_) | ConnectFailure::Missing(_)))) => {
                    return Err(refused);
                }
                Ok(Err(unreachable)) => failure = Some(unreachable),
                Err(_elapsed) => {
                    let limit = self.connect_timeout.as_millis();
                    let why = format!("{} took longer than {limit} ms to let us in", server.endpoint());
                    failure = Some(ConnectFailure::Unreachable(why));
                }
            }
        }
        Err(failure.unwrap_or_else(|| ConnectFailure::Unreachable("there is no server".to_owned())))
    }

    /// The connection that is there, or a new one. The error is for people.
    pub(super) async fn connection_until(
        &self,
        shared: &SharedConnection<Connection, ConnectFailure>,
        deadline: Instant,
    ) -> Result<Arc<Connection>, String> {
        let connecting = shared.get(Connection::is_usable, async || self.connect().await);
        match timeout_at(deadline, connecting).await {
            Ok(connected) => connected.map_err(|failure| failure.to_string()),
            Err(_elapsed) => Err(format!("{} could not be connected to in time", self.target())),
        }
    }

    async fn connect_to(&self, server: &Connector) -> Result<Connection, ConnectFailure> {
        let unreachable = |why: String| ConnectFailure::Unreachable(why);
        let Established { stream, .. } =
            server.connect().await.map_err(|error| unreachable(error.to_string()))?;
        let token = CancellationToken::new();
        // From here on lapin has a thread, which ends with the stream.
        let abort = token.clone().drop_guard();
        let handover = Handover::new(AbortableStream::new(stream, token));
        let connected = lapin::Connection::connector(
            self.uri(),
            lapin_runtime(),
            async move |_uri, _runtime| handover.take(),
            self.properties(),
        );
        let lapin = connected.await.map_err(|error| self.failure(server, &error))?;
        let events = Events { stream: Box::pin(lapin.events_listener()), blocked: None };
        Ok(Connection { lapin, idle: Mutex::default(), events: Mutex::new(events), _abort: abort })
    }

    /// What lapin takes from a URI. Nothing connects to it.
    fn uri(&self) -> AMQPUri {
        AMQPUri {
            scheme: AMQPScheme::AMQP,
            authority: AMQPAuthority {
                userinfo: AMQPUserInfo {
                    username: self.user.clone(),
                    password: self.password.expose().to_owned(),
                },
                host: String::new(),
                port: 0,
            },
            vhost: self.vhost.clone(),
            query: AMQPQueryString {
                frame_max: Some(FRAME_BYTES),
                // Some for checks, and for those that are not closed yet.
                channel_max: Some(self.max_channels.saturating_mul(2).saturating_add(8)),
                heartbeat: Some(self.heartbeat_seconds),
                ..AMQPQueryString::default()
            },
        }
    }

    fn properties(&self) -> ConnectionProperties {
        ConnectionProperties::default()
            .with_connection_name(self.name.clone().into())
            .with_client_property("product".into(), "EventRelay".into())
            .with_client_property("version".into(), env!("CARGO_PKG_VERSION").into())
    }

    fn failure(&self, server: &Connector, error: &lapin::Error) -> ConnectFailure {
        let endpoint = server.endpoint();
        let ErrorKind::ProtocolError(answer) = error.kind() else {
            return ConnectFailure::Unreachable(format!("{endpoint} did not let us in: {}", chain(error)));
        };
        let words = answer.get_message().as_str();
        match answer.get_id() {
            ACCESS_REFUSED => ConnectFailure::Refused(format!(
                "{endpoint} does not know the user {:?} with this password",
                self.user
            )),
            NOT_ALLOWED if words.contains("not found") => {
                ConnectFailure::Missing(format!("{endpoint} has no virtual host {:?}", self.vhost))
            }
            NOT_ALLOWED => ConnectFailure::Refused(format!("{endpoint}: {words}")),
            _ => ConnectFailure::Unreachable(format!("{endpoint} did not let us in: {words}")),
        }
    }
}

impl Connection {
    /// Whether it is worth a new call.
    pub(super) fn is_usable(&self) -> bool {
        self.lapin.status().connected()
    }

    /// Why the broker takes no messages at the moment, if it says that it takes none.
    pub(super) fn blocked(&self) -> Option<String> {
        if !self.lapin.status().blocked() {
            return None;
        }
        let mut events = lock(&self.events);
        while let Some(Some(event)) = events.stream.next().now_or_never() {
            if let Event::ConnectionBlocked(reason) = event {
                events.blocked = Some(reason);
            }
        }
        let reason = events.blocked.as_deref().unwrap_or("it does not say why");
        Some(format!("the broker has blocked those who publish: {reason}"))
    }

    /// The most bytes of one frame.
    pub(super) fn frame_bytes(&self) -> usize {
        usize::try_from(self.lapin.configuration().frame_max()).unwrap_or(usize::MAX)
    }

    /// A channel that confirms what is published over it.
    pub(super) async fn channel(&self) -> lapin::Result<Channel> {
        while let Some(channel) = self.take_idle() {
            if channel.status().connected() {
                return Ok(channel);
            }
        }
        let channel = self.lapin.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(channel)
    }

    /// A channel for something else.
    pub(super) async fn plain_channel(&self) -> lapin::Result<Channel> {
        self.lapin.create_channel().await
    }

    /// Takes back a channel all of whose messages are settled.
    pub(super) fn give_back(&self, channel: Channel) {
        if channel.status().connected() {
            lock(&self.idle).push(channel);
        }
    }

    /// Says goodbye.
    pub(super) async fn close(&self) -> lapin::Result<()> {
        self.lapin.close(REPLY_SUCCESS, "".into()).await
    }

    fn take_idle(&self) -> Option<Channel> {
        lock(&self.idle).pop()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing is left half done under these locks, so a panic elsewhere does not spoil them.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
