//! Opening a state file: whose it is, whether it is whole, and whether it agrees with the log.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, TransactionBehavior};

use crate::schema::{self, APPLICATION_ID};
use crate::{OpenError, Progress};

/// What the state must agree with.
#[derive(Debug, Clone, Copy)]
pub struct LogIdentity {
    /// The log's id.
    pub log_id: [u8; 16],
    /// The oldest offset that the log still has.
    pub oldest_offset: u64,
    /// The log's end: the first offset that is not durable.
    pub end_offset: u64,
}

/// Whether a missing state file may be created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// Only beside an empty log.
    Normal,
    /// Also beside a log that holds events: an operator has decided that the old cursors, retries and dead letters
    /// are gone.
    CreateBesideLog,
}

/// What is kept free inside the file and its write-ahead log, so that cursors and dead letters can be saved on a full
/// disk. The write-ahead log is never shortened, and starts over from its beginning once it is this long.
const RESERVE_BYTES: u32 = 4 << 20;
const PAGE_BYTES: u32 = 4096;

/// The connection that writes. Creates or migrates the file where that is allowed.
pub(crate) fn open_writer(path: &Path, log: LogIdentity, mode: OpenMode) -> Result<Connection, OpenError> {
    let missing = !path.try_exists().map_err(|error| io_error(path, error))?;
    if missing {
        allow_creation(path, log, mode)?;
        create_private(path)?;
    }
    let sqlite = |error| sqlite_error(path, error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(sqlite)?;
    let version = check_header(&connection, path)?;
    if version == 0 {
        allow_creation(path, log, mode)?;
    } else {
        quick_check(&connection, path)?;
    }
    configure_writer(&connection).map_err(sqlite)?;
    prepare_schema(&mut connection, version, log).map_err(sqlite)?;
    // Every time, for an earlier process may have been killed before it came to this.
    sync_directory(path)?;
    check_log_identity(&connection, path, log)?;
    check_cursors(&connection, path, log)?;
    match keep_reserve(&mut connection) {
        // What is left of it is what there is: a full disk must not keep a relay from starting.
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::DiskFull) => {
            tracing::warn!("the disk is full: the reserve of the state store is not made up");
        }
        kept => kept.map_err(sqlite)?,
    }
    Ok(connection)
}

/// The connection that reads. It sees what is committed.
pub(crate) fn open_reader(path: &Path) -> Result<Connection, OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || {
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(Duration::from_secs(5))?;
        Ok(connection)
    };
    open().map_err(|error| sqlite_error(path, error))
}

fn allow_creation(path: &Path, log: LogIdentity, mode: OpenMode) -> Result<(), OpenError> {
    if log.end_offset > 0 && mode == OpenMode::Normal {
        return Err(OpenError::MissingBesideLog { path: path.to_owned(), end_offset: log.end_offset });
    }
    Ok(())
}

/// An empty file that only its owner can read; SQLite gives the files beside it the same mode. Dead letters hold events.
fn create_private(path: &Path) -> Result<(), OpenError> {
    let created = File::options().write(true).create_new(true).mode(0o600).open(path);
    created.map(drop).map_err(|error| io_error(path, error))
}

/// Whose file it is and of which version; 0 when nothing has been written to it yet.
fn check_header(connection: &Connection, path: &Path) -> Result<u32, OpenError> {
    let sqlite = |error| sqlite_error(path, error);
    let application_id: i32 =
        connection.query_row("PRAGMA application_id", [], |row| row.get(0)).map_err(sqlite)?;
    let tables: u32 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(sqlite)?;
    if application_id == 0 && tables == 0 {
        return Ok(0);
    }
    if application_id != APPLICATION_ID {
        return Err(OpenError::NotAStateFile { path: path.to_owned(), found: application_id });
    }
    let found = schema::version(connection).map_err(sqlite)?;
    let supported = schema::supported_version();
    if found > supported {
        return Err(OpenError::NewerSchema { path: path.to_owned(), found, supported });
    }
    Ok(found)
}

fn quick_check(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let verdict: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|error| sqlite_error(path, error))?;
    if verdict == "ok" { Ok(()) } else { Err(OpenError::Corrupt { path: path.to_owned(), why: verdict }) }
}

fn configure_writer(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update(None, "page_size", PAGE_BYTES)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // The write-ahead log keeps the length it has grown to: see RESERVE_BYTES.
    connection.pragma_update(None, "journal_size_limit", -1)?;
    connection.pragma_update(None, "wal_autocheckpoint", RESERVE_BYTES / PAGE_BYTES)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(())
}

/// Creates or migrates, with the log's identity in the same transaction: there is never a schema without an owner.
fn prepare_schema(connection: &mut Connection, version: u32, log: LogIdentity) -> rusqlite::Result<()> {
    if version == schema::supported_version() {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    schema::migrate(&transaction, version)?;
    if version == 0 {
        transaction.execute(
            "INSERT INTO log_identity (only_row, log_id, created_at_micros) VALUES (1, ?1, ?2)",
            (log.log_id, crate::state::now_micros()),
        )?;
    }
    transaction.commit()
}

fn check_log_identity(connection: &Connection, path: &Path, log: LogIdentity) -> Result<(), OpenError> {
    let found: Option<[u8; 16]> = connection
        .query_row("SELECT log_id FROM log_identity", [], |row| row.get(0))
        .optional()
        .map_err(|error| sqlite_error(path, error))?;
    match found {
        Some(found) if found == log.log_id => Ok(()),
        Some(found) => {
            Err(OpenError::ForeignLog { path: path.to_owned(), found: hex(found), expected: hex(log.log_id) })
        }
        None => Err(OpenError::Corrupt { path: path.to_owned(), why: "it names no log".to_owned() }),
    }
}

/// A cursor beyond the log's end means that the log has lost what was already delivered.
fn check_cursors(connection: &Connection, path: &Path, log: LogIdentity) -> Result<(), OpenError> {
    let sqlite = |error| sqlite_error(path, error);
    let mut statement = connection
        .prepare(
            "SELECT s.tenant, s.name, c.next_offset, c.settled_beyond,
                    (SELECT max(r.offset) FROM retrying r WHERE r.subscription_id = s.id)
             FROM subscriptions s JOIN cursors c ON c.subscription_id = s.id",
        )
        .map_err(sqlite)?;
    let mut rows = statement.query([]).map_err(sqlite)?;
    while let Some(row) = rows.next().map_err(sqlite)? {
        let (tenant, subscription): (String, String) =
            (row.get(0).map_err(sqlite)?, row.get(1).map_err(sqlite)?);
        let (cursor, beyond): (u64, Vec<u8>) = (row.get(2).map_err(sqlite)?, row.get(3).map_err(sqlite)?);
        let last_retrying: Option<u64> = row.get(4).map_err(sqlite)?;
        let progress = Progress::decode(cursor, &beyond).map_err(|error| OpenError::Corrupt {
            path: path.to_owned(),
            why: format!("subscription `{subscription}` of tenant `{tenant}`: {error}"),
        })?;
        let settled = progress.end().max(last_retrying.map_or(0, |offset| offset + 1));
        if settled > log.end_offset {
            return Err(OpenError::CursorBeyondLog {
                tenant,
                subscription,
                settled,
                end_offset: log.end_offset,
            });
        }
    }
    Ok(())
}

/// Grows the file's free list and the write-ahead log to the reserve, by writing that much once and freeing it.
fn keep_reserve(connection: &mut Connection) -> rusqlite::Result<()> {
    // What an earlier process has left in the write-ahead log goes into the file first: the filling would stand behind it, and make
    // the log longer by as much, where it has room to spare or has none.
    checkpoint(connection, "RESTART")?;
    // A crash between the two steps below leaves the table.
    connection.execute_batch("DROP TABLE IF EXISTS reserve")?;
    let free_pages: u32 = connection.query_row("PRAGMA freelist_count", [], |row| row.get(0))?;
    if free_pages >= RESERVE_BYTES / PAGE_BYTES {
        return Ok(());
    }
    let fill = connection.transaction()?;
    fill.execute_batch("CREATE TABLE reserve (filler BLOB NOT NULL) STRICT")?;
    fill.execute("INSERT INTO reserve (filler) VALUES (zeroblob(?1))", [RESERVE_BYTES])?;
    fill.commit()?;
    connection.execute_batch("DROP TABLE reserve")?;
    checkpoint(connection, "PASSIVE")
}

fn checkpoint(connection: &Connection, mode: &str) -> rusqlite::Result<()> {
    let is_busy = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
    connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], is_busy).map(|_busy| ())
}

/// Makes the file's name durable.
fn sync_directory(path: &Path) -> Result<(), OpenError> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| io_error(directory, error))
}

fn io_error(path: &Path, error: io::Error) -> OpenError {
    OpenError::Io { path: path.to_owned(), error }
}

fn sqlite_error(path: &Path, error: rusqlite::Error) -> OpenError {
    let path = path.to_owned();
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            OpenError::Corrupt { path, why: error.to_string() }
        }
        _ => OpenError::Sqlite { path, error },
    }
}

fn hex(id: [u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(id))
}
