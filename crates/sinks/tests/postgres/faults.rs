//! The server is not there, dies, hangs and forgets.

use std::sync::Arc;
use std::time::Duration;

use eventrelay_sinks::Sink;
use serde_json::json;

use crate::database::{Database, all_delivered, all_retried, deliver, deliver_until_settled, live};

#[tokio::test]
async fn it_begins_once_the_server_is_there() {
    for exactly_once in [false, true] {
        let Some(mut database) = Database::start().await else { return };
        database.component.kill();
        let sink = database.sink(&json!({"exactly_once": exactly_once}));
        let batch = live(0..10);
        for _ in 0..3 {
            let outcomes = deliver(&sink, &batch).await;
            assert!(all_retried(&outcomes).contains("cannot be connected to"), "{outcomes:?}");
        }
        database.resume().await;
        all_delivered(&deliver_until_settled(&sink, &batch).await);
        assert!(database.offsets().await.into_iter().eq(0..10));
    }
}

#[tokio::test]
async fn a_server_that_dies_in_the_middle_of_a_batch_has_all_of_it_or_nothing() {
    for exactly_once in [false, true] {
        let Some(mut database) = Database::start().await else { return };
        let sink = database.sink(&json!({"exactly_once": exactly_once}));
        all_delivered(&deliver(&sink, &live(0..10)).await);
        let _locker = database.locked("events").await;
        let batch = live(10..1010);
        let call = tokio::spawn({
            let (sink, batch) = (Arc::clone(&sink), batch.clone());
            async move { deliver(&sink, &batch).await }
        });
        database.until_blocked(1).await;
        database.component.kill();
        all_retried(&call.await.unwrap());
        all_retried(&deliver(&sink, &batch).await);
        database.resume().await;
        assert_eq!(database.offsets().await.len(), 10);
        all_delivered(&deliver_until_settled(&sink, &batch).await);
        assert!(database.offsets().await.into_iter().eq(0..1010));
    }
}

#[tokio::test]
async fn what_a_hanging_server_does_later_is_not_done_twice() {
    let Some(database) = Database::start().await else { return };
    let sink = database.sink(&json!({"exactly_once": true, "timeout_ms": 400}));
    all_delivered(&deliver_until_settled(&sink, &live(0..10)).await);
    let batch = live(10..20);
    for _ in 0..3 {
        database.component.freeze();
        let outcomes = deliver(&sink, &batch).await;
        assert!(all_retried(&outcomes).contains("in time"), "{outcomes:?}");
        let outcomes = deliver(&sink, &batch).await;
        assert!(all_retried(&outcomes).contains("in time"), "{outcomes:?}");
        database.component.thaw();
    }
    all_delivered(&deliver_until_settled(&sink, &batch).await);
    assert!(database.offsets().await.into_iter().eq(0..20));
}

#[tokio::test]
async fn a_slow_statement_is_given_up_by_both_sides() {
    let Some(database) = Database::start().await else { return };
    for exactly_once in [false, true] {
        let sink = database.sink(&json!({"exactly_once": exactly_once, "timeout_ms": 1000, "table": "slow"}));
        all_delivered(&deliver_until_settled(&sink, &live(0..1)).await);
        let locker = database.locked("slow").await;
        let outcomes = deliver(&sink, &live(1..2)).await;
        all_retried(&outcomes);
        // The server ends it too, so nothing of it is left when the table is free again.
        let running = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'eventrelay' AND state = 'active'";
        database.until(running, 0).await;
        locker.batch_execute("ROLLBACK").await.unwrap();
        all_delivered(&deliver_until_settled(&sink, &live(1..2)).await);
        assert_eq!(database.count("SELECT count(*) FROM slow").await, 2);
        database.execute("DROP TABLE slow").await;
    }
}

#[tokio::test]
async fn it_goes_on_by_itself_on_a_server_that_has_lost_everything() {
    for exactly_once in [false, true] {
        let Some(mut database) = Database::start().await else { return };
        let sink = database.sink(&json!({"exactly_once": exactly_once}));
        all_delivered(&deliver(&sink, &live(0..10)).await);
        database.component.kill();
        database.component.lose_everything();
        database.resume().await;
        all_delivered(&deliver_until_settled(&sink, &live(10..20)).await);
        assert!(database.offsets().await.into_iter().eq(10..20));
        if exactly_once {
            // Set back, what is missing comes again, and nothing else.
            all_delivered(&deliver(&sink, &live(5..25)).await);
            assert!(database.offsets().await.into_iter().eq((10..20).chain(5..10).chain(20..25)));
        }
    }
}

#[tokio::test]
async fn connections_that_the_server_ends_are_made_anew() {
    let Some(database) = Database::start().await else { return };
    for exactly_once in [false, true] {
        let sink = database.sink(&json!({"exactly_once": exactly_once, "table": "ended"}));
        all_delivered(&deliver(&sink, &live(0..1)).await);
        database
            .execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'eventrelay'")
            .await;
        all_delivered(&deliver_until_settled(&sink, &live(1..2)).await);
        assert_eq!(database.count("SELECT count(*) FROM ended").await, 2);
        database.execute("DROP TABLE ended").await;
    }
}

#[tokio::test]
async fn a_call_that_is_dropped_anywhere_leaves_nothing_half_done() {
    let Some(database) = Database::start().await else { return };
    let sink = database.sink(&json!({"exactly_once": true}));
    let sink: &Arc<dyn Sink> = &sink;
    let mut next = 0;
    // Each step of the call once: it is polled so often, and then dropped.
    for polls in 1..60 {
        let batch = live(next..next + 5);
        {
            let mut call = sink.deliver(&batch);
            for _ in 0..polls {
                let step = tokio::time::timeout(
                    Duration::from_millis(20),
                    std::future::poll_fn(|context| std::task::Poll::Ready(call.as_mut().poll(context))),
                );
                if step.await.unwrap().is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        all_delivered(&deliver_until_settled(sink, &batch).await);
        next += 5;
    }
    assert!(database.offsets().await.into_iter().eq(0..next));
}
