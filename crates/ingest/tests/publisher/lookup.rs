//! Finding an event by its id.

use bytes::Bytes;
use eventrelay_event::{Data, EventId, Tenant};
use eventrelay_ingest::{FindError, PublishLimits};
use eventrelay_log::disk::simulated::{Effect, ErrorCode, OperationKind, SimulatedDisk, When};

use crate::fixture::{Fixture, event, eventually, keyed, options};

#[tokio::test]
async fn an_event_is_found_by_its_receipt() {
    let fixture = Fixture::new();
    let mut published = keyed("k");
    published.headers = vec![("region".to_owned(), "eu".to_owned())];
    let receipt = fixture.publish(published.clone()).await.unwrap();
    let found = fixture.publisher.find(receipt.id, &Tenant::default()).await.unwrap().unwrap();
    assert_eq!((found.id(), found.offset()), (receipt.id, receipt.offset));
    assert!(found.has_content_of(&published));
}

#[tokio::test]
async fn a_foreign_id_and_a_guessed_one_are_absent() {
    let fixture = Fixture::new();
    let id = fixture.publish(event("a")).await.unwrap().id;
    let find = async |id, tenant: &str| {
        fixture.publisher.find(id, &Tenant::parse(tenant).unwrap()).await.unwrap().is_some()
    };
    assert!(find(id, "default").await);
    assert!(!find(id, "other").await);
    assert!(!find(EventId::new(id.append_time_micros() + 1, 0), "default").await);
    assert!(!find(EventId::new(id.append_time_micros(), 1), "default").await);
    assert!(!find(EventId::new(id.append_time_micros(), EventId::OFFSET_LIMIT - 1), "default").await);
}

#[tokio::test]
async fn an_old_event_is_found_in_its_file_also_after_a_kill() {
    let fixture = Fixture::new();
    let id = fixture.publish(keyed("k")).await.unwrap().id;
    fixture.evict().await;
    assert!(fixture.publisher.find(id, &Tenant::default()).await.unwrap().is_some());
    assert!(fixture.killed().publisher.find(id, &Tenant::default()).await.unwrap().is_some());
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_no_absence() {
    let fixture = Fixture::new();
    let id = fixture.publish(event("a")).await.unwrap().id;
    fixture.evict().await;
    for kind in [OperationKind::Read, OperationKind::ReadMedium] {
        fixture.disk.inject(When::Every(kind), Effect::Fails(ErrorCode::InputOutput));
    }
    let found = fixture.publisher.find(id, &Tenant::default()).await;
    assert!(matches!(found, Err(FindError::Read(_))), "{found:?}");
}

#[tokio::test]
async fn what_retention_let_go_is_absent_and_its_key_is_still_known() {
    let mut options = options();
    options.segment_bytes = 64 << 10;
    options.max_commit_bytes = 16 << 10;
    options.retention.max_segments = Some(2);
    let fixture = Fixture::with(SimulatedDisk::new(1), options, PublishLimits::default());
    fixture.log.set_needed_offset(u64::MAX);
    let first = fixture.publish(keyed("k")).await.unwrap();
    // Five segments' worth, of which three go.
    for _ in 0..32 {
        let mut filler = event("filler");
        filler.data = Some(Data::binary(Bytes::from(vec![7; 10_000])));
        fixture.publish(filler).await.unwrap();
    }
    eventually("retention lets the first segment go", async || fixture.log.oldest_offset() > 0).await;
    assert!(fixture.publisher.find(first.id, &Tenant::default()).await.unwrap().is_none());
    let again = fixture.publish(keyed("k")).await.unwrap();
    assert_eq!((again.id, again.duplicate), (first.id, true));
}
