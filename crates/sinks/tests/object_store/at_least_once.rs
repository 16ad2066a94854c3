//! Without `exactly_once`: an object is named after exactly its events.

use eventrelay_sinks::Guarantee;
use serde_json::json;

use crate::broker_events::{batch, deliver_all};
use crate::stores::Store;

#[tokio::test]
async fn the_same_batch_replaces_itself_and_another_stands_beside_it() {
    for store in Store::all() {
        let settings = json!({"exactly_once": false});
        let sink = store.sink(&settings);
        assert_eq!((sink.guarantee(), sink.needs_strict_order()), (Guarantee::AtLeastOnce, false));
        for _ in 0..3 {
            deliver_all(&sink, &batch("order.created", 0..20)).await;
            deliver_all(&store.sink(&settings), &batch("order.created", 0..20)).await;
        }
        assert_eq!(store.offsets(), (0..20).collect::<Vec<_>>());
        let key = store.objects().into_keys().next().unwrap();
        assert!(key.contains("/00000000000000000000-00000000000000000019-"), "{key}");

        // In any order, with a hole: other events, so another object.
        let mut other = batch("order.created", 0..20);
        other.remove(7);
        other.reverse();
        deliver_all(&sink, &other).await;
        assert_eq!((store.objects().len(), store.offsets().len()), (2, 39));
    }
}
