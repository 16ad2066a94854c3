//! Exactly once, whatever is lost on the way: rows = events, no double, no gap.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use eventrelay_sinks::{Guarantee, Outcome, Owner, build};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;
use tokio::sync::oneshot;

use crate::database::{
    Database, all_delivered, all_retried, deliver, deliver_until_settled, live, loopback, owner, settings,
    sink_at,
};
use crate::proxy::{Fault, Proxy};

#[tokio::test]
async fn it_says_so_and_needs_strict_order() {
    let sink = sink_at(1, &json!({"exactly_once": true}));
    assert_eq!((sink.guarantee(), sink.needs_strict_order()), (Guarantee::ExactlyOnce, true));
    let sink = sink_at(1, &json!({}));
    assert_eq!((sink.guarantee(), sink.needs_strict_order()), (Guarantee::AtLeastOnce, false));
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_found() {
    let Some(database) = Database::start().await else { return };
    let proxy = Proxy::start(database.component.address()).await;
    let sink = sink_at(proxy.port(), &json!({"exactly_once": true}));
    all_delivered(&deliver(&sink, &live(0..10)).await);

    proxy.arm(Fault::LoseAnswer);
    all_retried(&deliver(&sink, &live(10..20)).await);
    assert!(proxy.has_struck());
    assert!(database.offsets().await.into_iter().eq(0..20), "it was committed");
    all_delivered(&deliver(&sink, &live(10..25)).await);

    proxy.arm(Fault::LoseRequest);
    all_retried(&deliver(&sink, &live(25..30)).await);
    assert_eq!(database.offsets().await.len(), 25, "it was not");
    all_delivered(&deliver(&sink, &live(25..30)).await);
    assert!(database.offsets().await.into_iter().eq(0..30));
}

#[tokio::test]
async fn a_statement_that_arrives_late_does_nothing() {
    let Some(database) = Database::start().await else { return };
    let proxy = Proxy::start(database.component.address()).await;
    let sink = sink_at(proxy.port(), &json!({"exactly_once": true}));
    all_delivered(&deliver(&sink, &live(0..10)).await);

    let (release, released) = oneshot::channel();
    proxy.arm(Fault::Delay(released));
    all_retried(&deliver(&sink, &live(10..20)).await);
    all_delivered(&deliver(&sink, &live(10..20)).await);
    let ours = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'eventrelay'";
    assert_eq!(database.count(ours).await, 2);
    release.send(()).unwrap();
    database.until(ours, 1).await;
    assert!(database.offsets().await.into_iter().eq(0..20));
    all_delivered(&deliver(&sink, &live(20..30)).await);
    assert!(database.offsets().await.into_iter().eq(0..30));
}

#[tokio::test]
async fn a_statement_that_is_still_under_way_and_its_repetition_are_one() {
    let Some(database) = Database::start().await else { return };
    let sink = database.sink(&json!({"exactly_once": true, "timeout_ms": 2000}));
    all_delivered(&deliver(&sink, &live(0..10)).await);
    // The first one hangs behind a lock when its call is dropped; the second hangs behind the first.
    let locker = database.locked("events").await;
    let batch = live(10..20);
    let cut = tokio::time::timeout(Duration::from_millis(300), sink.deliver(&batch)).await;
    assert!(cut.is_err(), "{cut:?}");
    let second = tokio::spawn({
        let (sink, batch) = (Arc::clone(&sink), batch.clone());
        async move { deliver(&sink, &batch).await }
    });
    database.until_blocked(2).await;
    locker.batch_execute("COMMIT").await.unwrap();
    second.await.unwrap();
    all_delivered(&deliver_until_settled(&sink, &batch).await);
    assert!(database.offsets().await.into_iter().eq(0..20));
}

#[tokio::test]
async fn a_sink_built_anew_passes_over_what_is_there() {
    let Some(database) = Database::start().await else { return };
    let settings = json!({"exactly_once": true});
    all_delivered(&deliver(&database.sink(&settings), &live(0..20)).await);
    all_delivered(&deliver(&database.sink(&settings), &live(3..20)).await);
    let sink = database.sink(&settings);
    all_delivered(&deliver(&sink, &live(12..30)).await);
    all_delivered(&deliver(&sink, &live(0..40)).await);
    assert!(database.offsets().await.into_iter().eq(0..40));
}

#[tokio::test]
async fn each_log_tenant_and_subscription_has_a_cursor_of_its_own() {
    let Some(database) = Database::start().await else { return };
    let settings = settings(database.component.port(), &json!({"exactly_once": true}));
    let others = [
        owner(),
        Owner { log_id: [8; 16], ..owner() },
        Owner { tenant: "acme".to_owned(), ..owner() },
        Owner { subscription: "t".to_owned(), ..owner() },
    ];
    for owner in &others {
        let sink = build("postgres", &settings, owner, &loopback()).unwrap();
        all_delivered(&deliver(&sink, &live(0..10)).await);
    }
    assert_eq!(database.offsets().await.len(), 40);
    let cursors = "SELECT log_id || tenant || subscription || next_offset FROM eventrelay_cursors ORDER BY log_id, tenant, subscription";
    let (seven, eight) = ("07".repeat(16), "08".repeat(16));
    let expected = [
        format!("{seven}acmes10"),
        format!("{seven}defaults10"),
        format!("{seven}defaultt10"),
        format!("{eight}defaults10"),
    ];
    assert_eq!(database.texts(cursors).await, expected);
}

/// Each thing that a new instance says to the server, the claim among them, is lost once on the way there and once on the way
/// back.
#[tokio::test]
async fn whatever_is_lost_of_a_first_connection() {
    let Some(database) = Database::start().await else { return };
    let proxy = Proxy::start(database.component.address()).await;
    let (mut next, mut struck) = (0, 0);
    for after in 0.. {
        let before = struck;
        for fault in [Fault::LoseAnswer, Fault::LoseRequest] {
            let sink = sink_at(proxy.port(), &json!({"exactly_once": true}));
            proxy.arm_after(after, fault);
            let from = if next == 0 { 0 } else { next - 1 };
            all_delivered(&deliver_until_settled(&sink, &live(from..next + 3)).await);
            next += 3;
            struck += usize::from(proxy.has_struck());
        }
        if struck == before {
            break;
        }
    }
    assert!(struck > 20, "{struck} messages were lost");
    assert!(database.offsets().await.into_iter().eq(0..next));
}

/// A dispatcher's life in small: batches in strict order, retries one by one, crashes that forget what was settled last,
/// poison, filtered events, and a network that fails at any moment.
#[tokio::test]
async fn rows_are_events_whatever_happens() {
    let Some(database) = Database::start().await else { return };
    database.execute("CREATE TABLE events (event_offset bigint CHECK (event_offset % 17 <> 3))").await;
    let proxy = Proxy::start(database.component.address()).await;
    let settings =
        json!({"exactly_once": true, "create_table": false, "columns": {"event_offset": "offset"}});
    for seed in 0..3 {
        let mut random = StdRng::seed_from_u64(seed);
        let start = 100_000 * seed;
        let wanted = |offset: &u64| !offset.is_multiple_of(5);
        let mut sink = sink_at(proxy.port(), &settings);
        let (mut cursor, mut rejected, mut rounds) = (start, BTreeSet::new(), 0);
        while cursor < start + 400 {
            rounds += 1;
            let batch = live((cursor..cursor + random.random_range(1..40)).filter(wanted));
            match random.random_range(0..8) {
                0 => proxy.arm_after(random.random_range(0..12), Fault::LoseAnswer),
                1 => proxy.arm_after(random.random_range(0..12), Fault::LoseRequest),
                2 => sink = sink_at(proxy.port(), &settings),
                3 => {
                    let patience = Duration::from_micros(random.random_range(0..4000));
                    let cut = tokio::time::timeout(patience, sink.deliver(&batch)).await;
                    drop(cut);
                }
                _ => {}
            }
            let outcomes = deliver_until_settled(&sink, &batch).await;
            for (delivery, outcome) in batch.iter().zip(outcomes) {
                let offset = delivery.event.offset();
                match outcome {
                    Outcome::Delivered => assert!(offset % 17 != 3 && !rejected.contains(&offset)),
                    Outcome::Reject { .. } => {
                        assert!(offset % 17 == 3);
                        rejected.insert(offset);
                    }
                    other => panic!("{other:?}"),
                }
                cursor = offset + 1;
            }
            if random.random_range(0..6) == 0 {
                // A crash: the last checkpoint is some way back.
                cursor = cursor.saturating_sub(random.random_range(0..50)).max(start);
                sink = sink_at(proxy.port(), &settings);
            }
        }
        let expected = (start..cursor).filter(wanted).filter(|offset| offset % 17 != 3);
        let found = database.offsets().await.into_iter().filter(|offset| *offset >= start);
        assert!(found.eq(expected), "seed {seed}, {rounds} rounds");
    }
}
