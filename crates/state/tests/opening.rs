//! A state file is opened only when it is whole, known and in agreement with the log.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use eventrelay_state::{AuditEntry, OpenError, OpenMode, State};
use support::{EMPTY_LOG, Home, audit, checkpoint, declare, log_up_to, spec};

#[test]
fn a_fresh_state_is_made_beside_an_empty_log_only() {
    let home = Home::new();
    let refused = home.open(log_up_to(3)).unwrap_err();
    assert!(matches!(refused, OpenError::MissingBesideLog { end_offset: 3, .. }), "{refused}");
    assert!(!home.path().exists(), "a refusal creates nothing, or the next start would find a state");
    home.open(EMPTY_LOG).unwrap();
    home.open(log_up_to(3)).unwrap();
}

#[test]
fn an_operator_may_start_anew_beside_a_log() {
    let home = Home::new();
    State::open(&home.path(), log_up_to(3), OpenMode::CreateBesideLog).unwrap();
}

#[test]
fn a_file_whose_creation_was_cut_short_counts_as_missing() {
    let home = Home::new();
    fs::write(home.path(), b"").unwrap();
    assert!(matches!(home.open(log_up_to(3)), Err(OpenError::MissingBesideLog { .. })));
    home.open(EMPTY_LOG).unwrap();
}

#[tokio::test]
async fn a_reserve_whose_making_was_cut_short_is_made_anew() {
    let home = Home::new();
    home.open(EMPTY_LOG).unwrap().close().await;
    let half_way = rusqlite::Connection::open(home.path()).unwrap();
    half_way.execute_batch("CREATE TABLE reserve (filler BLOB NOT NULL) STRICT; VACUUM").unwrap();
    drop(half_way);
    home.open(EMPTY_LOG).unwrap().close().await;
    let reopened = rusqlite::Connection::open(home.path()).unwrap();
    let left: u32 = reopened
        .query_row("SELECT count(*) FROM sqlite_schema WHERE name = 'reserve'", [], |row| row.get(0))
        .unwrap();
    let free_pages: u32 = reopened.query_row("PRAGMA freelist_count", [], |row| row.get(0)).unwrap();
    assert_eq!((left, free_pages >= 1024), (0, true), "{free_pages} free pages");
}

#[tokio::test]
async fn nobody_else_may_read_it() {
    let home = Home::new();
    let state = home.open(EMPTY_LOG).unwrap();
    declare(&state, vec![spec("one")], 0).await;
    for file in ["state.db", "state.db-wal", "state.db-shm"] {
        let mode = fs::metadata(home.path().with_file_name(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}

#[tokio::test]
async fn a_file_of_the_first_version_is_brought_up_to_this_one() {
    let home = Home::new();
    let state = home.open(EMPTY_LOG).unwrap();
    let id = declare(&state, vec![spec("one")], 0).await[0].id;
    state.save(checkpoint(id, 5)).await.unwrap();
    state.close().await;
    let older = rusqlite::Connection::open(home.path()).unwrap();
    older
        .execute_batch(
            "DROP TRIGGER svix_application_goes_with_its_tenant;
             DROP TRIGGER svix_endpoint_goes_with_its_subscription;
             DROP TABLE svix_endpoints;
             DROP TABLE svix_applications;
             DROP TABLE svix_event_types;
             ALTER TABLE attempts DROP COLUMN purpose;
             DROP TABLE sessions; DROP TABLE users; DROP TABLE tenants; DROP TABLE audit_log;
             DROP TABLE replays;
             DROP TABLE answers;
             ALTER TABLE retrying DROP COLUMN purpose;
             ALTER TABLE subscriptions DROP COLUMN origin;
             ALTER TABLE subscriptions DROP COLUMN revision;
             ALTER TABLE subscriptions DROP COLUMN updated_at_micros;
             DROP INDEX attempts_by_event;
             ALTER TABLE attempts DROP COLUMN exchange;
             INSERT INTO retrying VALUES (1, 3, 1, 0, 10, 9, 'refused', NULL);
             PRAGMA user_version = 1",
        )
        .unwrap();
    drop(older);
    let state = home.open(log_up_to(9)).unwrap();
    let position = state.position(id).unwrap();
    assert_eq!((position.progress.cursor(), position.retrying[0].offset), (5, 3));
    assert_eq!(position.retrying[0].purpose, eventrelay_event::Purpose::Live);
    assert_eq!(state.replays(id).unwrap(), []);
    let tenants = state.tenants(None, 10).unwrap();
    assert_eq!(tenants.iter().map(|tenant| tenant.name.as_str()).collect::<Vec<_>>(), ["default"]);
}

#[tokio::test]
async fn a_newer_schema_is_refused_naming_both_versions() {
    let home = Home::new();
    home.open(EMPTY_LOG).unwrap().close().await;
    rusqlite::Connection::open(home.path()).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let refused = home.open(EMPTY_LOG).unwrap_err();
    assert!(matches!(refused, OpenError::NewerSchema { found: 99, supported: 6, .. }), "{refused}");
    assert!(refused.to_string().contains("99") && refused.to_string().contains('6'));
}

#[tokio::test]
async fn another_programs_database_is_left_alone() {
    let home = Home::new();
    let other = rusqlite::Connection::open(home.path()).unwrap();
    other.execute_batch("CREATE TABLE theirs (x)").unwrap();
    drop(other);
    assert!(matches!(home.open(EMPTY_LOG), Err(OpenError::NotAStateFile { found: 0, .. })));
}

#[tokio::test]
async fn damage_is_found() {
    let home = Home::new();
    let state = home.open(EMPTY_LOG).unwrap();
    let specs = (0..200).map(|n| spec(&format!("subscription-{n}"))).collect();
    declare(&state, specs, 0).await;
    state.close().await;
    drop(state);
    let connection = rusqlite::Connection::open(home.path()).unwrap();
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    let root: usize = connection
        .query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'subscriptions'", [], |row| row.get(0))
        .unwrap();
    drop(connection);
    let mut bytes = fs::read(home.path()).unwrap();
    bytes[(root - 1) * 4096..root * 4096].fill(0xa5);
    fs::write(home.path(), bytes).unwrap();
    assert!(matches!(home.open(EMPTY_LOG), Err(OpenError::Corrupt { .. })));

    fs::write(home.path(), b"this was never a database").unwrap();
    assert!(matches!(home.open(EMPTY_LOG), Err(OpenError::Corrupt { .. })));
}

#[tokio::test]
async fn the_state_of_another_log_is_refused() {
    let home = Home::new();
    home.open(EMPTY_LOG).unwrap().close().await;
    let mut other = EMPTY_LOG;
    other.log_id = [8; 16];
    let refused = home.open(other).unwrap_err();
    assert!(matches!(refused, OpenError::ForeignLog { .. }), "{refused}");
    assert!(refused.to_string().contains(&"07".repeat(16)) && refused.to_string().contains(&"08".repeat(16)));
}

#[tokio::test]
async fn a_cursor_beyond_the_log_is_damage() {
    let home = Home::new();
    let state = home.open(EMPTY_LOG).unwrap();
    let id = declare(&state, vec![spec("ahead")], 0).await[0].id;
    let mut ahead = checkpoint(id, 4);
    ahead.progress.settle_range(6..9);
    state.save(ahead).await.unwrap();
    state.close().await;
    let refused = home.open(log_up_to(8)).unwrap_err();
    assert!(
        matches!(&refused, OpenError::CursorBeyondLog { subscription, settled: 9, end_offset: 8, .. } if subscription == "ahead"),
        "{refused}"
    );
    home.open(log_up_to(9)).unwrap();
}

/// Behind what the last process left in it, the reserve would be made up at the cost of as much room again.
#[tokio::test]
async fn making_up_the_reserve_does_not_lengthen_the_write_ahead_log() {
    let home = Home::new();
    for _ in 0..4 {
        let state = home.open(EMPTY_LOG).unwrap();
        let wal_bytes = fs::metadata(home.directory().join("state.db-wal")).unwrap().len();
        assert!(wal_bytes < 9 << 19, "the write-ahead log has grown: {wal_bytes}");
        for _ in 0..20 {
            let after = Some(format!("\"{}\"", "x".repeat(60_000)));
            state.append_audit_entry(AuditEntry { after, ..audit("subscription.update") }).await.unwrap();
        }
        state.close().await;
    }
}

#[tokio::test]
async fn room_for_a_full_disk_is_kept_over_restarts() {
    let home = Home::new();
    for _ in 0..2 {
        home.open(EMPTY_LOG).unwrap().close().await;
        let wal_bytes = fs::metadata(home.directory().join("state.db-wal")).unwrap().len();
        assert!(wal_bytes >= 4 << 20, "the write-ahead log keeps its length: {wal_bytes}");
    }
    let connection = rusqlite::Connection::open(home.path()).unwrap();
    let free: u32 = connection.query_row("PRAGMA freelist_count", [], |row| row.get(0)).unwrap();
    assert!(free >= 1024, "{free} free pages");
}
