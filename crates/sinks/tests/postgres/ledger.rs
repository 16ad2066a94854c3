//! What the database remembers of events below the cursor: refused, given up, skipped.

use std::sync::Arc;

use eventrelay_sinks::{Outcome, Purpose, Sink};
use serde_json::json;

use crate::database::{Database, all_delivered, all_retried, deliver, live, rejected, with_purpose};

/// A table that refuses every event whose offset is a multiple of 10, and a sink into it.
async fn start() -> Option<(Database, Arc<dyn Sink>)> {
    let database = Database::start().await?;
    database
        .execute(
            "CREATE TABLE events (event_offset bigint CONSTRAINT no_tens CHECK (event_offset % 10 <> 0))",
        )
        .await;
    let sink = restarted(&database);
    Some((database, sink))
}

fn restarted(database: &Database) -> Arc<dyn Sink> {
    database
        .sink(&json!({"exactly_once": true, "create_table": false, "columns": {"event_offset": "offset"}}))
}

#[tokio::test]
async fn a_rejected_event_stays_rejected_until_it_is_redriven() {
    let Some((database, sink)) = start().await else { return };
    let outcomes = deliver(&sink, &live(8..13)).await;
    assert!(rejected(&outcomes[2]).contains("no_tens"));
    assert_eq!(database.offsets().await, [8, 9, 11, 12]);

    // A crash before the dead letter was saved: the event comes again, and must not count as delivered.
    database.execute("ALTER TABLE events DROP CONSTRAINT no_tens").await;
    let sink = restarted(&database);
    let again = deliver(&sink, &live(8..14)).await;
    assert_eq!(again[2], outcomes[2]);
    assert_eq!(database.offsets().await, [8, 9, 11, 12, 13]);

    let redrive = with_purpose(Purpose::Redrive, [10]);
    all_delivered(&deliver(&sink, &redrive).await);
    assert_eq!(database.offsets().await, [8, 9, 11, 12, 13, 10]);
    // Repeated after a crash, as a redrive or not: it is there.
    all_delivered(&deliver(&restarted(&database), &redrive).await);
    all_delivered(&deliver(&restarted(&database), &live(8..14)).await);
    assert_eq!(database.offsets().await.len(), 6);
}

#[tokio::test]
async fn a_redrive_that_is_refused_again_stays_rejected() {
    let Some((database, sink)) = start().await else { return };
    deliver(&sink, &live(5..15)).await;
    let outcomes = deliver(&sink, &with_purpose(Purpose::Redrive, [10])).await;
    assert!(rejected(&outcomes[0]).contains("no_tens"));
    assert_eq!(database.texts("SELECT event_offset FROM eventrelay_rejected").await, ["10"]);
    assert!(rejected(&deliver(&sink, &live(10..11)).await[0]).contains("no_tens"));
    assert_eq!(database.count("SELECT count(*) FROM events WHERE event_offset = 10").await, 0);
}

#[tokio::test]
async fn an_event_that_was_given_up_is_not_taken_for_delivered() {
    let Some((database, sink)) = start().await else { return };
    all_delivered(&deliver(&sink, &live(1..3)).await);
    database.execute("ALTER TABLE events RENAME TO elsewhere").await;
    let outcomes = deliver(&sink, &live(3..6)).await;
    let why = all_retried(&outcomes).to_owned();
    database.execute("ALTER TABLE elsewhere RENAME TO events").await;
    // The dispatcher has used up the tries of 3 and 4, and goes on.
    all_delivered(&deliver(&sink, &live(5..6)).await);

    let sink = restarted(&database);
    let outcomes = deliver(&sink, &live(3..7)).await;
    for outcome in &outcomes[..2] {
        assert_eq!(rejected(outcome), format!("given up: {why}"));
    }
    all_delivered(&outcomes[2..]);
    all_delivered(&deliver(&sink, &with_purpose(Purpose::Redrive, [3, 4, 3])).await);
    assert_eq!(database.offsets().await, [1, 2, 5, 6, 3, 4]);
}

#[tokio::test]
async fn dead_letters_from_before_the_first_row_can_be_redriven_in_any_order() {
    let Some((database, sink)) = start().await else { return };
    // 1 to 5 died while there was no server, in another life of this sink.
    all_delivered(&deliver(&sink, &with_purpose(Purpose::Redrive, [3])).await);
    all_delivered(&deliver(&sink, &live(6..8)).await);
    all_delivered(&deliver(&sink, &with_purpose(Purpose::Redrive, [1, 2, 4, 5])).await);
    all_delivered(&deliver(&restarted(&database), &with_purpose(Purpose::Redrive, 1..6)).await);
    assert_eq!(database.offsets().await, [3, 6, 7, 1, 2, 4, 5]);
}

#[tokio::test]
async fn offsets_that_never_came_are_inserted_when_they_do() {
    let Some((database, sink)) = start().await else { return };
    all_delivered(&deliver(&sink, &live([2, 3, 6])).await);
    all_delivered(&deliver(&sink, &live([8])).await);
    assert_eq!(database.texts("SELECT offsets FROM eventrelay_skipped").await, ["{[0,2),[4,6),[7,8)}"]);

    // Set back, with another filter.
    let sink = restarted(&database);
    let outcomes = deliver(&sink, &live(0..13)).await;
    assert!(rejected(&outcomes[0]).contains("no_tens") && rejected(&outcomes[10]).contains("no_tens"));
    let delivered = outcomes.iter().filter(|outcome| **outcome == Outcome::Delivered).count();
    assert_eq!(delivered, 11);
    assert_eq!(database.offsets().await, [2, 3, 6, 8, 1, 4, 5, 7, 9, 11, 12]);
    // And once more: nothing is missing now.
    let again = deliver(&restarted(&database), &live(0..13)).await;
    assert_eq!(again, outcomes);
    assert_eq!(database.offsets().await.len(), 11);
}

#[tokio::test]
async fn a_replay_inserts_again() {
    let Some((database, sink)) = start().await else { return };
    deliver(&sink, &live(8..12)).await;
    let outcomes = deliver(&sink, &with_purpose(Purpose::Replay, 9..12)).await;
    all_delivered(&[outcomes[0].clone(), outcomes[2].clone()]);
    assert!(rejected(&outcomes[1]).contains("no_tens"));
    assert_eq!(database.offsets().await, [8, 9, 11, 9, 11]);
    // The live cursor has not moved.
    all_delivered(&deliver(&sink, &live(11..14)).await);
    assert_eq!(database.offsets().await, [8, 9, 11, 9, 11, 12, 13]);
    assert_eq!(database.texts("SELECT next_offset FROM eventrelay_cursors").await, ["14"]);
}

#[tokio::test]
async fn one_call_may_bring_all_of_it() {
    let Some((database, sink)) = start().await else { return };
    deliver(&sink, &live(8..12)).await;
    let batch = [
        with_purpose(Purpose::Replay, [9]),
        live(11..13),
        with_purpose(Purpose::Redrive, [10]),
        live([14]),
        with_purpose(Purpose::Redrive, [13]),
        with_purpose(Purpose::Replay, [8]),
    ]
    .concat();
    database.execute("ALTER TABLE events DROP CONSTRAINT no_tens").await;
    all_delivered(&deliver(&sink, &batch).await);
    assert_eq!(database.offsets().await, [8, 9, 11, 9, 12, 10, 14, 13, 8]);
}

#[tokio::test]
async fn what_a_filter_leaves_out_takes_few_rows() {
    let Some((database, sink)) = start().await else { return };
    for n in 0..600 {
        all_delivered(&deliver(&sink, &live([n * 10 + 5])).await);
    }
    // Six hundred gaps, each passed by a call of its own.
    assert_eq!(database.count("SELECT count(*) FROM eventrelay_skipped").await, 3);
    let gaps = "SELECT count(*) FROM eventrelay_skipped, unnest(offsets)";
    assert_eq!(database.count(gaps).await, 600);
    all_delivered(&deliver(&restarted(&database), &live([1, 2563, 5991])).await);
    assert_eq!(database.count("SELECT count(*) FROM events").await, 603);
}
