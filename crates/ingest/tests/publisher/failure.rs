//! What publishers hear when the disk fails.

use bytes::Bytes;
use eventrelay_event::{Data, Tenant};
use eventrelay_ingest::{PublishError, PublishLimits};
use eventrelay_log::disk::simulated::{
    Capacity, Effect, ErrorCode, FailedData, OperationKind, SimulatedDisk, When,
};

use crate::fixture::{Fixture, event, eventually, keyed, options};

#[tokio::test]
async fn after_a_failed_sync_the_outcome_is_unknown_and_the_log_poisoned() {
    let fixture = Fixture::new();
    let first = fixture.publish(keyed("first")).await.unwrap();
    fixture.disk.inject(
        When::Every(OperationKind::WriteDurable),
        Effect::SyncFails { error: ErrorCode::InputOutput, data: FailedData::PartlyLost },
    );
    assert_eq!(fixture.publish(keyed("lost?")).await.unwrap_err().code(), "outcome_unknown");
    fixture.disk.clear_faults();
    assert_eq!(fixture.publish(keyed("next")).await.unwrap_err().code(), "log_poisoned");
    assert!(fixture.publisher.find(first.id, &Tenant::default()).await.unwrap().is_some(), "reads go on");
}

#[tokio::test]
async fn a_full_disk_refuses_and_takes_events_again_by_itself() {
    let mut options = options();
    options.segment_bytes = 64 << 10;
    options.max_commit_bytes = 16 << 10;
    let fixture = Fixture::with(SimulatedDisk::new(1), options, PublishLimits::default());
    let large = || {
        let mut event = event("large");
        event.data = Some(Data::binary(Bytes::from(vec![7; 10_000])));
        event
    };
    fixture.publish(large()).await.unwrap();
    let capacity = Capacity { bytes: 192 << 10, copy_on_write: false };
    fixture.disk.set_capacity(Some(capacity));
    let mut stored = 1;
    let error = loop {
        match fixture.publish(large()).await {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
        assert!(stored < 100, "the disk has no room for that");
    };
    assert_eq!(error.code(), "disk_full");
    assert_eq!(fixture.log.durable_offset(), stored);
    fixture.disk.set_capacity(None);
    eventually("it takes events again", async || fixture.publish(large()).await.is_ok()).await;
    assert_eq!(fixture.log.durable_offset(), stored + 1);
}

#[tokio::test]
async fn a_closed_log_is_a_shutdown() {
    let fixture = Fixture::new();
    fixture.log.close();
    assert!(matches!(fixture.publish(event("a")).await, Err(PublishError::ShuttingDown)));
}

#[tokio::test]
async fn what_happens_is_counted() {
    let fixture = Fixture::new();
    fixture.publish(keyed("k")).await.unwrap();
    fixture.publish(keyed("k")).await.unwrap();
    fixture.publisher.publish(vec![event("a"), event("b")]).await.unwrap();
    fixture.publisher.publish(Vec::new()).await.unwrap_err();
    fixture.publisher.metrics().refused("malformed_json");
    let text = fixture.metrics();
    for line in [
        "eventrelay_events_accepted_total 3\n",
        "eventrelay_events_duplicate_total 1\n",
        "eventrelay_publishes_refused_total{reason=\"empty_batch\"} 1\n",
        "eventrelay_publishes_refused_total{reason=\"malformed_json\"} 1\n",
    ] {
        assert!(text.contains(line), "{line} is in {text}");
    }
    let bytes: u64 = (0..3).map(|offset| fixture.stored(offset).encoded().len() as u64).sum();
    assert!(text.contains(&format!("eventrelay_events_accepted_bytes_total {bytes}\n")), "{text}");
}
