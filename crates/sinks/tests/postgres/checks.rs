//! What a check finds, before any event is delivered.

use eventrelay_sinks::CheckError;
use futures_util::future::join_all;
use serde_json::json;

use crate::database::Database;

#[tokio::test]
async fn it_makes_what_is_asked_for_and_changes_nothing_else() {
    let Some(database) = Database::start().await else { return };
    for exactly_once in [false, true] {
        let sink = database.sink(&json!({"exactly_once": exactly_once, "on_conflict": ["event_id"]}));
        assert_eq!(sink.check().await, Ok(()));
        assert_eq!(sink.check().await, Ok(()));
    }
    assert_eq!(database.count("SELECT count(*) FROM events").await, 0);
    assert_eq!(database.count("SELECT count(*) FROM eventrelay_cursors").await, 0, "claims nothing");
}

#[tokio::test]
async fn each_fault_is_told_from_the_others() {
    let Some(database) = Database::start().await else { return };
    database
        .execute(
            "CREATE ROLE writer LOGIN PASSWORD 'w'; CREATE TABLE there (event_offset bigint, data jsonb); \
             CREATE TABLE needy (event_offset bigint, must text NOT NULL); REVOKE CREATE ON SCHEMA public FROM PUBLIC",
        )
        .await;
    let offset = json!({"event_offset": "offset"});
    let writer = |extra: serde_json::Value| {
        let mut settings =
            json!({"user": "writer", "password": "w", "create_table": false, "columns": offset});
        settings.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        settings
    };
    for (extra, kind, reason) in [
        (json!({"port": 1}), "cannot be reached", "cannot be connected to"),
        (json!({"password": "wrong"}), "does not let us in", "password authentication failed"),
        (json!({"database": "nowhere"}), "lacks", "\"nowhere\" does not exist"),
        (json!({"create_table": false, "table": "nowhere"}), "lacks", "the table \"nowhere\" does not exist"),
        (json!({"table": "there", "columns": {"subject": "subject"}}), "lacks", "has no column \"subject\""),
        (json!({"table": "needy", "columns": offset}), "does not fit", "\"must\" that must not be null"),
        (
            json!({"table": "there", "columns": offset, "on_conflict": ["event_offset"]}),
            "does not fit",
            "ON CONFLICT",
        ),
        (
            json!({"table": "there", "columns": {"event_offset": "received_at"}}),
            "does not fit",
            "cannot cast",
        ),
        (writer(json!({"table": "there"})), "does not let us in", "permission denied for table there"),
        (
            writer(json!({"table": "there", "exactly_once": true})),
            "does not let us in",
            "permission denied for schema",
        ),
        (
            writer(json!({"table": "new", "create_table": true})),
            "does not let us in",
            "permission denied for schema",
        ),
    ] {
        let error = database.sink(&extra).check().await.unwrap_err().to_string();
        assert!(error.contains(kind) && error.contains(reason), "{extra}: {error}");
    }
}

#[tokio::test]
async fn a_right_to_insert_is_enough_where_the_tables_are_there() {
    let Some(database) = Database::start().await else { return };
    let settings = json!({"exactly_once": true});
    assert_eq!(database.sink(&settings).check().await, Ok(()));
    database
        .execute(
            "CREATE ROLE writer LOGIN PASSWORD 'w'; REVOKE CREATE ON SCHEMA public FROM PUBLIC; GRANT INSERT ON events TO writer; \
             GRANT SELECT, INSERT, UPDATE, DELETE ON eventrelay_cursors, eventrelay_rejected, eventrelay_skipped TO writer",
        )
        .await;
    let writer = json!({"exactly_once": true, "user": "writer", "password": "w"});
    assert_eq!(database.sink(&writer).check().await, Ok(()));
    for (table, right) in [
        ("eventrelay_cursors", "UPDATE"),
        ("eventrelay_rejected", "DELETE"),
        ("eventrelay_skipped", "INSERT"),
    ] {
        database.execute(&format!("REVOKE {right} ON {table} FROM writer")).await;
        let error = database.sink(&writer).check().await.unwrap_err();
        assert!(matches!(&error, CheckError::Forbidden(why) if why.contains(table)), "{error}");
        database.execute(&format!("GRANT {right} ON {table} TO writer")).await;
    }
}

#[tokio::test]
async fn who_creates_a_table_at_the_same_moment_as_others_finds_it_there() {
    let Some(database) = Database::start().await else { return };
    for round in 0..20 {
        let settings = json!({"table": format!("events_{round}"), "exactly_once": true});
        let sinks: Vec<_> = (0..4).map(|_| database.sink(&settings)).collect();
        let checked = join_all(sinks.iter().map(|sink| sink.check())).await;
        assert_eq!(checked, vec![Ok(()); sinks.len()], "round {round}");
    }
}
