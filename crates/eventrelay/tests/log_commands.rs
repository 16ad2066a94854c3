//! `eventrelay log`: what it says of a whole log, of a damaged one, and after a repair.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's way to fail")]

mod harness;

use std::fs;
use std::path::{Path, PathBuf};

use harness::{RelayProcess, SMALL_LOG, http, run, stderr, stdout};
use serde_json::Value;

const SEGMENT: &str = "data/log/00000000000000000000.log";

/// A log of three events, each in a commit of its own, that no process has open.
fn log_of_three(directory: &Path) -> PathBuf {
    let relay = RelayProcess::start(directory, SMALL_LOG);
    for name in ["first", "second", "third"] {
        let event = format!(r#"{{"type":"{name}","source":"/test"}}"#);
        assert_eq!(http::publish(relay.http(), &event).status, 201);
    }
    assert_eq!(relay.terminate().code(), Some(0));
    directory.join(SEGMENT)
}

/// Flips one bit where `text` stands.
fn damage(segment: &Path, text: &[u8]) {
    let mut bytes = fs::read(segment).unwrap();
    let position = bytes.windows(text.len()).position(|window| window == text).unwrap();
    bytes[position] ^= 1;
    fs::write(segment, bytes).unwrap();
}

fn json(directory: &Path, arguments: &[&str], code: i32) -> Value {
    let output = run(directory, arguments);
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    serde_json::from_str(stdout(&output)).unwrap()
}

#[test]
fn a_whole_log_is_shown_and_verified() {
    let directory = tempfile::tempdir().unwrap();
    log_of_three(directory.path());
    let verified = json(directory.path(), &["log", "verify", "--json"], 0);
    assert_eq!(verified["whole"], true);
    assert_eq!(verified["segments"][0]["events"], 3);
    let text = run(directory.path(), ["log", "verify"]);
    assert!(stdout(&text).contains("3 events in 1 segment, offsets 0 to 3"), "{text:?}");
    let segments = json(directory.path(), &["log", "inspect", "--json"], 0);
    assert_eq!(segments["oldest_offset"], 0);
    let frames = json(directory.path(), &["log", "inspect", "--segment", "0", "--json"], 0);
    let events: u64 =
        frames["frames"].as_array().unwrap().iter().map(|frame| frame["count"].as_u64().unwrap()).sum();
    assert_eq!(events, 3);
}

#[test]
fn damage_is_named_refused_and_only_set_aside_on_an_operators_word() {
    let directory = tempfile::tempdir().unwrap();
    let segment = log_of_three(directory.path());
    damage(&segment, b"second");
    let damaged = fs::read(&segment).unwrap();

    let verified = json(directory.path(), &["log", "verify", "--json"], 4);
    assert_eq!((&verified["whole"], &verified["damage"][0]["offset"]), (&false.into(), &1.into()));

    let undecided = run(directory.path(), ["log", "repair"]);
    assert_eq!(undecided.status.code(), Some(4), "{undecided:?}");
    assert!(stderr(&undecided).contains("--yes"), "{undecided:?}");
    assert_eq!(fs::read(&segment).unwrap(), damaged, "repair without --yes changed the log");

    let repaired = json(directory.path(), &["log", "repair", "--yes", "--json"], 0);
    assert_eq!((&repaired["lost"][0]["from"], &repaired["lost"][0]["to"]), (&1.into(), &2.into()));
    let after = json(directory.path(), &["log", "verify", "--json"], 0);
    assert_eq!(after["given_up"][0]["from"], 1);

    let relay = RelayProcess::start(directory.path(), SMALL_LOG);
    assert_eq!(http::publish(relay.http(), r#"{"type":"fourth","source":"/test"}"#).json()["offset"], 3);
    relay.terminate();

    let cleaned = json(directory.path(), &["log", "clean", "--json"], 0);
    assert_eq!(cleaned["removed"].as_array().unwrap().len(), 1);
    assert_eq!(run(directory.path(), ["log", "verify"]).status.code(), Some(0));
}

#[test]
fn a_damaged_log_does_not_open_and_the_start_says_where() {
    let directory = tempfile::tempdir().unwrap();
    let segment = log_of_three(directory.path());
    damage(&segment, b"third");
    let failure = RelayProcess::try_start(directory.path(), SMALL_LOG).err().unwrap();
    assert_eq!(failure.code, Some(4), "{failure:?}");
    assert!(
        failure.said.contains("00000000000000000000.log") && failure.said.contains("offset 2"),
        "{failure:?}"
    );
}

#[test]
fn a_log_in_use_is_not_changed() {
    let directory = tempfile::tempdir().unwrap();
    let _relay = RelayProcess::start(directory.path(), SMALL_LOG);
    for command in [&["log", "repair", "--yes"][..], &["log", "clean"]] {
        let output = run(directory.path(), command);
        assert_eq!(output.status.code(), Some(3), "{output:?}");
    }
}

#[test]
fn where_there_is_no_log_none_is_made() {
    let directory = tempfile::tempdir().unwrap();
    for command in ["verify", "inspect", "repair", "clean"] {
        let output = run(directory.path(), ["log", command]);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(stderr(&output).contains("there is no log in ./data"), "{output:?}");
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}
