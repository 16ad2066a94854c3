//! What rows look like.

use bytes::Bytes;
use eventrelay_event::{Data, Event};
use serde_json::json;

use crate::database::{Database, all_delivered, deliver, delivery, event, live, rejected};

#[tokio::test]
async fn events_become_rows_of_a_table_that_is_made_for_them() {
    let Some(database) = Database::start().await else { return };
    let sink = database.sink(&json!({}));
    let full = Event {
        id: Some("c-1".to_owned()),
        subject: Some("o'1".to_owned()),
        time: Some("2026-01-31T13:00:00+01:00".to_owned()),
        key: Some("k".to_owned()),
        content_type: Some("application/json".to_owned()),
        headers: vec![("traceparent".to_owned(), "00-\"1".to_owned())],
        ..event(r#"{"total": 1.50, "text": "ünï\u0001"}"#)
    };
    let bare = Event { data: None, ..event("1") };
    let batch = [delivery(0, &full), delivery(1, &bare)];
    all_delivered(&deliver(&sink, &batch).await);

    let columns = "event_id::text, event_offset, tenant, type, source, subject, key, content_type, headers->>'traceparent', \
                   data->>'total', data->>'text', time = '2026-01-31 12:00:00Z', received_at = '2026-01-31 12:00:00.000123Z'";
    let row = database
        .client
        .query_one(&format!("SELECT {columns} FROM events WHERE event_offset = 0"), &[])
        .await
        .unwrap();
    assert_eq!(row.get::<_, String>(0), batch[0].event.id().to_string());
    for (index, expected) in [
        (2, "default"),
        (3, "order.created"),
        (4, "/shop"),
        (5, "o'1"),
        (6, "k"),
        (7, "application/json"),
        (8, "00-\"1"),
        (9, "1.50"),
        (10, "ünï\u{1}"),
    ] {
        assert_eq!(row.get::<_, String>(index), expected, "column {index}");
    }
    assert!(row.get::<_, bool>(11) && row.get::<_, bool>(12));

    let nulls = "subject IS NULL AND key IS NULL AND content_type IS NULL AND headers IS NULL AND data IS NULL AND time = received_at";
    assert_eq!(
        database.count(&format!("SELECT count(*) FROM events WHERE event_offset = 1 AND {nulls}")).await,
        1
    );
}

#[tokio::test]
async fn any_column_of_any_type_takes_what_fits_in_it() {
    let Some(database) = Database::start().await else { return };
    database
        .execute(
            "CREATE SCHEMA \"Audit\"; CREATE DOMAIN document AS jsonb CHECK (VALUE ? 'n'); CREATE TYPE kind AS ENUM ('order.created'); \
             CREATE TABLE \"Audit\".\"Log\" (row_number bigserial, raw bytea, doc document, spelled json, plain varchar(40), k kind, \
             id_text text, at timestamp, at_text text, place numeric, whole jsonb, cloud jsonb, trace char(4), \"We\"\"ird\" text)",
        )
        .await;
    let columns = json!({
        "raw": "data", "doc": "data", "spelled": "data", "plain": "data", "k": "type", "id_text": "id", "at": "time",
        "at_text": "time", "place": "offset", "whole": "event", "cloud": "cloudevent", "trace": "header.trace", "We\"ird": "source",
    });
    let sink = database.sink(&json!({"table": "Audit.Log", "create_table": false, "columns": columns}));
    let one = Event {
        time: Some("2026-01-31T13:00:00.5+01:00".to_owned()),
        headers: vec![("trace".to_owned(), "ab".to_owned())],
        ..event(r#"{"n":  1e2}"#)
    };
    let batch = [delivery(5, &one)];
    all_delivered(&deliver(&sink, &batch).await);
    let id = batch[0].event.id();
    for (expression, expected) in [
        ("convert_from(raw, 'UTF8')", r#"{"n":  1e2}"#),
        ("doc->>'n'", "100"),
        ("spelled", r#"{"n":  1e2}"#),
        ("plain", r#"{"n":  1e2}"#),
        ("k", "order.created"),
        ("id_text", &id.to_string()),
        ("at", "2026-01-31 12:00:00.5"),
        ("at_text", "2026-01-31T13:00:00.5+01:00"),
        ("place", "5"),
        ("whole->>'offset'", "5"),
        ("whole->>'type'", "order.created"),
        ("cloud->>'specversion'", "1.0"),
        ("trace", "ab"),
        ("\"We\"\"ird\"", "/shop"),
    ] {
        let found = database.texts(&format!("SELECT {expression} FROM \"Audit\".\"Log\"")).await;
        assert_eq!(found, [expected], "{expression}");
    }
    // Not cut to fit.
    let long = deliver(&sink, &[delivery(6, &event(&format!(r#"{{"n": "{}"}}"#, "x".repeat(50))))]).await;
    assert!(rejected(&long[0]).contains("too long for type character varying(40)"), "{long:?}");
}

#[tokio::test]
async fn data_that_is_no_json_is_a_json_string() {
    let Some(database) = Database::start().await else { return };
    let sink = database.sink(&json!({}));
    let text = Event { data: Some(Data::text("a \"b\"\n".to_owned())), ..event("1") };
    let binary = Event { data: Some(Data::binary(Bytes::from_static(b"\0\xff"))), ..event("1") };
    all_delivered(&deliver(&sink, &[delivery(0, &text), delivery(1, &binary)]).await);
    let found = database.texts("SELECT data FROM events ORDER BY event_offset").await;
    assert_eq!(found, [r#""a \"b\"\n""#, r#""AP8=""#]);
}

#[tokio::test]
async fn a_large_batch_keeps_its_order() {
    let Some(database) = Database::start().await else { return };
    let sink = database.sink(&json!({"batch_events": 10_000}));
    assert_eq!(sink.batch_limit().events, 10_000);
    all_delivered(&deliver(&sink, &live(0..10_000)).await);
    assert!(database.offsets().await.into_iter().eq(0..10_000));
}

#[tokio::test]
async fn with_a_key_the_last_event_of_each_is_kept() {
    let Some(database) = Database::start().await else { return };
    let sink = database.sink(&json!({"on_conflict": ["key"]}));
    let keyed = |offset, key: &str| {
        delivery(offset, &Event { key: Some(key.to_owned()), ..event(&offset.to_string()) })
    };
    all_delivered(&deliver(&sink, &[keyed(0, "a"), keyed(1, "b"), keyed(2, "a"), keyed(3, "a")]).await);
    all_delivered(&deliver(&sink, &[keyed(4, "b"), keyed(5, "c"), keyed(6, "c")]).await);
    let found = database
        .texts("SELECT key || ' ' || event_offset || ' ' || (data #>> '{}') FROM events ORDER BY key")
        .await;
    assert_eq!(found, ["a 3 3", "b 4 4", "c 6 6"]);

    // Without the key there is no row that it could be.
    let outcomes = deliver(&sink, &[keyed(7, "d"), delivery(8, &event("8")), keyed(9, "e")]).await;
    assert!(rejected(&outcomes[1]).contains("null value in column \"key\""), "{outcomes:?}");
    assert_eq!(database.count("SELECT count(*) FROM events").await, 5);
}

#[tokio::test]
async fn rows_without_a_key_are_not_taken_for_one_another() {
    let Some(database) = Database::start().await else { return };
    database.execute("CREATE TABLE orders (who text UNIQUE, n bigint)").await;
    let settings =
        json!({"table": "orders", "columns": {"who": "subject", "n": "offset"}, "on_conflict": ["who"]});
    let sink = database.sink(&settings);
    let about = |offset, who: Option<&str>| {
        delivery(offset, &Event { subject: who.map(str::to_owned), ..event("1") })
    };
    let batch = [about(0, None), about(1, Some("x")), about(2, None), about(3, Some("x"))];
    all_delivered(&deliver(&sink, &batch).await);
    assert_eq!(database.texts("SELECT n FROM orders ORDER BY n").await, ["0", "2", "3"]);
}

#[tokio::test]
async fn many_calls_at_once_share_few_connections() {
    let Some(database) = Database::start().await else { return };
    let sink = database.sink(&json!({"max_connections": 3}));
    all_delivered(&deliver(&sink, &live(0..1)).await);
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..40 {
        let sink = std::sync::Arc::clone(&sink);
        calls.spawn(async move { deliver(&sink, &live(n * 100..n * 100 + 100)).await });
    }
    for outcomes in calls.join_all().await {
        all_delivered(&outcomes);
    }
    assert_eq!(database.count("SELECT count(*) FROM events").await, 4001);
    let ours = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'eventrelay'";
    assert_eq!(database.count(ours).await, 3);
    sink.close().await;
    database.until(ours, 0).await;
}
