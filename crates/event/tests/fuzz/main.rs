//! Damaged and made-up input to every decoder of this crate: none may panic, hang or believe it.
//!
//! What was decoded must be good for all that is done with it: an event that keeps the rules comes out of every form as it
//! went in, and keeps them again; one that breaks them must at least be safe to look at. How long this runs, and how to
//! repeat a run, is said in `eventrelay_fuzz`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod accepted;
mod bodies;
mod media_types;
mod records;

use std::path::PathBuf;

use eventrelay_fuzz::Target;

/// The words of JSON and of our forms.
const WORDS: [&[u8]; 28] = [
    b"\\u0000",
    b"\\ud83d\\ude00",
    b"\\ud800",
    b"1e999",
    b"-0.0e-1",
    b"null",
    b"true",
    b"\"type\":\"t\",",
    b"\"source\":\"/s\",",
    b"\"data\":",
    b"\"data_base64\":\"aGk=\",",
    b"\"id\":",
    b"\"time\":\"2026-01-31T12:00:00Z\",",
    b"\"headers\":{\"a\":\"b\"},",
    b"\"key\":",
    b"\"content_type\":\"text/plain\",",
    b"\"datacontenttype\":\"application/xml\",",
    b"\"idempotency_key\":",
    b"\"specversion\":\"1.0\",",
    b"\"partitionkey\":",
    b"{\"type\":\"t\",\"source\":\"s\"}",
    b"\xef\xbb\xbf",
    b"%C0%AF",
    b"%E2%82%AC",
    b"\ncontent-type: application/json",
    b"\nce-subject: ",
    b"\n\n",
    b"\\\"",
];

/// The target with the seeds of `corpus/<name>`.
fn drive<Way: std::hash::Hash>(name: &str, run: impl Fn(&[u8]) -> Way) {
    let corpus = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(name);
    eventrelay_fuzz::fuzz(Target { name, corpus: &corpus, words: &WORDS, max_bytes: 16 << 10 }, run);
}
