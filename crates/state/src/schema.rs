//! The schema's versions: one SQL file each, applied in order. `PRAGMA user_version` says how many have been.

use rusqlite::{Connection, Transaction};

/// Says in the file's header that it is ours: "ERST".
pub(crate) const APPLICATION_ID: i32 = 0x4552_5354;

/// Migration n (from 1) leads from version n − 1 to n. A released file never changes.
const MIGRATIONS: &[&str] = &[
    include_str!("../migrations/0001_initial.sql"),
    include_str!("../migrations/0002_replays.sql"),
    include_str!("../migrations/0003_control.sql"),
    include_str!("../migrations/0004_users.sql"),
    include_str!("../migrations/0005_answers.sql"),
    include_str!("../migrations/0006_svix.sql"),
];

/// The newest version this release knows.
pub(crate) fn supported_version() -> u32 {
    u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX)
}

pub(crate) fn version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Brings the schema from version `from` to the newest, within the caller's transaction.
pub(crate) fn migrate(transaction: &Transaction<'_>, from: u32) -> rusqlite::Result<()> {
    for (version, sql) in (1u32..).zip(MIGRATIONS).filter(|(version, _)| *version > from) {
        transaction.execute_batch(sql)?;
        transaction.pragma_update(None, "user_version", version)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)
}
