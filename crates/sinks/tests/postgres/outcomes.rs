//! What becomes of events that the database refuses, and of those beside them.

use eventrelay_event::Event;
use eventrelay_sinks::Outcome;
use serde_json::json;

use crate::database::{Database, all_delivered, all_retried, deliver, delivery, event, live, rejected};

#[tokio::test]
async fn poison_events_are_rejected_and_their_neighbours_inserted() {
    let Some(database) = Database::start().await else { return };
    database
        .execute(
            "CREATE TABLE events (event_offset bigint CHECK (event_offset <> 7), n int UNIQUE DEFERRABLE INITIALLY DEFERRED, subject text); \
             CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
               IF NEW.event_offset = 55 THEN RAISE EXCEPTION 'no orders on Sundays'; END IF; RETURN NEW; END $$; \
             CREATE TRIGGER look BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION look()",
        )
        .await;
    let columns = json!({"event_offset": "offset", "n": "data", "subject": "subject"});
    for exactly_once in [false, true] {
        database.execute("TRUNCATE events").await;
        let sink = database.sink(&json!({"columns": columns, "exactly_once": exactly_once}));
        let mut batch: Vec<_> = (0..100).map(|n| delivery(n, &event(&n.to_string()))).collect();
        batch[30] = delivery(30, &event("\"canary\""));
        batch[31] = delivery(31, &event("12345678901"));
        batch[99] = delivery(99, &event("98"));
        let outcomes = deliver(&sink, &batch).await;
        for (offset, reason) in [
            (7, "violates check constraint \"events_event_offset_check\" (SQLSTATE 23514)"),
            (30, "invalid input syntax for type integer (SQLSTATE 22P02)"),
            (31, "out of range for type integer (SQLSTATE 22003)"),
            (55, "no orders on Sundays (SQLSTATE P0001)"),
            (99, "duplicate key value violates unique constraint \"events_n_key\" (SQLSTATE 23505)"),
        ] {
            let why = rejected(&outcomes[offset]);
            assert!(why.contains(reason) && !why.contains("canary"), "{offset}: {why}");
        }
        let delivered = outcomes.iter().filter(|outcome| **outcome == Outcome::Delivered).count();
        assert_eq!(delivered, 95);
        let expected = (0..100).filter(|n| ![7, 30, 31, 55, 99].contains(n));
        assert!(database.offsets().await.into_iter().eq(expected), "exactly_once = {exactly_once}");
    }
}

#[tokio::test]
async fn row_level_security_refuses_rows_and_a_missing_right_refuses_none() {
    let Some(database) = Database::start().await else { return };
    database
        .execute(
            "CREATE TABLE events (event_offset bigint, subject text); ALTER TABLE events ENABLE ROW LEVEL SECURITY; \
             CREATE POLICY p ON events FOR INSERT WITH CHECK (subject = 'mine'); \
             CREATE ROLE writer LOGIN PASSWORD 'w'; GRANT INSERT ON events TO writer",
        )
        .await;
    let columns = json!({"event_offset": "offset", "subject": "subject"});
    let sink = database.sink(&json!({"columns": columns, "user": "writer", "password": "w"}));
    let about = |offset, who: &str| delivery(offset, &Event { subject: Some(who.to_owned()), ..event("1") });
    let outcomes = deliver(&sink, &[about(0, "mine"), about(1, "theirs"), about(2, "mine")]).await;
    assert!(rejected(&outcomes[1]).contains("row-level security policy"), "{outcomes:?}");
    assert_eq!(database.offsets().await, [0, 2]);

    database.execute("REVOKE INSERT ON events FROM writer").await;
    let outcomes = deliver(&sink, &[about(3, "mine"), about(4, "mine")]).await;
    assert!(all_retried(&outcomes).contains("permission denied for table events"), "{outcomes:?}");
    database.execute("GRANT INSERT ON events TO writer").await;
    all_delivered(&deliver(&sink, &[about(3, "mine"), about(4, "mine")]).await);
    assert_eq!(database.offsets().await, [0, 2, 3, 4]);
}

#[tokio::test]
async fn a_schema_that_changes_refuses_no_event_and_is_looked_at_anew() {
    let Some(database) = Database::start().await else { return };
    for exactly_once in [false, true] {
        database.execute("DROP TABLE IF EXISTS events").await;
        let offset = if exactly_once { 10 } else { 0 };
        let batch = |n: u64| live([offset + n]);
        let sink = database.sink(&json!({"exactly_once": exactly_once}));
        all_delivered(&deliver(&sink, &batch(0)).await);

        database.execute("ALTER TABLE events RENAME COLUMN data TO body").await;
        assert!(all_retried(&deliver(&sink, &batch(1)).await).contains("data"));
        assert!(all_retried(&deliver(&sink, &batch(1)).await).contains("has no column \"data\""));
        database
            .execute("ALTER TABLE events RENAME COLUMN body TO data; ALTER TABLE events ALTER data TYPE text")
            .await;
        all_delivered(&deliver(&sink, &batch(1)).await);

        // Every event would be refused for what is no fault of theirs.
        database.execute("ALTER TABLE events ADD region text; UPDATE events SET region = ''; ALTER TABLE events ALTER region SET NOT NULL").await;
        assert!(all_retried(&deliver(&sink, &batch(2)).await).contains("\"region\""));
        assert!(all_retried(&deliver(&sink, &batch(2)).await).contains("must not be null and is not filled"));
        database.execute("ALTER TABLE events ALTER region SET DEFAULT 'eu'").await;
        all_delivered(&deliver(&sink, &batch(2)).await);

        // Another type, while the statement is prepared for the old one.
        database.execute("ALTER TABLE events ALTER event_offset TYPE text").await;
        let outcomes = deliver(&sink, &batch(3)).await;
        if outcomes != [Outcome::Delivered] {
            all_retried(&outcomes);
            all_delivered(&deliver(&sink, &batch(3)).await);
        }
        assert_eq!(database.count("SELECT count(*) FROM events").await, 4);

        // Gone: it is made again, since the settings ask for it.
        database.execute("DROP TABLE events").await;
        assert!(all_retried(&deliver(&sink, &batch(4)).await).contains("does not exist"));
        all_delivered(&deliver(&sink, &batch(4)).await);
        assert_eq!(database.offsets().await, [offset + 4]);
    }
}

#[tokio::test]
async fn a_wrong_password_and_a_missing_database_are_retried_with_the_reason() {
    let Some(database) = Database::start().await else { return };
    for (extra, reason) in [
        (json!({"password": "canary"}), "password authentication failed"),
        (json!({"database": "nowhere"}), "database \"nowhere\" does not exist"),
        (json!({"table": "nowhere.events"}), "schema \"nowhere\" does not exist"),
        (json!({"create_table": false}), "the table \"events\" does not exist"),
        (json!({"plaintext": false}), "TLS"),
    ] {
        let sink = database.sink(&extra);
        let outcomes = deliver(&sink, &live(0..3)).await;
        let why = all_retried(&outcomes);
        assert!(why.contains(reason) && !why.contains("canary"), "{why}");
    }
}
