//! The file sink on a real file system.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::testing::delivery;

fn sink(directory: &TempDir, extra: &Value) -> FileSink {
    let mut settings = json!({"directory": "out/events"});
    settings.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    let environment = Environment { files_directory: directory.path().to_owned(), ..Environment::default() };
    FileSink::new(&crate::settings::parse(KIND, &settings).unwrap(), &environment).unwrap()
}

async fn deliver(sink: &FileSink, offsets: &[u64]) -> Outcome {
    let batch: Vec<_> = offsets.iter().map(|&offset| delivery(offset, br#"{"total":1}"#)).collect();
    let attempts = sink.deliver(&batch).await;
    assert_eq!(attempts.len(), batch.len());
    attempts[0].outcome.clone()
}

/// The event files in order.
fn files(directory: &TempDir) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory.path().join("out/events")).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "ndjson"));
    paths.sort();
    paths
}

fn offsets(path: &Path) -> Vec<u64> {
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["offset"].as_u64().unwrap())
        .collect()
}

#[tokio::test]
async fn a_batch_is_a_line_for_each_event_in_a_file_named_after_the_first() {
    let directory = TempDir::new().unwrap();
    let sink = sink(&directory, &json!({}));
    assert_eq!(deliver(&sink, &[41, 42]).await, Outcome::Delivered);
    assert_eq!(deliver(&sink, &[43]).await, Outcome::Delivered);
    let [file] = &files(&directory)[..] else { panic!("{:?}", files(&directory)) };
    assert!(file.to_str().unwrap().ends_with("Z-00000000000000000041.ndjson"));
    assert_eq!(offsets(file), [41, 42, 43]);
}

#[tokio::test]
async fn data_with_line_ends_is_still_one_line() {
    let directory = TempDir::new().unwrap();
    let sink = sink(&directory, &json!({}));
    sink.deliver(&[delivery(1, b"{\n  \"a\": [\r\n 1]\n}"), delivery(2, b"2")]).await;
    assert_eq!(offsets(&files(&directory)[0]), [1, 2]);
}

#[tokio::test]
async fn a_full_file_is_followed_by_a_new_one_and_no_line_is_split() {
    let directory = TempDir::new().unwrap();
    let sink = sink(&directory, &json!({"max_bytes": 1024}));
    for offset in 0..20 {
        assert_eq!(deliver(&sink, &[offset]).await, Outcome::Delivered);
    }
    let files = files(&directory);
    assert!(files.len() > 3, "{files:?}");
    assert!(files.iter().all(|file| fs::metadata(file).unwrap().len() <= 1024));
    let all: Vec<_> = files.iter().flat_map(|file| offsets(file)).collect();
    assert_eq!(all, (0..20).collect::<Vec<_>>());
}

#[test]
fn an_old_file_is_followed_by_a_new_one_whatever_the_clock_does() {
    let directory = TempDir::new().unwrap();
    let settings: Settings =
        crate::settings::parse(KIND, &json!({"directory": ".", "max_age_seconds": 10})).unwrap();
    let mut writer = Writer::new(directory.path().join("out/events"), &settings);
    const SECOND: u64 = 1_000_000;
    for (offset, now_micros, expected_files) in [
        (1, 100 * SECOND, 1),
        (2, 109 * SECOND, 1),
        (3, 110 * SECOND, 2),
        (4, 50 * SECOND, 2),
        (5, 120 * SECOND, 3),
    ] {
        writer.append(offset, format!("{{\"offset\":{offset}}}\n").as_bytes(), now_micros).unwrap();
        assert_eq!(files(&directory).len(), expected_files, "offset {offset}");
    }
    // After a restart with the clock set back, the new file still sorts last.
    drop(writer);
    let mut writer = Writer::new(directory.path().join("out/events"), &Settings { max_bytes: 1, ..settings });
    writer.append(6, b"{\"offset\":6}\n", 10 * SECOND).unwrap();
    let files = files(&directory);
    assert_eq!(
        files.iter().map(|file| offsets(file)).collect::<Vec<_>>(),
        [vec![1, 2], vec![3, 4], vec![5], vec![6]]
    );
}

#[tokio::test]
async fn after_a_crash_the_torn_line_is_cut_and_the_file_continued() {
    let directory = TempDir::new().unwrap();
    let first = sink(&directory, &json!({}));
    deliver(&first, &[1, 2]).await;
    drop(first);
    let file = files(&directory).remove(0);
    for torn in [&b"{\"offset\":3,\"da"[..], b"\0\0\0\0\n{}\n"] {
        let mut content = fs::read(&file).unwrap();
        let whole = content.clone();
        content.extend_from_slice(torn);
        fs::write(&file, content).unwrap();
        let again = sink(&directory, &json!({}));
        assert_eq!(deliver(&again, &[3]).await, Outcome::Delivered);
        assert!(fs::read(&file).unwrap().starts_with(&whole));
        assert_eq!(offsets(&file).last(), Some(&3));
    }
    assert_eq!(offsets(&file), [1, 2, 3, 3]);
    assert_eq!(files(&directory).len(), 1);
}

#[tokio::test]
async fn a_second_writer_of_the_same_files_is_refused_until_the_first_has_closed() {
    let directory = TempDir::new().unwrap();
    let (one, two) = (sink(&directory, &json!({})), sink(&directory, &json!({})));
    assert_eq!(deliver(&one, &[1]).await, Outcome::Delivered);
    let outcome = deliver(&two, &[2]).await;
    assert!(matches!(&outcome, Outcome::Retry { why, .. } if why.contains("another sink")), "{outcome:?}");
    let beside = sink(&directory, &json!({"prefix": "other"}));
    assert_eq!(deliver(&beside, &[2]).await, Outcome::Delivered);
    one.close().await;
    assert_eq!(deliver(&two, &[2]).await, Outcome::Delivered);
}

#[tokio::test]
async fn only_as_many_files_are_kept_as_asked() {
    let directory = TempDir::new().unwrap();
    let sink = sink(&directory, &json!({"max_bytes": 1024, "keep_files": 2}));
    let other = directory.path().join("out/events/events-mine.ndjson");
    for offset in 0..20 {
        deliver(&sink, &[offset]).await;
        fs::write(&other, "").unwrap();
    }
    let files = files(&directory);
    assert_eq!(files.len(), 3, "two of ours and the one that is not: {files:?}");
    assert_eq!(offsets(&files[1]).last(), Some(&19));
}

#[tokio::test]
async fn what_cannot_be_written_is_retried_and_says_why() {
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("out"), "a file in the way").unwrap();
    let sink = sink(&directory, &json!({}));
    let outcome = deliver(&sink, &[1]).await;
    assert!(matches!(&outcome, Outcome::Retry { why, .. } if why.contains("cannot create")), "{outcome:?}");
    fs::remove_file(directory.path().join("out")).unwrap();
    assert_eq!(deliver(&sink, &[1]).await, Outcome::Delivered);
}

#[test]
fn after_a_failed_write_nothing_of_the_batch_is_left() {
    // A limit on file size fails a write in its middle, as a full disk does.
    let directory = TempDir::new().unwrap();
    let settings: Settings = crate::settings::parse(KIND, &json!({"directory": "."})).unwrap();
    let mut writer = Writer::new(directory.path().join("out/events"), &settings);
    writer.append(1, b"{\"offset\":1}\n", 1).unwrap();
    let file = files(&directory).remove(0);
    // `/dev/full` stands in for the disk: every write to it is ENOSPC.
    writer.replace_file_for_test(fs::OpenOptions::new().append(true).open("/dev/full").unwrap());
    let error = writer.append(2, b"{\"offset\":2}\n", 2).unwrap_err().to_string();
    assert!(error.contains("No space left"), "{error}");
    assert_eq!(offsets(&file), [1]);
    // `/dev/full` cannot be cut back, so a new file takes over.
    writer.append(2, b"{\"offset\":2}\n", 3).unwrap();
    assert_eq!(offsets(&files(&directory)[1]), [2]);
}
