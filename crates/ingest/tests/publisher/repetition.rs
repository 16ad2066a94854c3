//! One event for each idempotency key, whatever happens.

use std::sync::Arc;

use bytes::Bytes;
use eventrelay_event::{Data, Tenant};
use eventrelay_ingest::PublishError;
use eventrelay_log::disk::simulated::{Effect, ErrorCode, OperationKind, When};

use crate::fixture::{Fixture, begin, event, keyed};

#[tokio::test]
async fn a_repetition_gets_the_first_receipt() {
    let fixture = Fixture::new();
    let first = fixture.publish(keyed("k")).await.unwrap();
    assert!(!first.duplicate);
    let mut retry = keyed("k");
    retry.headers = vec![("traceparent".to_owned(), "00-another".to_owned())];
    let again = fixture.publish(retry).await.unwrap();
    assert!(again.duplicate);
    assert_eq!((again.id, again.offset), (first.id, first.offset));
    assert_eq!(fixture.log.durable_offset(), 1);
}

#[tokio::test]
async fn events_without_a_key_are_all_new() {
    let fixture = Fixture::new();
    assert!(!fixture.publish(event("a")).await.unwrap().duplicate);
    assert!(!fixture.publish(event("a")).await.unwrap().duplicate);
    assert_eq!(fixture.log.durable_offset(), 2);
}

#[tokio::test]
async fn a_key_is_of_one_tenant_and_source() {
    let fixture = Fixture::new();
    fixture.publish(keyed("k")).await.unwrap();
    let mut other_source = keyed("k");
    other_source.source = "/till".to_owned();
    let mut other_tenant = keyed("k");
    other_tenant.tenant = Tenant::parse("other").unwrap();
    assert!(!fixture.publish(other_source).await.unwrap().duplicate);
    assert!(!fixture.publish(other_tenant).await.unwrap().duplicate);
}

#[tokio::test]
async fn the_producers_id_serves_as_a_key() {
    let fixture = Fixture::new();
    let mut with_id = event("a");
    with_id.id = Some("1".to_owned());
    fixture.publish(with_id.clone()).await.unwrap();
    assert!(fixture.publish(with_id.clone()).await.unwrap().duplicate);
    with_id.event_type = "b".to_owned();
    let error = fixture.publish(with_id.clone()).await.unwrap_err();
    assert_eq!((error.code(), error.index()), ("idempotency_key_reused", Some(0)));
    with_id.idempotency_key = Some("another".to_owned());
    assert!(!fixture.publish(with_id).await.unwrap().duplicate);
}

#[tokio::test]
async fn a_key_with_other_content_is_refused() {
    let fixture = Fixture::new();
    let first = fixture.publish(keyed("k")).await.unwrap();
    let mut other = keyed("k");
    other.data = Some(Data::binary(Bytes::from_static(b"date")));
    let error = fixture.publish(other).await.unwrap_err();
    assert_eq!((error.code(), error.field()), ("idempotency_key_reused", Some("idempotency_key")));
    assert_eq!(fixture.log.durable_offset(), 1);
    assert_eq!(fixture.publish(keyed("k")).await.unwrap().id, first.id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_at_once_one_is_stored() {
    let fixture = Fixture::new();
    let tasks: Vec<_> = (0..64)
        .map(|_| {
            let publisher = Arc::clone(&fixture.publisher);
            tokio::spawn(async move { publisher.publish(vec![keyed("k")]).await.unwrap()[0] })
        })
        .collect();
    let mut receipts = Vec::new();
    for task in tasks {
        receipts.push(task.await.unwrap());
    }
    assert_eq!(receipts.iter().filter(|receipt| !receipt.duplicate).count(), 1);
    assert!(receipts.iter().all(|receipt| receipt.id == receipts[0].id));
    assert_eq!(fixture.log.durable_offset(), 1);
}

#[tokio::test]
async fn a_repetition_waits_until_the_first_is_durable() {
    let fixture = Fixture::new();
    fixture.disk.hold(OperationKind::WriteDurable);
    let mut first = Box::pin(fixture.publish(keyed("k")));
    let mut again = Box::pin(fixture.publish(keyed("k")));
    begin(&mut first).await;
    assert!(fixture.disk.wait_until_held(1));
    begin(&mut again).await;
    fixture.disk.release_all();
    let (first, again) = (first.await.unwrap(), again.await.unwrap());
    assert_eq!(first.id, again.id);
    assert!(!first.duplicate && again.duplicate);
}

#[tokio::test]
async fn keys_survive_a_kill() {
    let fixture = Fixture::new();
    let first = fixture.publish(keyed("k")).await.unwrap();
    let next = fixture.killed();
    let again = next.publish(keyed("k")).await.unwrap();
    assert_eq!((again.id, again.duplicate), (first.id, true));
    let mut other = keyed("k");
    other.subject = Some("other".to_owned());
    assert_eq!(next.publish(other).await.unwrap_err().code(), "idempotency_key_reused");
}

#[tokio::test]
async fn a_publish_given_up_under_way_is_found_by_its_repetition() {
    let fixture = Fixture::new();
    fixture.disk.hold(OperationKind::WriteDurable);
    let mut given_up = Box::pin(fixture.publish(keyed("k")));
    begin(&mut given_up).await;
    assert!(fixture.disk.wait_until_held(1));
    drop(given_up);
    fixture.disk.release_all();
    assert!(fixture.publish(keyed("k")).await.unwrap().duplicate);
    assert_eq!(fixture.log.durable_offset(), 1);
}

#[tokio::test]
async fn a_batch_with_one_event_twice_stores_it_once() {
    let fixture = Fixture::new();
    let batch = vec![keyed("a"), event("x"), keyed("a"), keyed("b")];
    let receipts = fixture.publisher.publish(batch).await.unwrap();
    let offsets: Vec<_> = receipts.iter().map(|receipt| (receipt.offset, receipt.duplicate)).collect();
    assert_eq!(offsets, [(0, false), (1, false), (0, true), (2, false)]);
    assert_eq!(receipts[2].id, receipts[0].id);
}

#[tokio::test]
async fn a_batch_that_contradicts_itself_or_the_past_is_refused_whole() {
    let fixture = Fixture::new();
    fixture.publish(keyed("old")).await.unwrap();
    let other = |key: &str| {
        let mut event = keyed(key);
        event.subject = Some("other".to_owned());
        event
    };
    for batch in [vec![event("x"), keyed("a"), other("a")], vec![event("x"), event("x"), other("old")]] {
        let error = fixture.publisher.publish(batch).await.unwrap_err();
        assert_eq!((error.code(), error.index()), ("idempotency_key_reused", Some(2)));
    }
    assert_eq!(fixture.log.durable_offset(), 1);
}

#[tokio::test]
async fn an_old_event_is_read_from_its_file_to_be_compared() {
    let fixture = Fixture::new();
    let first = fixture.publish(keyed("k")).await.unwrap();
    fixture.evict().await;
    let again = fixture.publish(keyed("k")).await.unwrap();
    assert_eq!((again.id, again.duplicate), (first.id, true));
}

#[tokio::test]
async fn a_repetition_is_not_confirmed_by_an_event_that_cannot_be_read() {
    let fixture = Fixture::new();
    fixture.publish(keyed("k")).await.unwrap();
    fixture.evict().await;
    for kind in [OperationKind::Read, OperationKind::ReadMedium] {
        fixture.disk.inject(When::Every(kind), Effect::Fails(ErrorCode::InputOutput));
    }
    let error = fixture.publish(keyed("k")).await.unwrap_err();
    assert!(matches!(error, PublishError::Unconfirmed { index: 0, .. }), "{error}");
    fixture.disk.clear_faults();
    assert!(fixture.publish(keyed("k")).await.unwrap().duplicate);
}
