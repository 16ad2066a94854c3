//! Every limit's edge, and that nothing is half taken.

use std::time::Duration;

use bytes::Bytes;
use eventrelay_event::rules::EventLimits;
use eventrelay_event::{Data, Event, StoredEvent};
use eventrelay_ingest::PublishLimits;
use eventrelay_log::disk::simulated::{OperationKind, SimulatedDisk};

use crate::fixture::{Fixture, begin, event, keyed, options};

/// An event of this many bytes in the log.
fn sized(bytes: usize) -> Event {
    let mut event = event("sized");
    let rest = bytes + 4 - StoredEvent::encoded_bytes(&event);
    event.data = Some(Data::binary(Bytes::from(vec![7; rest])));
    assert_eq!(StoredEvent::encoded_bytes(&event), bytes);
    event
}

#[tokio::test]
async fn a_batch_has_1_to_1000_events() {
    let fixture = Fixture::new();
    assert_eq!(fixture.publisher.publish(Vec::new()).await.unwrap_err().code(), "empty_batch");
    let batch = |count: usize| vec![event("a"); count];
    let error = fixture.publisher.publish(batch(1001)).await.unwrap_err();
    assert_eq!(
        (error.code(), error.to_string().as_str()),
        ("batch_too_large", "the batch has 1001 events; the limit is 1000")
    );
    assert_eq!(fixture.log.durable_offset(), 0);
    let receipts = fixture.publisher.publish(batch(1000)).await.unwrap();
    assert!(receipts.iter().zip(0..).all(|(receipt, offset)| receipt.offset == offset));
    assert_eq!(receipts.len(), 1000);
}

#[tokio::test]
async fn one_bad_event_refuses_the_batch() {
    let fixture = Fixture::new();
    let mut bad = event("a");
    bad.source = "not a uri".to_owned();
    let error = fixture.publisher.publish(vec![event("a"), keyed("k"), bad]).await.unwrap_err();
    assert_eq!((error.code(), error.index(), error.field()), ("invalid_event", Some(2), Some("source")));
    assert_eq!(fixture.log.durable_offset(), 0);
    assert!(!fixture.publish(keyed("k")).await.unwrap().duplicate, "its key was not taken");
}

#[tokio::test]
async fn an_event_has_a_limit_of_bytes() {
    let limits = PublishLimits {
        events: EventLimits { event_bytes: 1000, ..EventLimits::default() },
        ..Default::default()
    };
    let fixture = Fixture::with(SimulatedDisk::new(1), options(), limits);
    fixture.publish(sized(1000)).await.unwrap();
    let error = fixture.publisher.publish(vec![event("a"), sized(1001)]).await.unwrap_err();
    assert_eq!((error.code(), error.index()), ("event_too_large", Some(1)));
    assert_eq!(fixture.log.durable_offset(), 1);
}

#[tokio::test]
async fn an_event_must_fit_a_commit_whatever_the_limit() {
    let fixture = Fixture::new();
    let limit = fixture.publisher.limits().events.event_bytes;
    assert!(limit < 64 << 10);
    let mut largest = sized(limit - 2);
    largest.idempotency_key = Some("k".to_owned());
    assert_eq!(StoredEvent::encoded_bytes(&largest), limit);
    fixture.publish(largest).await.unwrap();
    assert_eq!(fixture.publish(sized(limit + 1)).await.unwrap_err().code(), "event_too_large");
}

#[tokio::test]
async fn a_batch_must_fit_a_commit() {
    let fixture = Fixture::new();
    let room = fixture.log.max_group_bytes();
    // An event without a key takes five bytes beside its own.
    let batch = |more: usize| vec![sized(room / 2 - 5), sized(room - room / 2 - 5 + more)];
    let error = fixture.publisher.publish(batch(1)).await.unwrap_err();
    assert_eq!((error.code(), error.index()), ("batch_too_large", None));
    fixture.publisher.publish(batch(0)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_after_the_wait() {
    let mut options = options();
    (options.max_commit_bytes, options.queue_bytes) = (4096, 4096);
    let limits = PublishLimits { queue_wait: Duration::from_secs(7), ..PublishLimits::default() };
    let fixture = Fixture::with(SimulatedDisk::new(1), options, limits);
    fixture.disk.hold(OperationKind::WriteDurable);
    let (mut writing, mut queued) =
        (Box::pin(fixture.publish(sized(3000))), Box::pin(fixture.publish(sized(3000))));
    begin(&mut writing).await;
    assert!(fixture.disk.wait_until_held(1));
    begin(&mut queued).await;
    let began = tokio::time::Instant::now();
    let error = fixture.publish(sized(3000)).await.unwrap_err();
    assert_eq!((error.code(), error.retry_after()), ("overloaded", Some(Duration::from_secs(7))));
    assert_eq!(began.elapsed(), Duration::from_secs(7));
    fixture.disk.release_all();
    writing.await.unwrap();
    queued.await.unwrap();
    fixture.publish(sized(3000)).await.unwrap();
    assert_eq!(fixture.log.durable_offset(), 3, "the one refused was not stored");
}
