//! Figures at size, on the real disk: `TEST_KEY_INDEX_KEYS=10000000 cargo test --release -p eventrelay-log
//! key_index_figures -- --nocapture`. Without the variable it runs with few keys, as a test like any other.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use super::super::*;
use crate::disk::RealDisk;

const LOG_ID: [u8; 16] = *b"figures of keys.";
const WINDOW_MICROS: u64 = u64::MAX;

#[test]
fn key_index_figures() {
    let keys: u64 = std::env::var("TEST_KEY_INDEX_KEYS").map_or(20_000, |keys| keys.parse().unwrap());
    let directory = std::env::temp_dir().join(format!("eventrelay-key-index-{}", std::process::id()));
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::default());
    let before = resident_mib();
    let (mut index, _) =
        KeyIndex::open(Arc::clone(&disk), directory.clone(), LOG_ID, WINDOW_MICROS, keys).unwrap();

    let mut insert = Spent::default();
    let (mut seal, mut merge) = (Spent::default(), Spent::default());
    let mut start = 0;
    for offset in 0..keys {
        // One in 256 is timed alone, for the slowest.
        if offset % 256 == 0 {
            insert.time(1, || index.insert(entry(offset)));
        } else {
            index.insert(entry(offset));
        }
        if index.is_full() {
            let task = index.seal(start, offset + 1).unwrap();
            let sealed = seal.time(offset + 1 - start, || task.run().unwrap());
            drop(task);
            index.finish_seal(sealed).remove().unwrap();
            start = offset + 1;
            while let Some(task) = index.merge_task(0) {
                let entries = task.offsets().end - task.offsets().start;
                let merged = merge.time(entries, || task.run(&AtomicBool::new(false)).unwrap());
                index.finish_merge(merged).remove().unwrap();
            }
        }
    }
    println!("{keys} keys, {} in {} files, {} in memory", start, index.files.len(), keys - start);
    println!("insert   {insert}");
    println!("seal     {seal}");
    println!("merge    {merge}");
    println!(
        "memory   {} MiB by its own count, {} MiB resident more than before, {} MiB at the peak",
        index.memory_bytes() >> 20,
        resident_mib().saturating_sub(before),
        peak_mib().saturating_sub(before)
    );

    println!("miss     {}", look_ups(&index, 1_000_000.min(keys * 10), |number| keys + number, false));
    println!("hit      {}", look_ups(&index, 200_000.min(keys), |number| number * 7_919 % keys, true));
    println!("recent   {}", look_ups(&index, 200_000.min(keys), |number| keys - 1 - number % 1_000, true));

    drop(index);
    let started = Instant::now();
    let (index, coverage) = KeyIndex::open(disk, directory.clone(), LOG_ID, WINDOW_MICROS, keys).unwrap();
    println!("open     {:?} for {} keys", started.elapsed(), index.len());
    assert!(coverage.problems.is_empty());
    assert_eq!(coverage.missing(0..keys), if start < keys { vec![start..keys] } else { vec![] });
    std::fs::remove_dir_all(directory).unwrap();
}

fn look_ups(index: &KeyIndex, count: u64, offset: impl Fn(u64) -> u64, known: bool) -> Spent {
    let mut spent = Spent::default();
    for number in 0..count {
        let key_hash = entry(offset(number)).key_hash;
        let found = spent.time(1, || index.get(black_box(key_hash), 0).unwrap());
        assert_eq!(found.is_some(), known);
    }
    spent
}

fn entry(offset: u64) -> Entry {
    let high = mix(offset.wrapping_mul(2));
    let low = mix(offset.wrapping_mul(2).wrapping_add(1));
    Entry {
        key_hash: (u128::from(high) << 64) | u128::from(low),
        fingerprint: low,
        offset,
        append_time_micros: offset,
    }
}

/// A bijection, so that no two keys are the same.
fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[derive(Default)]
struct Spent {
    nanoseconds: Vec<u64>,
    units: u64,
}

impl Spent {
    fn time<T>(&mut self, units: u64, work: impl FnOnce() -> T) -> T {
        let started = Instant::now();
        let done = work();
        self.nanoseconds.push(u64::try_from(started.elapsed().as_nanos()).unwrap());
        self.units += units;
        done
    }
}

impl std::fmt::Display for Spent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut sorted = self.nanoseconds.clone();
        sorted.sort_unstable();
        let at = |share: usize| sorted.get(sorted.len() * share / 1_000).copied().unwrap_or(0);
        let per_unit = sorted.iter().sum::<u64>() / self.units.max(1);
        write!(f, "{per_unit} ns each; p50 {} ns, p99 {} ns, ", at(500), at(990))?;
        write!(f, "p99.9 {} ns, most {} ns", at(999), sorted.last().unwrap_or(&0))
    }
}

fn resident_mib() -> u64 {
    status_mib("VmRSS:")
}

fn peak_mib() -> u64 {
    status_mib("VmHWM:")
}

fn status_mib(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}
