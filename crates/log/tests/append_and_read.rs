//! The log on a real disk: what is appended is read back, across rolls, reopening and retention.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test's way to fail")]

use std::sync::Arc;

use eventrelay_log::disk::{DurableWrites, RealDisk};
use eventrelay_log::{AppendError, Group, Key, Log, OpenError, Options, RecordOutcome, Refusal, Retention};

fn options(directory: &tempfile::TempDir) -> Options {
    let mut options = Options::new(directory.path().join("log"));
    options.segment_bytes = 256 << 10;
    options.max_commit_bytes = 64 << 10;
    options.queue_bytes = 1 << 20;
    options
}

fn open(options: &Options) -> Log {
    Log::open(Arc::new(RealDisk::new(DurableWrites::Direct)), options.clone()).unwrap()
}

async fn append(log: &Log, payloads: &[&[u8]]) -> Vec<RecordOutcome> {
    let mut group = Group::new();
    for payload in payloads {
        group.push(None, |out| out.extend_from_slice(payload));
    }
    let reservation = log.reserve(group.bytes()).await.unwrap();
    log.append(reservation, group).await.unwrap().records.to_vec()
}

async fn append_keyed(log: &Log, key: Key) -> Result<RecordOutcome, AppendError> {
    let mut group = Group::new();
    group.push(Some(key), |out| out.extend_from_slice(&key.fingerprint.to_le_bytes()));
    let reservation = log.reserve(group.bytes()).await?;
    log.append(reservation, group).await.map(|group| group.records[0])
}

fn read_all(log: &Log) -> Vec<Vec<u8>> {
    let mut payloads = Vec::new();
    let mut offset = log.oldest_offset();
    while let Some(frame) = log.read(offset).unwrap() {
        for record in frame.records_from(offset) {
            assert_eq!(record.offset, offset, "offsets are dense");
            offset += 1;
            payloads.push(record.payload.to_vec());
        }
    }
    assert_eq!(offset, log.durable_offset());
    payloads
}

#[tokio::test]
async fn what_is_appended_is_read_back_after_rolls_and_reopening() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(&directory);
    let log = open(&options);
    let mut expected = Vec::new();
    for i in 0..400u32 {
        let payload = vec![(i % 251) as u8; (i as usize * 37) % 5_000];
        let outcomes = append(&log, &[&payload, b"second"]).await;
        assert!(
            matches!(outcomes[..], [RecordOutcome::Appended { offset, .. }, _] if offset == u64::from(i) * 2)
        );
        expected.push(payload);
        expected.push(b"second".to_vec());
    }
    assert!(log.bytes() > 3 * options.segment_bytes, "the log has rolled");
    assert_eq!(read_all(&log), expected);
    log.close();
    drop(log);
    let log = open(&options);
    assert_eq!(log.durable_offset(), 800);
    assert_eq!(read_all(&log), expected);
    assert_eq!(log.read(777).unwrap().unwrap().record(777).unwrap().payload, "second");
    append(&log, &[b"more"]).await;
    assert_eq!(log.durable_offset(), 801);
}

#[tokio::test]
async fn a_repeated_key_finds_the_first_and_other_content_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(&directory);
    let log = open(&options);
    let key = |n: u32| Key { hash: u128::from(n) << 64 | 7, fingerprint: u64::from(n) };
    let mut first = Vec::new();
    for n in 0..2_000 {
        first.push(append_keyed(&log, key(n)).await.unwrap());
    }
    for reopened in [false, true] {
        let log = if reopened {
            log.close();
            open(&options)
        } else {
            log.clone()
        };
        for n in 0..2_000 {
            let RecordOutcome::Appended { offset, append_time_micros } = first[n as usize] else {
                panic!("new key")
            };
            let again = append_keyed(&log, key(n)).await.unwrap();
            assert_eq!(again, RecordOutcome::Exists { offset, append_time_micros });
            let other = append_keyed(&log, Key { fingerprint: 99_999, ..key(n) }).await;
            assert!(matches!(other, Err(AppendError::KeyConflict { index: 0, offset: at }) if at == offset));
        }
        assert_eq!(log.durable_offset(), 2_000, "nothing was added");
    }
}

#[tokio::test]
async fn a_second_opener_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(&directory);
    let log = open(&options);
    let second = Log::open(Arc::new(RealDisk::new(DurableWrites::Direct)), options.clone());
    assert!(matches!(second, Err(OpenError::Locked(_))));
    log.close();
    open(&options);
}

#[tokio::test]
async fn a_closed_log_refuses_and_an_oversized_group_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(&options(&directory));
    let too_large = log.reserve(log.max_group_bytes() + 1).await;
    assert!(matches!(too_large, Err(AppendError::Refused(Refusal::TooLarge { .. }))));
    append(&log, &[b"x"]).await;
    log.close();
    assert!(matches!(log.reserve(1).await, Err(AppendError::Refused(Refusal::Closed))));
    assert_eq!(read_all(&log), [b"x"], "reads go on");
}

#[tokio::test]
async fn retention_recycles_and_stale_frames_never_come_back() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = options(&directory);
    options.retention = Retention { max_segments: Some(2), ..Retention::default() };
    let log = open(&options);
    log.set_needed_offset(u64::MAX);
    // Retention runs on its own thread: go on until it has caught up, for a bounded number of appends.
    let mut next = 0u32;
    while next < 600 || (log.bytes() > 3 * options.segment_bytes && next < 20_000) {
        append(&log, &[&next.to_le_bytes()]).await;
        next += 1;
    }
    assert!(log.oldest_offset() > 0, "old segments were let go");
    log.close();
    let log = open(&options);
    let kept = read_all(&log);
    let expected: Vec<_> = (log.oldest_offset() as u32..next).map(|n| n.to_le_bytes().to_vec()).collect();
    assert_eq!(kept, expected, "each offset holds what was appended there, in this life of its file");
    assert!(log.read(0).is_err(), "what was let go is gone");
}
