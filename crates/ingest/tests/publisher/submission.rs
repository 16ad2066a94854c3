//! Submitting without waiting for the batch before: the order stays, and each batch has its own outcome.

use eventrelay_event::{DataKind, Envelope, Event, EventLimits, Tenant};

use crate::fixture::{Fixture, event, keyed};

fn envelope() -> Envelope {
    let event = Event::new(Tenant::default(), "tcp.payload".to_owned(), "/tcp".to_owned());
    Envelope::new(event, &EventLimits::default()).unwrap()
}

#[tokio::test]
async fn batches_in_flight_keep_the_order_of_their_submission() {
    let fixture = Fixture::new();
    let mut submitted = Vec::new();
    for index in 0..20 {
        submitted.push(fixture.publisher.submit(vec![event(&format!("a{index}")); 3]).await.unwrap());
    }
    let mut next = 0;
    for batch in submitted {
        for receipt in fixture.publisher.outcome(batch).await.unwrap() {
            assert_eq!(receipt.offset, next);
            assert_eq!(fixture.stored(next).event_type(), format!("a{}", next / 3));
            next += 1;
        }
    }
    assert_eq!(next, 60);
}

#[tokio::test]
async fn payloads_become_events_with_the_envelopes_fields() {
    let fixture = Fixture::new();
    let payloads: [&[u8]; 3] = [b"one", b"\0\xff", b"one"];
    let submitted = fixture.publisher.submit_payloads(&envelope(), payloads.iter().copied()).await.unwrap();
    let receipts = fixture.publisher.outcome(submitted).await.unwrap();
    assert_eq!(receipts.iter().map(|receipt| receipt.offset).collect::<Vec<_>>(), [0, 1, 2]);
    for (offset, payload) in (0..).zip(payloads) {
        let stored = fixture.stored(offset);
        assert_eq!((stored.event_type(), stored.source()), ("tcp.payload", "/tcp"));
        let (kind, data) = stored.data().unwrap();
        assert_eq!((kind, &data[..]), (DataKind::Binary, payload));
    }
    assert!(fixture.metrics().contains("eventrelay_events_accepted_total 3"));
}

#[tokio::test]
async fn payloads_over_a_limit_or_none_at_all_are_refused() {
    let fixture = Fixture::new();
    let limit = fixture.publisher.limits().events.event_bytes;
    let envelope = envelope();
    let most = limit - envelope.event_bytes(0);
    let (fitting, too_large) = (vec![7; most], vec![7; most + 1]);
    let error =
        fixture.publisher.submit_payloads(&envelope, [&b"x"[..], &too_large].into_iter()).await.unwrap_err();
    assert_eq!((error.code(), error.index()), ("event_too_large", Some(1)));
    let submitted =
        fixture.publisher.submit_payloads(&envelope, std::iter::once(&fitting[..])).await.unwrap();
    fixture.publisher.outcome(submitted).await.unwrap();
    let none = fixture.publisher.submit_payloads(&envelope, std::iter::empty()).await;
    assert_eq!(none.unwrap_err().code(), "empty_batch");
    assert_eq!(fixture.log.durable_offset(), 1);
}

#[tokio::test]
async fn a_refused_batch_gives_its_events_back() {
    let fixture = Fixture::new();
    fixture.publish(keyed("k")).await.unwrap();
    let mut other = keyed("k");
    other.subject = Some("another".to_owned());
    let events = vec![event("a"), other, event("b")];
    let submitted = fixture.publisher.submit(events.clone()).await.unwrap();
    let refused = fixture.publisher.outcome(submitted).await.unwrap_err();
    assert_eq!((refused.error.code(), refused.error.index()), ("idempotency_key_reused", Some(1)));
    assert_eq!(refused.events, events);
    assert_eq!(fixture.log.durable_offset(), 1, "nothing of it is stored");
}
