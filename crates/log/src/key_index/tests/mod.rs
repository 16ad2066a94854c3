//! Tests of the key index as a whole, on the simulated disk.

#![allow(clippy::single_range_in_vec_init, reason = "lists of ranges are what is compared")]

mod crash;
mod damage;
mod model;
mod opening;
mod timing;
mod window;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::*;
use crate::disk::simulated::SimulatedDisk;

const LOG_ID: [u8; 16] = *b"the log of tests";
const WINDOW_MICROS: u64 = 1_000;

fn directory() -> PathBuf {
    PathBuf::from("/log/keys")
}

fn path_of(offsets: &Range<u64>) -> PathBuf {
    directory().join(file_name::complete(offsets))
}

fn home(disk: &SimulatedDisk) -> Home {
    Home { disk: Arc::new(disk.clone()), directory: directory(), log_id: LOG_ID }
}

fn try_open(disk: &SimulatedDisk, log_end: u64) -> Result<(KeyIndex, Coverage), KeyIndexError> {
    KeyIndex::open(Arc::new(disk.clone()), directory(), LOG_ID, WINDOW_MICROS, log_end)
}

fn open(disk: &SimulatedDisk, log_end: u64) -> (KeyIndex, Coverage) {
    try_open(disk, log_end).unwrap()
}

/// A record whose fingerprint tells it from every other one.
fn record(key_hash: u128, offset: u64, append_time_micros: u64) -> Entry {
    Entry { key_hash, fingerprint: offset ^ 0x00C0_FFEE, offset, append_time_micros }
}

/// Spreads small numbers over all hashes.
fn spread(number: u64) -> u128 {
    u128::from(number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
}

/// Seals `base..end`, writes the file and takes it over.
fn seal(index: &mut KeyIndex, base: u64, end: u64) {
    let sealed = index.seal(base, end).unwrap().run().unwrap();
    index.finish_seal(sealed).remove().unwrap();
}

/// Inserts a record per offset, each with its own key and the offset as time, and seals them.
fn insert_and_seal(index: &mut KeyIndex, offsets: Range<u64>) {
    for offset in offsets.clone() {
        index.insert(record(spread(offset), offset, offset));
    }
    seal(index, offsets.start, offsets.end);
}

fn merge(task: MergeTask) -> Result<MergedFile, KeyIndexError> {
    task.run(&AtomicBool::new(false))
}

/// Merges until nothing is worth it.
fn merge_all(index: &mut KeyIndex, now_micros: u64) {
    while let Some(task) = index.merge_task(now_micros) {
        let merged = merge(task).unwrap();
        index.finish_merge(merged).remove().unwrap();
    }
}

fn file_names(disk: &SimulatedDisk) -> Vec<String> {
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    disk.paths().iter().map(|path| name(path)).collect()
}
