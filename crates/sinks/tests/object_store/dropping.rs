//! A delivery that is dropped on the way, at each place where it can be.

use serde_json::json;

use crate::broker_events::{batch, deliver_all, dropped_after};
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
