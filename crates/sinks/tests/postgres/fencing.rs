//! Two instances of one subscription: the later one owns the cursor.

use eventrelay_sinks::Outcome;
use serde_json::json;

use crate::database::{Database, all_delivered, all_retried, deliver, deliver_until_settled, live};

#[tokio::test]
async fn an_instance_that_another_has_taken_over_from_delivers_nothing_more() {
    let Some(database) = Database::start().await else { return };
    let settings = json!({"exactly_once": true});
    let (old, new) = (database.sink(&settings), database.sink(&settings));
    all_delivered(&deliver(&old, &live(0..10)).await);
    all_delivered(&deliver(&new, &live(5..20)).await);

    for _ in 0..3 {
        let outcomes = deliver(&old, &live(10..30)).await;
        assert_eq!(all_retried(&outcomes), "fenced: another instance has taken over");
    }
    assert_eq!(database.offsets().await.len(), 20);
    all_delivered(&deliver(&new, &live(20..30)).await);

    // Not over a new connection either.
    database
        .execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'eventrelay'")
        .await;
    assert!(all_retried(&deliver(&old, &live(30..40)).await).starts_with("fenced"));
    all_delivered(&deliver_until_settled(&new, &live(30..40)).await);
    assert!(database.offsets().await.into_iter().eq(0..40));
    assert_eq!(database.texts("SELECT epoch FROM eventrelay_cursors").await, ["2"]);
}

#[tokio::test]
async fn an_old_instance_that_had_no_connection_is_fenced_too() {
    let Some(database) = Database::start().await else { return };
    let settings = json!({"exactly_once": true});
    let (old, new) = (database.sink(&settings), database.sink(&settings));
    all_delivered(&deliver(&old, &live(0..10)).await);
    database
        .execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'eventrelay'")
        .await;
    all_delivered(&deliver(&new, &live(0..20)).await);
    assert!(all_retried(&deliver(&old, &live(20..30)).await).starts_with("fenced"));
    assert!(database.offsets().await.into_iter().eq(0..20));
}

#[tokio::test]
async fn of_two_that_start_at_once_one_wins() {
    let Some(database) = Database::start().await else { return };
    let settings = json!({"exactly_once": true});
    for round in 0..10 {
        let (one, two) = (database.sink(&settings), database.sink(&settings));
        let batch = live(round * 20..round * 20 + 10);
        // Both get as far as having the cursor or having lost it. Before, one may be in the other's way.
        let settle = async |sink| {
            while let Outcome::Retry { why, .. } = &deliver(sink, &batch).await[0] {
                if why.starts_with("fenced") {
                    break;
                }
            }
        };
        tokio::join!(settle(&one), settle(&two));
        let batch = live(round * 20 + 10..round * 20 + 20);
        let (first, second) = (deliver(&one, &batch).await, deliver(&two, &batch).await);
        let fenced = [&first, &second].map(|outcomes| matches!(outcomes[0], Outcome::Retry { .. }));
        assert!(fenced[0] != fenced[1], "{first:?} {second:?}");
    }
    assert!(database.offsets().await.into_iter().eq(0..200));
}

#[tokio::test]
async fn a_restored_database_is_gone_on_with_and_what_it_lacks_can_be_had_again() {
    let Some(database) = Database::start().await else { return };
    let sink = database.sink(&json!({"exactly_once": true}));
    all_delivered(&deliver(&sink, &live(0..10)).await);
    // What a backup of then would hold, brought back later.
    database.execute("CREATE TABLE backup AS SELECT * FROM eventrelay_cursors").await;
    all_delivered(&deliver(&sink, &live(10..20)).await);
    for before_our_claim in [false, true] {
        database
            .execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'eventrelay'; \
                 DELETE FROM eventrelay_cursors; INSERT INTO eventrelay_cursors SELECT * FROM backup; \
                 DELETE FROM eventrelay_skipped; DELETE FROM events WHERE event_offset >= 10",
            )
            .await;
        if before_our_claim {
            database.execute("UPDATE eventrelay_cursors SET epoch = 0, instance = 'somebody'").await;
        }
        all_delivered(&deliver_until_settled(&sink, &live(20..30)).await);
        assert!(database.offsets().await.into_iter().eq((0..10).chain(20..30)));
        all_delivered(&deliver(&sink, &live(0..30)).await);
        let mut found = database.offsets().await;
        found.sort_unstable();
        assert!(found.into_iter().eq(0..30));
    }
}
