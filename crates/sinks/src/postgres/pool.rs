//! The connections of a sink without a cursor of its own in the database: as many as calls are under way, within a limit.

use std::sync::{Mutex, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};
use tokio_postgres::Statement;

use super::Target;
use super::connection::Connection;
use super::failure::Failure;
use super::table::ColumnType;
use crate::{BatchFailure, Delivery};

/// Connections for calls that need no order among them.
pub(super) struct Pool {
    places: Semaphore,
    idle: Mutex<Vec<Inserter>>,
}

/// A connection that is ready to insert.
struct Inserter {
    connection: Connection,
    types: Vec<ColumnType>,
    insert: Statement,
}

/// A connection in use by one call. Dropped in the middle of something it is cut, and what was under way is unknown.
pub(super) struct Lease<'a> {
    pool: &'a Pool,
    inserter: Option<Inserter>,
    _place: SemaphorePermit<'a>,
}

impl Pool {
    pub(super) fn new(max_connections: usize) -> Self {
        Self { places: Semaphore::new(max_connections), idle: Mutex::new(Vec::new()) }
    }

    /// An idle connection, or a new one.
    pub(super) async fn lease(&self, target: &Target, deadline: Instant) -> Result<Lease<'_>, Failure> {
        let waiting = timeout_at(deadline, self.places.acquire()).await;
        let place = waiting
            .map_err(|_| Failure::lost("no connection became free in time"))?
            .map_err(|_| Failure::lost("the sink is closed"))?;
        let idle = self.take_idle();
        let inserter = match idle {
            Some(inserter) => inserter,
            None => Inserter::open(target, deadline).await?,
        };
        Ok(Lease { pool: self, inserter: Some(inserter), _place: place })
    }

    /// Closes all that are idle.
    pub(super) async fn close(&self) {
        self.places.close();
        let idle = std::mem::take(&mut *self.lock());
        for inserter in idle {
            inserter.connection.close().await;
        }
    }

    fn take_idle(&self) -> Option<Inserter> {
        let mut idle = self.lock();
        while let Some(inserter) = idle.pop() {
            if inserter.connection.is_usable() {
                return Some(inserter);
            }
        }
        None
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Inserter>> {
        // Nothing is ever half done under the lock.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inserter {
    async fn open(target: &Target, deadline: Instant) -> Result<Self, Failure> {
        let connection = target.dialler.connect(deadline).await?;
        let types = target.table.describe(&connection, deadline).await?;
        let sql = target.table.insert_sql(&types, 1, None);
        let insert = connection.run(deadline, connection.client.prepare(&sql)).await?;
        Ok(Self { connection, types, insert })
    }
}

impl Lease<'_> {
    /// Inserts a batch: all of it or nothing. After a failure that may have hurt the connection there is none any more.
    pub(super) async fn insert(
        &mut self,
        target: &Target,
        batch: &[Delivery],
        deadline: Instant,
    ) -> Result<(), BatchFailure> {
        // Taken out, so that a call that is dropped in the middle leaves no connection behind with an answer on its way.
        let mut inserter =
            self.inserter.take().ok_or_else(|| Failure::lost("the connection is gone").of_batch())?;
        let values = target.table.values(&inserter.types, batch);
        let inserting = inserter.connection.client.execute_raw(&inserter.insert, values);
        let result = inserter.connection.run(deadline, inserting).await;
        let result = result.map(drop).map_err(|failure| target.judged(failure));
        inserter.connection.touch();
        if result.as_ref().err().is_none_or(Failure::leaves_connection) {
            self.inserter = Some(inserter);
        }
        result.map_err(|failure| failure.of_batch())
    }

    /// Inserts nothing, to see whether that would be allowed, and takes it back.
    pub(super) async fn rehearse(&mut self, target: &Target, deadline: Instant) -> Result<(), Failure> {
        let inserter = self.inserter.take().ok_or_else(|| Failure::lost("the connection is gone"))?;
        let Inserter { connection, types, insert } = &inserter;
        connection.warn_unless_durable(deadline).await?;
        connection.run(deadline, connection.client.batch_execute("BEGIN")).await?;
        let values = target.table.values(types, &[]);
        connection.run(deadline, connection.client.execute_raw(insert, values)).await?;
        connection.run(deadline, connection.client.batch_execute("ROLLBACK")).await?;
        self.inserter = Some(inserter);
        Ok(())
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if let Some(inserter) = self.inserter.take()
            && !self.pool.places.is_closed()
        {
            self.pool.lock().push(inserter);
        }
    }
}
