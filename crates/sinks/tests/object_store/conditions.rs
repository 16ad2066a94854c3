//! What is asked of a store, and a store that does not do it.

use eventrelay_sinks::Outcome;
use serde_json::json;

use crate::broker_events::{batch, deliver, deliver_all, deliver_in_the_end, retried};
use crate::fake_store::FakeStore;

#[tokio::test]
async fn in_the_long_run_an_object_costs_one_request() {
    let mut store = FakeStore::start().await;
    let sink = store.sink(&json!({}));
    deliver_all(&sink, &batch("order.created", 0..10)).await;
    let methods = |requests: Vec<crate::http_receiver::Received>| {
        requests.iter().map(|request| request.line[..3].to_owned()).collect::<Vec<_>>()
    };
    // What is there, the object, and whether it would be replaced.
    assert_eq!(methods(store.receiver.so_far().1), ["GET", "PUT", "PUT"]);
    for end in 2..6 {
        deliver_all(&sink, &batch("order.created", (end - 1) * 10..end * 10)).await;
        let (connections, requests) = store.receiver.so_far();
        assert_eq!((connections, methods(requests)), (1, vec!["PUT".to_owned()]));
    }
    assert_eq!(store.offsets(), (0..50).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_store_that_ignores_conditions_is_given_nothing_more_until_it_keeps_them() {
    let store = FakeStore::start().await;
    store.keep_conditions(false);
    let sink = store.sink(&json!({"path": "{key|none}"}));
    // The first object is what tells; neither it nor what is found there later counts as delivered.
    for end in [10, 10, 20, 15] {
        for outcome in deliver(&sink, &batch("order.created", 0..end)).await {
            assert!(retried(&outcome).contains("`If-None-Match`"), "{outcome:?}");
        }
        assert_eq!(store.offsets(), (0..10).collect::<Vec<_>>());
    }
    // Without the promise there is no need for it.
    let modest = store.sink(&json!({"path": "modest", "exactly_once": false}));
    deliver_all(&modest, &batch("order.created", 0..10)).await;
    let both = store.objects().len();
    assert_eq!(both, 2);

    store.keep_conditions(true);
    deliver_in_the_end(&sink, &batch("order.created", 0..20)).await;
    let objects = store.objects();
    let ours: Vec<_> = objects.keys().filter(|key| key.starts_with("none/")).collect();
    assert_eq!((ours.len(), objects.len()), (2, 3));
    assert_eq!(store.offsets().len(), 10 + 20);
}

#[tokio::test]
async fn a_store_that_was_seen_to_keep_conditions_is_not_asked_again() {
    let store = FakeStore::start().await;
    deliver_all(&store.sink(&json!({})), &batch("order.created", 0..10)).await;
    // Another sink meets a name that is taken; that tells it as well.
    let mut store = store;
    let sink = store.sink(&json!({}));
    store.receiver.so_far();
    let outcomes = deliver(&sink, &batch("order.created", 0..20)).await;
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Delivered), "{outcomes:?}");
    assert_eq!(store.offsets(), (0..20).collect::<Vec<_>>());
    let puts = store.receiver.so_far().1.iter().filter(|request| request.line.starts_with("PUT")).count();
    assert_eq!(puts, 2, "once written, once tried");
}
