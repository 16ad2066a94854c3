//! A delivery that is dropped on the way, at each place where it can be.

use std::ops::Range;
use std::sync::Arc;

use eventrelay_event::{Data, Event};
use eventrelay_sinks::{Delivery, Sink};
use serde_json::json;

use crate::broker_events::{batch, deliver_all, delivery, dropped_after, event};
use crate::stores::Store;

#[tokio::test]
async fn a_delivery_may_be_dropped_at_any_await() {
    // s3s-fs looks whether an object is there and puts it in two steps, so a request that was dropped and the next can both succeed:
    // a store that the sink rightly refuses to go on with.
    for store in Store::all().into_iter().filter(|store| !matches!(store, Store::S3(_))) {
        let sink = store.sink(&json!({}));
        let (mut waits, mut end) = (1, 0);
        // Further and further, until it comes to its end; then with another sink that knows nothing.
        for sink in [sink, store.sink(&json!({}))] {
            loop {
                let batch = batch("order.created", end..end + 10);
                let ended = dropped_after(waits, sink.deliver(&batch)).await.is_some();
                store.settle().await;
                deliver_all(&sink, &batch[..7]).await;
                end += 7;
                if ended {
                    break;
                }
                waits += 1;
            }
            waits = 1;
        }
        deliver_all(&store.sink(&json!({})), &batch("order.created", 0..end)).await;
        // What the last, whole one wrote beyond the end.
        let offsets = store.offsets();
        assert_eq!(offsets, (0..offsets.len() as u64).collect::<Vec<_>>());
        assert!(offsets.len() as u64 >= end && end > 7 * 4, "{end}");
    }
}

/// Events whose object takes the disk a while.
fn large(offsets: Range<u64>) -> Vec<Delivery> {
    let data = Some(Data::text("x".repeat(200_000)));
    let event = Event { data, ..event("order.created", 0) };
    offsets.map(|offset| delivery(offset, &event)).collect()
}

/// Drops a delivery to a directory after each number of waits, and delivers other compositions of its events by what
/// `next` makes of its sink.
async fn drop_after_each_wait(next: impl AsyncFn(&Store, Arc<dyn Sink>) -> Arc<dyn Sink>) {
    // A sink that goes on, and one that knows nothing yet.
    for first in [0, 1] {
        for waits in 1.. {
            let store = Store::local();
            let sink = store.sink(&json!({"compression": "none"}));
            deliver_all(&sink, &large(first..1)).await;
            let batch = large(1..21);
            let ended = dropped_after(waits, sink.deliver(&batch)).await.is_some();
            let sink = next(&store, sink).await;
            // What of it is replayed or redriven before it is tried again.
            for others in [5..8, 3..12, 0..20] {
                deliver_all(&sink, &batch[others]).await;
            }
            sink.close().await;
            assert_eq!(store.offsets(), (first..21).collect::<Vec<_>>(), "dropped after {waits} waits");
            if ended {
                // Its write is another task's, so it waits at least for that; the disk may be faster than we look at the rest.
                assert!(waits > 1, "{waits}");
                break;
            }
        }
    }
}

#[tokio::test]
async fn the_next_delivery_waits_for_what_a_dropped_one_still_writes() {
    drop_after_each_wait(async |_, sink| sink).await;
}

#[tokio::test]
async fn close_waits_for_what_a_dropped_delivery_still_writes() {
    drop_after_each_wait(async |store, sink| {
        sink.close().await;
        store.sink(&json!({"compression": "none"}))
    })
    .await;
}
