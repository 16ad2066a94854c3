//! Appends events to a PostgreSQL table, many rows a statement.
//!
//! - `columns.rs` says what each column is filled from, `table.rs` how rows are written, `failure.rs` what the server's
//!   errors mean for the events.
//! - A statement is a transaction: all of a batch is there, or nothing. A batch that is refused is halved until the poison
//!   event is alone; that one is rejected, and its neighbours are inserted.
//! - An answer means that the transaction is durable: `synchronous_commit` is on, whatever the role's default.
//! - When no answer comes, the outcome is unknown and the events are tried again: at least once. With `exactly_once` the
//!   cursor lies in the same database and moves in the same transaction; see `exactly_once/mod.rs`.
//! - Connections are made by the egress guard, on the socket whose address it has judged; TLS is ours too.

mod columns;
mod connection;
mod dsn;
mod exactly_once;
mod failure;
mod identifier;
mod pool;
mod rows;
mod settings;
mod table;

use std::time::Duration;

use tokio::time::Instant;

pub use dsn::{DsnError, settings_of_dsn};
pub use settings::{KIND, Settings};

use self::connection::Dialler;
use self::exactly_once::ExactlyOnce;
use self::failure::Failure;
use self::identifier::TableName;
use self::pool::Pool;
use self::table::Table;
use crate::bisect::Bisection;
use crate::{
    Attempt, BatchLimit, BoxFuture, CheckError, Delivery, Environment, Guarantee, Outcome, Owner, Sink,
    SinkError, settings as fields,
};

/// A PostgreSQL table.
pub struct PostgresSink {
    target: Target,
    writer: Writer,
    limit: BatchLimit,
    timeout: Duration,
}

/// Where rows go.
struct Target {
    dialler: Dialler,
    table: Table,
    /// The table's name without its schema, as the server's errors have it.
    bare_table: String,
}

enum Writer {
    AtLeastOnce(Pool),
    ExactlyOnce(Box<ExactlyOnce>),
}

impl PostgresSink {
    /// Makes the sink. Reads the files that the settings name; connects to nothing yet.
    ///
    /// # Errors
    /// Names the field that is wrong or out of its limits. Shows no secret.
    pub fn new(settings: &Settings, owner: &Owner, environment: &Environment) -> Result<Self, SinkError> {
        settings.check()?;
        let name = TableName::parse(&settings.table).map_err(|why| fields::refused(KIND, "table", why))?;
        let columns = columns::columns(&settings.columns, &settings.on_conflict)?;
        let writer = if settings.exactly_once {
            Writer::ExactlyOnce(Box::new(ExactlyOnce::new(&name, owner)))
        } else {
            Writer::AtLeastOnce(Pool::new(settings.max_connections))
        };
        Ok(Self {
            target: Target {
                dialler: Dialler::new(settings, environment)?,
                bare_table: name.table().as_str().to_owned(),
                table: Table { name, columns, create: settings.create_table },
            },
            writer,
            limit: BatchLimit { events: settings.batch_events, bytes: settings.batch_bytes },
            timeout: Duration::from_millis(settings.timeout_ms),
        })
    }

    async fn outcomes(&self, batch: &[Delivery], deadline: Instant) -> Vec<Outcome> {
        match &self.writer {
            Writer::ExactlyOnce(writer) => writer.deliver(&self.target, batch, deadline).await,
            Writer::AtLeastOnce(pool) => match pool.lease(&self.target, deadline).await {
                Ok(mut lease) => {
                    let mut parts = Bisection::new(batch);
                    while let Some(part) = parts.next() {
                        parts.answer(lease.insert(&self.target, part, deadline).await);
                    }
                    parts.into_outcomes()
                }
                Err(failure) => vec![Outcome::Retry { after: None, why: failure.why() }; batch.len()],
            },
        }
    }

    async fn look(&self, deadline: Instant) -> Result<(), Failure> {
        match &self.writer {
            Writer::ExactlyOnce(writer) => writer.rehearse(&self.target, deadline).await,
            Writer::AtLeastOnce(pool) => {
                pool.lease(&self.target, deadline).await?.rehearse(&self.target, deadline).await
            }
        }
    }
}

impl Target {
    fn judged(&self, failure: Failure) -> Failure {
        failure.judged_with(&self.bare_table, |column| self.table.fills(column))
    }
}

impl Sink for PostgresSink {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn batch_limit(&self) -> BatchLimit {
        self.limit
    }

    fn deliver<'a>(&'a self, batch: &'a [Delivery]) -> BoxFuture<'a, Vec<Attempt>> {
        Box::pin(Attempt::of_call(async { self.outcomes(batch, Instant::now() + self.timeout).await }))
    }

    fn check(&self) -> BoxFuture<'_, Result<(), CheckError>> {
        Box::pin(async {
            let deadline = Instant::now() + self.timeout;
            self.look(deadline).await.map_err(|failure| self.target.judged(failure).of_check())
        })
    }

    fn guarantee(&self) -> Guarantee {
        match self.writer {
            Writer::ExactlyOnce(_) => Guarantee::ExactlyOnce,
            Writer::AtLeastOnce(_) => Guarantee::AtLeastOnce,
        }
    }

    fn needs_strict_order(&self) -> bool {
        matches!(self.writer, Writer::ExactlyOnce(_))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            match &self.writer {
                Writer::ExactlyOnce(writer) => writer.close().await,
                Writer::AtLeastOnce(pool) => pool.close().await,
            }
        })
    }
}

/// Shows where it delivers to, as far as that is no secret.
impl std::fmt::Debug for PostgresSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PostgresSink({}, {})", self.target.dialler.endpoint(), self.target.table.name)
    }
}
