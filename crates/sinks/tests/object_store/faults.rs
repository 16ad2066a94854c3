//! A store that is not there, goes away, hangs, is slow, comes back empty, or has other keys.

use std::sync::Arc;
use std::time::{Duration, Instant};

use eventrelay_event::Event;
use eventrelay_sinks::{Delivery, Outcome};
use serde_json::json;

use crate::broker_events::{
    batch, deliver, deliver_all, deliver_in_the_end, delivery, event, loopback, owner, retried, until,
};
use crate::http_receiver::{Receiver, Reply};
use crate::stores::{Store, s3_settings, sink_in};

/// Events over forty folders.
fn spread(offsets: std::ops::Range<u64>) -> Vec<Delivery> {
    let keyed =
        |offset: u64| Event { key: Some(format!("k{}", offset % 40)), ..event("order.created", offset) };
    offsets.map(|offset| delivery(offset, &keyed(offset))).collect()
}

#[tokio::test]
async fn a_store_that_is_down_at_first_gets_all_once_it_is_up() {
    let Some(mut store) = Store::s3() else { return };
    store.component().kill();
    for exactly_once in [true, false] {
        let sink = store.sink(&json!({"exactly_once": exactly_once}));
        for outcome in deliver(&sink, &batch("order.created", 0..10)).await {
            assert!(retried(&outcome).contains("cannot be connected to"), "{outcome:?}");
        }
    }
    let sink = store.sink(&json!({}));
    deliver(&sink, &batch("order.created", 0..10)).await;
    store.component().resume();
    deliver_in_the_end(&sink, &batch("order.created", 0..50)).await;
    assert_eq!(store.offsets(), (0..50).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_store_that_dies_in_the_middle_of_a_batch_has_each_event_once_in_the_end() {
    let Some(mut store) = Store::s3() else { return };
    let settings = json!({"path": "{key}"});
    let sink = store.sink(&settings);
    deliver_all(&sink, &spread(0..40)).await;
    let mut end = 40;
    // It dies after none, a few, or most of the objects.
    for written in [0, 3, 20] {
        let batch = Arc::new(spread(end..end + 400));
        let before = store.objects().len();
        if written == 0 {
            store.component().freeze();
        }
        let delivery = tokio::spawn({
            let (sink, batch) = (Arc::clone(&sink), Arc::clone(&batch));
            async move { deliver(&sink, &batch).await }
        });
        if written == 0 {
            until(async || store.unread_bytes() > 0).await;
        } else {
            until(async || store.objects().len() >= before + written).await;
        }
        store.component().kill();
        let outcomes = delivery.await.unwrap();
        if written == 0 {
            assert!(outcomes.iter().all(|outcome| !retried(outcome).is_empty()));
        }
        store.component().resume();
        // With other borders, and by a sink that was there or one that is new.
        deliver_in_the_end(&sink, &batch[..150]).await;
        deliver_in_the_end(&store.sink(&settings), &spread(end - 10..end + 300)).await;
        deliver_in_the_end(&sink, &batch).await;
        end += 400;
        assert_eq!(store.offsets(), (0..end).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_store_that_hangs_is_given_up_in_time_and_has_each_event_once_in_the_end() {
    let Some(mut store) = Store::s3() else { return };
    let sink = store.sink(&json!({"timeout_ms": 700, "connect_timeout_ms": 300}));
    deliver_all(&sink, &batch("order.created", 0..1)).await;
    store.component().freeze();
    let began = Instant::now();
    for _ in 0..2 {
        for outcome in deliver(&sink, &batch("order.created", 1..20)).await {
            assert!(retried(&outcome).contains("did not answer within 700 ms"), "{outcome:?}");
        }
    }
    assert!(began.elapsed() < Duration::from_secs(20));
    store.component().thaw();
    // What was sent while it hung is carried out now, perhaps.
    deliver_in_the_end(&sink, &batch("order.created", 1..40)).await;
    assert_eq!(store.offsets(), (0..40).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_store_that_comes_back_empty_is_waited_for_until_it_has_its_bucket() {
    let Some(mut store) = Store::s3() else { return };
    let sink = store.sink(&json!({}));
    deliver_all(&sink, &batch("order.created", 0..20)).await;
    store.component().kill();
    store.component().lose_everything();
    let data = store.component().directory().join("data");
    std::fs::create_dir(&data).unwrap();
    store.component().resume();
    // This store makes a bucket at the first object, and says only who lists that there is none.
    let error = store.sink(&json!({})).check().await.unwrap_err().to_string();
    assert!(error.contains("NoSuchBucket"), "{error}");
    let outcomes = deliver(&store.sink(&json!({})), &batch("order.created", 20..30)).await;
    assert!(retried(&outcomes[0]).contains("NoSuchBucket"), "{outcomes:?}");
    std::fs::create_dir(data.join("events")).unwrap();
    deliver_all(&sink, &batch("order.created", 20..30)).await;
    // What it has lost is written again where it is delivered again.
    deliver_all(&sink, &batch("order.created", 10..30)).await;
    assert_eq!(store.offsets(), (10..30).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_slow_answer_has_an_end() {
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n<".to_vec();
    for reply in [Reply::Trickle(head, b" ".to_vec()), Reply::Silence] {
        let receiver = Receiver::always(reply).await;
        for exactly_once in [true, false] {
            let settings = json!({
                "s3": s3_settings(receiver.address), "timeout_ms": 400, "exactly_once": exactly_once,
            });
            let sink = sink_in(&loopback(), &owner(), &settings);
            let began = Instant::now();
            let outcomes = deliver(&sink, &batch("order.created", 0..3)).await;
            let why = retried(&outcomes[0]);
            assert!(why.contains("within 400 ms") || why.contains("did not end in time"), "{why}");
            assert!(began.elapsed() < Duration::from_secs(10));
        }
    }
}

#[tokio::test]
async fn what_the_store_asks_us_to_wait_is_waited() {
    let busy = "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>";
    let receiver = Receiver::always(Reply::with_body("503 Slow Down", "retry-after: 17\r\n", busy)).await;
    let sink = sink_in(&loopback(), &owner(), &json!({"s3": s3_settings(receiver.address)}));
    for outcome in deliver(&sink, &batch("order.created", 0..3)).await {
        let Outcome::Retry { after, why } = outcome else { panic!("{outcome:?}") };
        assert_eq!(after, Some(Duration::from_secs(17)));
        assert!(why.contains("SlowDown (Please reduce your request rate.)"), "{why}");
    }
}

#[tokio::test]
async fn an_answer_that_is_too_large_or_cut_off_or_none_is_a_retry() {
    let head = |length: usize| format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n<x>").into_bytes();
    for reply in [
        Reply::Endless(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_vec(), vec![b'x'; 65_536]),
        Reply::BytesThenClose(head(100)),
        Reply::BytesThenClose(b"hello".to_vec()),
        Reply::Reset,
        Reply::with_body("200 OK", "", "this is no list"),
    ] {
        let receiver = Receiver::always(reply.clone()).await;
        let sink = sink_in(&loopback(), &owner(), &json!({"s3": s3_settings(receiver.address)}));
        let outcomes = deliver(&sink, &batch("order.created", 0..3)).await;
        assert!(!retried(&outcomes[0]).is_empty(), "{reply:?}");
    }
}

#[tokio::test]
async fn a_wrong_key_is_retried_until_it_is_right() {
    let Some(store) = Store::s3() else { return };
    let directory = tempfile::tempdir().unwrap();
    let (id, secret) = (directory.path().join("id"), directory.path().join("secret"));
    std::fs::write(&id, "test\n").unwrap();
    std::fs::write(&secret, "not the key\n").unwrap();
    let Store::S3(component) = &store else { unreachable!() };
    let settings = json!({"s3": {
        "bucket": "events",
        "endpoint": format!("http://{}", component.address()),
        "access_key_id_file": id,
        "secret_access_key_file": secret,
    }});
    let sink = sink_in(&loopback(), &owner(), &settings);
    for outcome in deliver(&sink, &batch("order.created", 0..3)).await {
        assert!(retried(&outcome).contains("SignatureDoesNotMatch"), "{outcome:?}");
    }
    std::fs::remove_file(&secret).unwrap();
    let outcomes = deliver(&sink, &batch("order.created", 0..3)).await;
    assert!(retried(&outcomes[0]).contains("`secret_access_key`"), "{outcomes:?}");
    assert_eq!(store.offsets(), [0; 0]);
    std::fs::write(&secret, "testtest\n").unwrap();
    deliver_in_the_end(&sink, &batch("order.created", 0..3)).await;
    assert_eq!(store.offsets(), [0, 1, 2]);
}
