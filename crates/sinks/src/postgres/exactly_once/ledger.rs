//! The tables beside the events' that say what is in it, and the statements on them.
//!
//! `eventrelay_cursors`: one row a subscription.
//!
//! | column | |
//! |---|---|
//! | `log_id`, `tenant`, `subscription` | whose it is. A new log starts anew |
//! | `next_offset` | every event below it is settled: it has its row, or stands in one of the other two tables |
//! | `epoch` | counts the instances of the sink that have owned the row; a greater one fences off all before it |
//! | `instance` | the one that owns it, by a random name |
//! | `revision` | counts the transactions on it |
//! | `moved_at` | when the last one was |
//!
//! `eventrelay_rejected`: events below the cursor that the database refused, or that were given up, each with its reason.
//!
//! `eventrelay_skipped`: offsets below the cursor that never came: filtered out, of another tenant, or passed over. A row
//! holds a few hundred ranges, from `first_offset` up to the next row.

use tokio::time::Instant;
use tokio_postgres::types::ToSql;

use crate::Owner;
use crate::postgres::connection::Connection;
use crate::postgres::failure::Failure;
use crate::postgres::identifier::TableName;
use crate::postgres::table::{ColumnType, Table};

/// The first version that has `int8multirange`.
const OLDEST_VERSION: i32 = 140_000;

/// The tables of a schema, and whose rows are ours.
pub(super) struct Ledger {
    pub(super) log_id: String,
    pub(super) tenant: String,
    pub(super) subscription: String,
    cursors: TableName,
    rejected: TableName,
    skipped: TableName,
}

/// Our rows, where the key's parameters are the first three.
const OURS: &str = "log_id = $1 AND tenant = $2 AND subscription = $3";
/// Parameters of every statement on a batch: the key, the epoch, the revision.
const MOVED: &str = "epoch = $4 AND revision = $5";

impl Ledger {
    pub(super) fn new(table: &TableName, owner: &Owner) -> Self {
        Self {
            log_id: owner.log_id.iter().map(|byte| format!("{byte:02x}")).collect(),
            tenant: owner.tenant.clone(),
            subscription: owner.subscription.clone(),
            cursors: table.neighbour("eventrelay_cursors"),
            rejected: table.neighbour("eventrelay_rejected"),
            skipped: table.neighbour("eventrelay_skipped"),
        }
    }

    /// Creates the tables that are missing. One that is there needs no right to create any.
    pub(super) async fn create_missing(
        &self,
        connection: &Connection,
        deadline: Instant,
    ) -> Result<(), Failure> {
        const LOOK: &str = "
            SELECT current_setting('server_version_num')::int,
                   to_regclass($1) IS NOT NULL, to_regclass($2) IS NOT NULL, to_regclass($3) IS NOT NULL";
        let names = [&self.cursors, &self.rejected, &self.skipped].map(TableName::to_string);
        let [cursors, rejected, skipped] = &names;
        let parameters: [&(dyn ToSql + Sync); 3] = [cursors, rejected, skipped];
        let looking = connection.client.query_one(LOOK, &parameters);
        let found = connection.run(deadline, looking).await?;
        if found.get::<_, i32>(0) < OLDEST_VERSION {
            return Err(Failure::Mismatch("`exactly_once` needs PostgreSQL 14 or newer".to_owned()));
        }
        for (index, sql) in self.create_sql().into_iter().enumerate() {
            if !found.get::<_, bool>(index + 1) {
                connection.create(deadline, &sql).await?;
            }
        }
        Ok(())
    }

    fn create_sql(&self) -> [String; 3] {
        const KEY: &str = "log_id text NOT NULL, tenant text NOT NULL, subscription text NOT NULL";
        // The cursor's row changes with every batch: room beside it keeps its versions on one page.
        let cursors = format!(
            "CREATE TABLE IF NOT EXISTS {} ({KEY}, next_offset bigint NOT NULL, epoch bigint NOT NULL, \
             revision bigint NOT NULL, instance text NOT NULL, moved_at timestamptz NOT NULL DEFAULT now(), \
             PRIMARY KEY (log_id, tenant, subscription)) WITH (fillfactor = 50)",
            self.cursors
        );
        let rejected = format!(
            "CREATE TABLE IF NOT EXISTS {} ({KEY}, event_offset bigint NOT NULL, reason text NOT NULL, \
             rejected_at timestamptz NOT NULL DEFAULT now(), \
             PRIMARY KEY (log_id, tenant, subscription, event_offset))",
            self.rejected
        );
        let skipped = format!(
            "CREATE TABLE IF NOT EXISTS {} ({KEY}, first_offset bigint NOT NULL, offsets int8multirange NOT NULL, \
             PRIMARY KEY (log_id, tenant, subscription, first_offset))",
            self.skipped
        );
        [cursors, rejected, skipped]
    }

    /// Our row. Parameters: the key.
    pub(super) fn read_sql(&self) -> String {
        format!("SELECT epoch, revision, next_offset, instance FROM {} WHERE {OURS}", self.cursors)
    }

    /// Takes our row over, unless somebody has come that far already. Parameters: the key, the new epoch, our name.
    pub(super) fn claim_sql(&self) -> String {
        format!(
            "INSERT INTO {} AS ours (log_id, tenant, subscription, next_offset, epoch, revision, instance) \
             VALUES ($1, $2, $3, 0, $4, 0, $5) \
             ON CONFLICT (log_id, tenant, subscription) DO UPDATE \
             SET epoch = excluded.epoch, revision = ours.revision + 1, instance = excluded.instance, moved_at = now() \
             WHERE ours.epoch < excluded.epoch RETURNING epoch, revision, next_offset",
            self.cursors
        )
    }

    /// Moves the cursor, and inserts the rows that it moves past. Parameters: the key, the epoch and revision that we know,
    /// the new cursor, the first offset of a row of skipped ones and what to add to it, the rejected offsets and their
    /// reasons, the events' columns.
    pub(super) fn advance_sql(&self, table: &Table, types: &[ColumnType]) -> String {
        let insert = table.insert_sql(types, 11, Some("EXISTS (SELECT FROM moved)"));
        format!(
            "WITH moved AS ( \
               UPDATE {cursors} SET next_offset = $6, revision = revision + 1, moved_at = now() \
               WHERE {OURS} AND {MOVED} RETURNING 1), \
             skipped AS ( \
               INSERT INTO {skipped} AS known (log_id, tenant, subscription, first_offset, offsets) \
               SELECT $1, $2, $3, $7::bigint, $8::text::int8multirange FROM moved WHERE $7::bigint IS NOT NULL \
               ON CONFLICT (log_id, tenant, subscription, first_offset) \
               DO UPDATE SET offsets = known.offsets + excluded.offsets), \
             rejected AS ( \
               INSERT INTO {rejected} (log_id, tenant, subscription, event_offset, reason) \
               SELECT $1, $2, $3, event_offset, reason \
               FROM (SELECT unnest($9::bigint[]) AS event_offset, unnest($10::text[]) AS reason) AS sent \
               WHERE EXISTS (SELECT FROM moved) \
               ON CONFLICT (log_id, tenant, subscription, event_offset) DO UPDATE SET reason = excluded.reason), \
             inserted AS ({insert}) \
             SELECT count(*) FROM moved",
            cursors = self.cursors,
            skipped = self.skipped,
            rejected = self.rejected,
        )
    }

    /// Inserts rows of events below the cursor, which are then neither rejected nor skipped. Parameters: the key, the epoch
    /// and revision that we know, the offsets as an array and as ranges, the events' columns.
    pub(super) fn fill_sql(&self, table: &Table, types: &[ColumnType]) -> String {
        let insert = table.insert_sql(types, 8, Some("EXISTS (SELECT FROM moved)"));
        format!(
            "WITH moved AS ( \
               UPDATE {cursors} SET revision = revision + 1, moved_at = now() WHERE {OURS} AND {MOVED} RETURNING 1), \
             freed AS ( \
               DELETE FROM {rejected} WHERE {OURS} AND event_offset = ANY($6) AND EXISTS (SELECT FROM moved)), \
             filled AS ( \
               UPDATE {skipped} SET offsets = offsets - $7::text::int8multirange \
               WHERE {OURS} AND EXISTS (SELECT FROM moved) AND first_offset IN ( \
                 SELECT (SELECT max(first_offset) FROM {skipped} WHERE {OURS} AND first_offset <= wanted) \
                 FROM unnest($6::bigint[]) AS wanted)), \
             inserted AS ({insert}) \
             SELECT count(*) FROM moved",
            cursors = self.cursors,
            skipped = self.skipped,
            rejected = self.rejected,
        )
    }

    /// What is known of events below the cursor, in their order. Parameters: the key, the offsets.
    pub(super) fn look_up_sql(&self) -> String {
        format!(
            "SELECT (SELECT reason FROM {rejected} WHERE {OURS} AND event_offset = wanted), \
                    coalesce((SELECT offsets @> wanted FROM {skipped} WHERE {OURS} AND first_offset <= wanted \
                              ORDER BY first_offset DESC LIMIT 1), false) \
             FROM unnest($4::bigint[]) WITH ORDINALITY AS sent (wanted, place) ORDER BY place",
            skipped = self.skipped,
            rejected = self.rejected,
        )
    }
}
