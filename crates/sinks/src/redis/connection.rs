//! A connection to one server.
//!
//! The client library is given a stream that the egress guard has made, and speaks over it; it resolves, dials and reconnects
//! nothing. A request is written as a whole, so several batches can share a connection without mixing their transactions.
//! Every request has a deadline of ours, and the library's own is off: it would forget a request and go on, and nobody would know
//! what the connection is still about to do.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, ErrorKind, Pipeline, RedisError, Value};
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use super::login::Login;
use super::reply::{self, ServerWord};
use super::reply_limit::{LimitedStream, ReplyAllowance};
use crate::connect_failure::ConnectFailure;
use crate::egress::{ConnectError, Connector};
use crate::error::chain;

/// What Redis allows of one argument where it does not say, and at the least whatever it says.
const DEFAULT_ARGUMENT_BYTES: u64 = 512 * 1024 * 1024;
pub(super) const LEAST_ARGUMENT_BYTES: u64 = 1024 * 1024;
/// What each answer may have: an id, a status, an error with its words.
const REPLY_BYTES: u64 = 1024;
/// The answer to a question by itself; the slots of a cluster are the longest.
const ONE_REPLY_BYTES: u64 = 4 * 1024 * 1024;

/// A request that was not answered. Whether it was carried out is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unanswered(pub(super) String);

/// A connection that is logged in. Dropping the last reference to it ends it.
pub(super) struct Connection {
    client: MultiplexedConnection,
    driver: AbortOnDropHandle<()>,
    allowance: ReplyAllowance,
    argument_bytes: OnceCell<u64>,
}

impl Connection {
    /// Connects and logs in, within `limit`. Safe to drop at any await.
    pub(super) async fn open(
        connector: &Connector,
        login: &Login,
        database: u16,
        name: &str,
        limit: Duration,
    ) -> Result<Self, ConnectFailure> {
        let endpoint = connector.endpoint();
        timeout(limit, Self::open_unlimited(connector, login, database, name)).await.unwrap_or_else(
            |_elapsed| {
                let limit = limit.as_millis();
                Err(ConnectFailure::Unreachable(format!(
                    "{endpoint} took longer than {limit} ms to let us in"
                )))
            },
        )
    }

    async fn open_unlimited(
        connector: &Connector,
        login: &Login,
        database: u16,
        name: &str,
    ) -> Result<Self, ConnectFailure> {
        let endpoint = connector.endpoint();
        let info = login
            .connection_info(database)
            .await
            .map_err(|why| ConnectFailure::Refused(format!("{endpoint} cannot be logged in to: {why}")))?;
        let established = connector.connect().await.map_err(|error| match error {
            ConnectError::ForbiddenAddress { .. } | ConnectError::ForbiddenName { .. } => {
                ConnectFailure::Refused(error.to_string())
            }
            error => ConnectFailure::Unreachable(error.to_string()),
        })?;
        let allowance = ReplyAllowance::new();
        let stream = LimitedStream::new(established.stream, allowance.clone());
        let config = AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None);
        let connected = MultiplexedConnection::new_with_config(&info, stream, config).await;
        let (client, driver) = connected.map_err(|error| match error.kind() {
            ErrorKind::AuthenticationFailed => ConnectFailure::Refused(format!(
                "{endpoint} does not know the user {:?} with this password",
                login.user()
            )),
            ErrorKind::Server(_) | ErrorKind::Extension => {
                ConnectFailure::Refused(format!("{endpoint} did not let us in: {}", chain(&error)))
            }
            _ => ConnectFailure::Unreachable(format!("{endpoint} did not let us in: {}", chain(&error))),
        })?;
        let driver = AbortOnDropHandle::new(tokio::spawn(driver));
        let connection = Self { client, driver, allowance, argument_bytes: OnceCell::new() };
        match connection.introduce(name).await {
            Ok(None) => Ok(connection),
            Ok(Some(word)) => Err(ConnectFailure::Refused(format!("{endpoint} did not let us in: {word}"))),
            Err(error) => Err(ConnectFailure::Unreachable(format!("{endpoint} did not let us in: {error}"))),
        }
    }

    /// Tells the server what to call the connection. One that does not want to know is as good, but one that does not know
    /// who we are is not: it would close the connection at the first longer command, without a word.
    async fn introduce(&self, name: &str) -> Result<Option<ServerWord>, Unanswered> {
        let mut command = redis::cmd("CLIENT");
        command.arg("SETNAME").arg(name);
        let mut pipeline = Pipeline::with_capacity(1);
        pipeline.add_command(command);
        let answer = self.send(&pipeline, 0).await?.pop();
        Ok(match answer {
            Some(Value::ServerError(error)) => {
                Some(ServerWord::of(&error)).filter(|word| word.code() == "NOAUTH")
            }
            _ => None,
        })
    }

    /// Whether it is worth a new call.
    pub(super) fn is_usable(&self) -> bool {
        !self.driver.is_finished()
    }

    /// Sends commands, and gives the answer to each. `more_bytes` is what the answers may have beyond some hundred bytes each.
    pub(super) async fn ask(
        &self,
        pipeline: &Pipeline,
        more_bytes: u64,
        deadline: Instant,
    ) -> Result<Vec<Value>, Unanswered> {
        timeout_at(deadline, self.send(pipeline, more_bytes))
            .await
            .unwrap_or_else(|_elapsed| Err(Unanswered("Redis did not answer in time".to_owned())))
    }

    /// Sends one command.
    pub(super) async fn ask_one(
        &self,
        command: Cmd,
        deadline: Instant,
    ) -> Result<Result<Value, ServerWord>, Unanswered> {
        let mut pipeline = Pipeline::with_capacity(1);
        pipeline.add_command(command);
        let answer = self.ask(&pipeline, ONE_REPLY_BYTES, deadline).await?.into_iter().next();
        Ok(match answer {
            Some(Value::ServerError(error)) => Err(ServerWord::of(&error)),
            Some(value) => Ok(value),
            None => Ok(Value::Nil),
        })
    }

    async fn send(&self, pipeline: &Pipeline, more_bytes: u64) -> Result<Vec<Value>, Unanswered> {
        let count = pipeline.len();
        self.allowance.grant(more_bytes.saturating_add(REPLY_BYTES.saturating_mul(count as u64)));
        let mut client = self.client.clone();
        let answers = client.send_packed_commands(pipeline, 0, count).await;
        let answers = answers.map_err(|error| Unanswered(lost(&error)))?;
        if answers.len() == count {
            Ok(answers)
        } else {
            Err(Unanswered("Redis answered with something else than was asked".to_owned()))
        }
    }

    /// The most bytes that one argument may have. A server that may not be asked has the usual limit.
    pub(super) async fn argument_bytes(&self, deadline: Instant) -> Result<u64, Unanswered> {
        let asked = self.argument_bytes.get_or_try_init(async || {
            let mut command = redis::cmd("CONFIG");
            command.arg("GET").arg("proto-max-bulk-len");
            let answer = self.ask_one(command, deadline).await?.unwrap_or(Value::Nil);
            let limit = reply::items(&answer).get(1).and_then(reply::text);
            Ok(limit.and_then(|limit| limit.parse().ok()).unwrap_or(DEFAULT_ARGUMENT_BYTES))
        });
        asked.await.copied()
    }
}

fn lost(error: &RedisError) -> String {
    format!("the connection to Redis broke: {}", chain(error))
}
