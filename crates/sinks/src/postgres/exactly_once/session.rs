//! A connection with the statements on the cursor's row, each of them a transaction that does nothing unless the row is as
//! we know it.

use tokio::time::Instant;
use tokio_postgres::Statement;
use tokio_postgres::types::ToSql;

use super::gaps::Ranges;
use super::ledger::Ledger;
use crate::Delivery;
use crate::postgres::Target;
use crate::postgres::connection::Connection;
use crate::postgres::failure::Failure;
use crate::postgres::table::ColumnType;

/// A connection that is ready for batches.
pub(super) struct Session {
    pub(super) connection: Connection,
    types: Vec<ColumnType>,
    read: Statement,
    claim: Statement,
    look_up: Statement,
    advance: Statement,
    fill: Statement,
}

/// The cursor's row, as it was last seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) epoch: i64,
    pub(super) revision: i64,
    pub(super) next_offset: u64,
}

/// Where the cursor goes, and what it passes without a row.
#[derive(Debug, Default)]
pub(super) struct Step {
    pub(super) next_offset: u64,
    pub(super) skipped: Ranges,
    /// The row of skipped offsets that they are added to.
    pub(super) skipped_in: Option<u64>,
    /// Offsets and reasons.
    pub(super) rejected: Vec<(u64, String)>,
}

/// What the ledger says of an event below the cursor.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) rejected: Option<String>,
    pub(super) skipped: bool,
}

impl Session {
    pub(super) async fn open(target: &Target, ledger: &Ledger, deadline: Instant) -> Result<Self, Failure> {
        let connection = target.dialler.connect(deadline).await?;
        ledger.create_missing(&connection, deadline).await?;
        let types = target.table.describe(&connection, deadline).await?;
        let prepare = async |sql: String| connection.run(deadline, connection.client.prepare(&sql)).await;
        Ok(Self {
            read: prepare(ledger.read_sql()).await?,
            claim: prepare(ledger.claim_sql()).await?,
            look_up: prepare(ledger.look_up_sql()).await?,
            advance: prepare(ledger.advance_sql(&target.table, &types)).await?,
            fill: prepare(ledger.fill_sql(&target.table, &types)).await?,
            types,
            connection,
        })
    }

    /// The row and the name of who owns it; none when there is no row.
    pub(super) async fn read(
        &self,
        ledger: &Ledger,
        deadline: Instant,
    ) -> Result<Option<(Cursor, String)>, Failure> {
        let key: [&(dyn ToSql + Sync); 3] = [&ledger.log_id, &ledger.tenant, &ledger.subscription];
        let reading = self.connection.client.query_opt(&self.read, &key);
        let Some(row) = self.connection.run(deadline, reading).await? else { return Ok(None) };
        Ok(Some((cursor(row.get(0), row.get(1), row.get(2))?, row.get(3))))
    }

    /// Takes the row over; none when somebody has taken it with that epoch or a later one.
    pub(super) async fn claim(
        &self,
        ledger: &Ledger,
        epoch: i64,
        instance: &str,
        deadline: Instant,
    ) -> Result<Option<Cursor>, Failure> {
        let parameters: [&(dyn ToSql + Sync); 5] =
            [&ledger.log_id, &ledger.tenant, &ledger.subscription, &epoch, &instance];
        let claiming = self.connection.client.query_opt(&self.claim, &parameters);
        let Some(row) = self.connection.run(deadline, claiming).await? else { return Ok(None) };
        cursor(row.get(0), row.get(1), row.get(2)).map(Some)
    }

    /// What the ledger says of events below the cursor, in their order.
    pub(super) async fn look_up(
        &self,
        ledger: &Ledger,
        batch: &[Delivery],
        deadline: Instant,
    ) -> Result<Vec<Known>, Failure> {
        let offsets = offsets(batch)?;
        let parameters: [&(dyn ToSql + Sync); 4] =
            [&ledger.log_id, &ledger.tenant, &ledger.subscription, &offsets];
        let looking = self.connection.client.query(&self.look_up, &parameters);
        let rows = self.connection.run(deadline, looking).await?;
        let known = rows.iter().map(|row| Known { rejected: row.get(0), skipped: row.get(1) });
        let known: Vec<_> = known.collect();
        if known.len() == batch.len() { Ok(known) } else { Err(Failure::lost("an answer has too few rows")) }
    }

    /// Inserts rows and moves the cursor past them; false, with nothing done, when its row is not as we know it.
    pub(super) async fn advance(
        &self,
        target: &Target,
        ledger: &Ledger,
        known: Cursor,
        step: &Step,
        batch: &[Delivery],
        deadline: Instant,
    ) -> Result<bool, Failure> {
        let next_offset = signed(step.next_offset)?;
        let skipped_in = step.skipped_in.map(signed).transpose()?;
        let skipped = skipped_in.map(|_| step.skipped.to_string());
        let rejected = step.rejected.iter().map(|(offset, _)| signed(*offset));
        let rejected: Vec<i64> = rejected.collect::<Result<_, _>>()?;
        let reasons: Vec<&str> = step.rejected.iter().map(|(_, reason)| reason.as_str()).collect();
        let own: [&(dyn ToSql + Sync); 10] = [
            &ledger.log_id,
            &ledger.tenant,
            &ledger.subscription,
            &known.epoch,
            &known.revision,
            &next_offset,
            &skipped_in,
            &skipped,
            &rejected,
            &reasons,
        ];
        self.run(target, &self.advance, &own, batch, deadline).await
    }

    /// Inserts rows below the cursor; with `free`, takes note that they are neither rejected nor skipped any more. False,
    /// with nothing done, when the cursor's row is not as we know it.
    pub(super) async fn fill(
        &self,
        target: &Target,
        ledger: &Ledger,
        known: Cursor,
        free: bool,
        batch: &[Delivery],
        deadline: Instant,
    ) -> Result<bool, Failure> {
        let freed = if free { batch } else { &[] };
        let freed_offsets = offsets(freed)?;
        let freed_ranges = Ranges::of(freed.iter().map(|delivery| delivery.event.offset())).to_string();
        let own: [&(dyn ToSql + Sync); 7] = [
            &ledger.log_id,
            &ledger.tenant,
            &ledger.subscription,
            &known.epoch,
            &known.revision,
            &freed_offsets,
            &freed_ranges,
        ];
        self.run(target, &self.fill, &own, batch, deadline).await
    }

    async fn run(
        &self,
        target: &Target,
        statement: &Statement,
        own: &[&(dyn ToSql + Sync)],
        batch: &[Delivery],
        deadline: Instant,
    ) -> Result<bool, Failure> {
        let columns = target.table.values(&self.types, batch);
        let columns = columns.iter().map(|column| column as &(dyn ToSql + Sync));
        let parameters: Vec<_> = own.iter().copied().chain(columns).collect();
        let running = self.connection.client.query_one(statement, &parameters);
        let row = self.connection.run(deadline, running).await.map_err(|failure| target.judged(failure))?;
        Ok(row.get::<_, i64>(0) == 1)
    }

    /// Does all that batches do, with none, to see whether that would be allowed, and takes it back.
    pub(super) async fn rehearse(
        &self,
        target: &Target,
        ledger: &Ledger,
        deadline: Instant,
    ) -> Result<(), Failure> {
        let nobody = Cursor { epoch: 0, revision: -1, next_offset: 0 };
        self.connection.run(deadline, self.connection.client.batch_execute("BEGIN")).await?;
        self.claim(ledger, nobody.epoch, "", deadline).await?;
        self.look_up(ledger, &[], deadline).await?;
        self.advance(target, ledger, nobody, &Step::default(), &[], deadline).await?;
        self.fill(target, ledger, nobody, false, &[], deadline).await?;
        self.connection.run(deadline, self.connection.client.batch_execute("ROLLBACK")).await
    }
}

fn cursor(epoch: i64, revision: i64, next_offset: i64) -> Result<Cursor, Failure> {
    let next_offset = u64::try_from(next_offset)
        .map_err(|_| Failure::Mismatch("the cursor in the database is below zero".to_owned()))?;
    Ok(Cursor { epoch, revision, next_offset })
}

fn offsets(batch: &[Delivery]) -> Result<Vec<i64>, Failure> {
    batch.iter().map(|delivery| signed(delivery.event.offset())).collect()
}

/// Offsets have 62 bits, so this does not fail.
fn signed(offset: u64) -> Result<i64, Failure> {
    i64::try_from(offset).map_err(|_| Failure::Mismatch(format!("the offset {offset} is out of range")))
}
