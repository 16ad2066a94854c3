//! Each event is in one object, however often and in whatever batches it comes.

use std::sync::Arc;

use eventrelay_event::Event;
use eventrelay_sinks::{Delivery, Guarantee, Outcome, Owner, Purpose, Sink};
use serde_json::json;

use crate::broker_events::{batch, deliver, deliver_all, delivery, event, owner, retried};
use crate::stores::Store;

/// Events of one folder, at these offsets.
fn at(offsets: impl IntoIterator<Item = u64>) -> Vec<Delivery> {
    offsets.into_iter().map(|offset| delivery(offset, &event("order.created", offset))).collect()
}

fn with_purpose(purpose: Purpose, offsets: impl IntoIterator<Item = u64>) -> Vec<Delivery> {
    at(offsets).into_iter().map(|delivery| Delivery { purpose, ..delivery }).collect()
}

/// A sink as it is after a start: it remembers nothing.
fn restarted(store: &Store) -> Arc<dyn Sink> {
    store.sink(&json!({}))
}

#[tokio::test]
async fn batches_with_other_borders_after_a_restart_write_only_what_is_missing() {
    for store in Store::all() {
        let sink = restarted(&store);
        assert_eq!((sink.guarantee(), sink.needs_strict_order()), (Guarantee::ExactlyOnce, true));
        deliver_all(&sink, &at(0..10)).await;
        deliver_all(&sink, &at(10..13)).await;
        let mut end = 13;
        for offsets in [5..20, 0..20, 19..21, 3..4, 0..40, 12..41] {
            deliver_all(&restarted(&store), &at(offsets.clone())).await;
            end = end.max(offsets.end);
            assert_eq!(store.offsets(), (0..end).collect::<Vec<_>>(), "{offsets:?}");
        }
        // And nothing that was written is ever changed.
        assert_eq!(store.objects().len(), 6);
    }
}

#[tokio::test]
async fn an_older_instance_writes_nothing_twice() {
    for store in Store::all() {
        let (old, new) = (restarted(&store), restarted(&store));
        deliver_all(&old, &at(0..10)).await;
        // It believes that the folder ends with 9.
        deliver_all(&new, &at(4..25)).await;
        deliver_all(&old, &at(10..13)).await;
        deliver_all(&old, &at(13..30)).await;
        deliver_all(&new, &at(25..40)).await;
        deliver_all(&old, &at(30..50)).await;
        assert_eq!(store.offsets(), (0..50).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn what_was_left_out_at_first_gets_an_object_of_its_own_once() {
    for store in Store::all() {
        let sink = restarted(&store);
        // 4 and 7 are dead letters, 10 to 12 another filter's.
        deliver_all(&sink, &at([0, 1, 2, 3, 5, 6, 8, 9])).await;
        deliver_all(&sink, &at(13..20)).await;
        for sink in [sink, restarted(&store)] {
            for _ in 0..2 {
                deliver_all(&sink, &with_purpose(Purpose::Redrive, [7, 4])).await;
                deliver_all(&sink, &at(20..22)).await;
            }
        }
        deliver_all(&restarted(&store), &at(0..30)).await;
        assert_eq!(store.offsets(), (0..30).collect::<Vec<_>>());
        let late = store.objects().keys().filter(|key| key.contains("-late.")).count();
        assert_eq!(late, 2);
    }
}

#[tokio::test]
async fn a_replay_writes_what_is_missing_and_nothing_else() {
    for store in Store::all() {
        let sink = restarted(&store);
        deliver_all(&sink, &at(0..10)).await;
        let replay = with_purpose(Purpose::Replay, 5..8);
        deliver_all(&sink, &replay).await;
        // Beside a live cursor that is behind it.
        deliver_all(&sink, &with_purpose(Purpose::Replay, 30..40)).await;
        deliver_all(&sink, &at(10..20)).await;
        deliver_all(&sink, &at(20..35)).await;
        deliver_all(&sink, &at(35..50)).await;
        assert_eq!(store.offsets(), (0..50).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_folder_with_more_objects_than_a_page_is_found_through() {
    let Some(store) = Store::s3() else { return };
    let sink = store.sink(&json!({"compression": "none"}));
    for offset in 0..1100 {
        deliver_all(&sink, &at([offset])).await;
    }
    let before = store.objects().len();
    for offsets in [1098..1101, 0..3, 998..1003, 0..1000] {
        deliver_all(&restarted(&store), &at(offsets)).await;
    }
    assert_eq!((before, store.objects().len()), (1100, 1101));
    assert_eq!(store.offsets(), (0..1101).collect::<Vec<_>>());
}

#[tokio::test]
async fn settings_that_change_on_the_way_do_not_hide_what_is_there() {
    for store in Store::all() {
        let mut end = 10;
        for settings in [
            json!({"compression": "none"}),
            json!({"compression": "gzip"}),
            json!({"compression": "zstd", "batch_events": 5}),
        ] {
            deliver_all(&store.sink(&settings), &at(0..end)).await;
            end += 10;
        }
        assert_eq!(store.offsets(), (0..30).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn two_subscriptions_and_two_logs_share_a_folder_and_no_object() {
    for store in Store::all() {
        let others = [
            Owner { subscription: "other".to_owned(), ..owner() },
            Owner { tenant: "other".to_owned(), ..owner() },
            Owner { log_id: [1; 16], ..owner() },
        ];
        deliver_all(&restarted(&store), &batch("order.created", 0..10)).await;
        for other in &others {
            let sink = store.sink_of(other, &json!({}));
            deliver_all(&sink, &batch("order.created", 3..8)).await;
            deliver_all(&store.sink_of(other, &json!({})), &batch("order.created", 3..8)).await;
        }
        let (all, each) = (store.offsets(), 10 + 3 * 5);
        assert_eq!((all.len(), store.objects().len()), (each, 4), "{all:?}");
    }
}

#[tokio::test]
async fn a_damaged_object_is_not_taken_for_delivered_events() {
    let store = Store::local();
    deliver_all(&restarted(&store), &at(0..10)).await;
    let Store::Local(directory) = &store else { unreachable!() };
    let key = store.objects().into_keys().next().unwrap();
    let path = directory.path().join("archive").join(key);
    let whole = std::fs::read(&path).unwrap();
    for damaged in [&whole[..whole.len() - 3], b"hello\n"] {
        std::fs::write(&path, damaged).unwrap();
        let outcomes = deliver(&restarted(&store), &at(5..12)).await;
        for outcome in &outcomes {
            let why = retried(outcome);
            assert!(why.contains("00000000000000000000-") && why.contains("cannot be read"), "{why}");
        }
    }
    std::fs::write(&path, whole).unwrap();
    deliver_all(&restarted(&store), &at(5..12)).await;
    assert_eq!(store.offsets(), (0..12).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_parquet_object_is_known_again_by_every_build() {
    const SMALL: &[u8] = include_bytes!("small.parquet");
    let store = Store::local();
    deliver_all(&restarted(&store), &at([7])).await;
    let Store::Local(directory) = &store else { unreachable!() };
    let lines = directory.path().join("archive").join(store.objects().into_keys().next().unwrap());
    std::fs::remove_file(&lines).unwrap();
    let table = lines.to_str().unwrap().replace(".ndjson.zst", ".parquet");
    // It holds 7, 8 and 2^40.
    std::fs::write(&table, SMALL).unwrap();
    deliver_all(&restarted(&store), &at([6, 7, 8, 9, 1 << 40, 1 << 41])).await;
    std::fs::remove_file(table).unwrap();
    assert_eq!(store.offsets(), [6, 9, 1 << 41]);
}

#[tokio::test]
async fn one_folders_failure_is_not_anothers() {
    let store = Store::local();
    let settings = json!({"path": "{key}"});
    let keyed = |offset: u64, key: &str| {
        delivery(offset, &Event { key: Some(key.to_owned()), ..event("order.created", offset) })
    };
    deliver_all(&store.sink(&settings), &[keyed(0, "good")]).await;
    let Store::Local(directory) = &store else { unreachable!() };
    // A file in the place of a folder.
    std::fs::write(directory.path().join("archive/bad"), b"").unwrap();
    let batch = [keyed(1, "good"), keyed(2, "bad"), keyed(3, "good")];
    let sink = store.sink(&settings);
    let outcomes = deliver(&sink, &batch).await;
    assert!(!retried(&outcomes[1]).is_empty());
    for good in [&outcomes[0], &outcomes[2]] {
        assert_eq!(*good, Outcome::Delivered);
    }
    std::fs::remove_file(directory.path().join("archive/bad")).unwrap();
    deliver_all(&sink, &batch).await;
    assert_eq!(store.offsets(), [0, 1, 2, 3]);
}
