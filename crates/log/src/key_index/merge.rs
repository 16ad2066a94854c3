//! Merging key files, so that a look-up touches few of them and what is older than the window goes.
//!
//! Files belong to tiers by their number of keys, each tier [`FANOUT`] times the one before. When that many
//! neighbours have gathered in a tier, they become one file of the next. A key is thus rewritten once per tier, and
//! 10,000,000 keys are in about five files.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Entry;
use super::error::KeyIndexError;
use super::key_file::{EntryReader, KeyFile};
use super::writer::{self, Home, Writer};

/// How many files of a tier make one of the next.
const FANOUT: usize = 4;
/// More than this many are never merged at once: each takes about 70 KiB while it is read.
const MAX_INPUTS: usize = 16;
/// Files with fewer keys are the lowest tier.
const LOWEST_TIER_KEYS: u64 = 64 * 1024;
/// How many entries go by between two looks at the stop signal.
const STOP_INTERVAL: u64 = 16 * 1024;

/// A durable key file that replaces its inputs, which the index still uses.
#[derive(Debug)]
#[must_use = "the index has to take it over"]
pub(crate) struct MergedFile {
    pub(super) file: Arc<KeyFile>,
    /// Held, so that no other merge takes them.
    _inputs: Vec<Arc<KeyFile>>,
}

/// Writes neighbouring files into one.
pub(crate) struct MergeTask {
    pub(super) home: Home,
    /// Neighbours, oldest first.
    pub(super) inputs: Vec<Arc<KeyFile>>,
    /// Entries appended before it are left out.
    pub(super) cutoff_micros: u64,
}

impl MergeTask {
    /// The offsets that the file will cover.
    pub(crate) fn offsets(&self) -> Range<u64> {
        match (self.inputs.first(), self.inputs.last()) {
            (Some(first), Some(last)) => first.offsets().start..last.offsets().end,
            _ => 0..0,
        }
    }

    /// Merges. Blocking, for seconds when the files are large; `stop` ends it soon. A failure changes nothing.
    pub(crate) fn run(self, stop: &AtomicBool) -> Result<MergedFile, KeyIndexError> {
        let most_entries = self.inputs.iter().map(|file| file.entries()).sum();
        let file =
            writer::write(&self.home, &self.offsets(), most_entries, |writer| self.merge_into(writer, stop))?;
        Ok(MergedFile { file: Arc::new(file), _inputs: self.inputs })
    }

    fn merge_into(&self, writer: &mut Writer, stop: &AtomicBool) -> Result<(), KeyIndexError> {
        let mut heads = Heads::new(&self.inputs)?;
        let mut seen = 0_u64;
        while let Some(entry) = heads.next()? {
            if seen.is_multiple_of(STOP_INTERVAL) && stop.load(Ordering::Relaxed) {
                return Err(KeyIndexError::Stopped { path: writer.path().to_path_buf() });
            }
            seen += 1;
            if entry.append_time_micros >= self.cutoff_micros {
                writer.push(entry)?;
            }
        }
        Ok(())
    }
}

/// The next entry of each input that has one, in the inputs' order.
struct Heads(Vec<(Entry, EntryReader)>);

impl Heads {
    fn new(inputs: &[Arc<KeyFile>]) -> Result<Self, KeyIndexError> {
        let mut heads = Vec::with_capacity(inputs.len());
        for input in inputs {
            let mut reader = input.read_entries();
            if let Some(entry) = reader.next()? {
                heads.push((entry, reader));
            }
        }
        Ok(Self(heads))
    }

    /// The least key with its newest record.
    fn next(&mut self) -> Result<Option<Entry>, KeyIndexError> {
        let Some(least) = self.0.iter().map(|(head, _)| head.key_hash).min() else {
            return Ok(None);
        };
        let mut newest = None;
        let mut index = 0;
        while let Some((head, reader)) = self.0.get_mut(index) {
            if head.key_hash == least {
                // Later inputs have higher offsets.
                newest = Some(*head);
                match reader.next()? {
                    Some(entry) => *head = entry,
                    None => {
                        self.0.remove(index);
                        continue;
                    }
                }
            }
            index += 1;
        }
        Ok(newest)
    }
}

/// What the choice of a merge depends on.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub(super) offsets: Range<u64>,
    pub(super) entries: u64,
    pub(super) oldest_micros: u64,
    pub(super) newest_micros: u64,
    /// A task works on it.
    pub(super) busy: bool,
}

impl Candidate {
    pub(super) fn of(file: &Arc<KeyFile>) -> Self {
        Self {
            offsets: file.offsets(),
            entries: file.entries(),
            oldest_micros: file.oldest_micros(),
            newest_micros: file.newest_micros(),
            busy: is_busy(file),
        }
    }
}

/// Whether a task, or a result that was not yet taken over, holds the file beside the index.
pub(super) fn is_busy(file: &Arc<KeyFile>) -> bool {
    Arc::strong_count(file) > 1
}

/// Which of `files`, oldest first, should be merged now.
pub(super) fn choose(files: &[Candidate], cutoff_micros: u64) -> Option<Range<usize>> {
    let tiers = files.iter().map(|file| tier(file.entries)).max()?;
    (0..=tiers).find_map(|tier| choose_in_tier(files, tier)).or_else(|| {
        // Nothing to merge, so shed what is too old from a file that is mostly that.
        files.iter().position(|file| !file.busy && mostly_expired(file, cutoff_micros)).map(|at| at..at + 1)
    })
}

/// The oldest neighbours of this tier or lower that are worth merging.
fn choose_in_tier(files: &[Candidate], highest: u32) -> Option<Range<usize>> {
    (0..files.len())
        .map(|start| start..run_end(files, start, highest))
        .find(|run| is_worth_it(&files[run.clone()]))
}

/// Where the neighbours from `start` on end that could be merged.
fn run_end(files: &[Candidate], start: usize, highest: u32) -> usize {
    let mut end = start;
    while end < files.len().min(start + MAX_INPUTS)
        && !files[end].busy
        && tier(files[end].entries) <= highest
        && (end == start || files[end - 1].offsets.end == files[end].offsets.start)
    {
        end += 1;
    }
    end
}

/// Enough files, and none that would be rewritten for the sake of little ones.
fn is_worth_it(run: &[Candidate]) -> bool {
    let sum: u64 = run.iter().map(|file| file.entries).sum();
    let largest = run.iter().map(|file| file.entries).max().unwrap_or(0);
    run.len() >= FANOUT && sum - largest >= largest
}

fn tier(entries: u64) -> u32 {
    (entries / LOWEST_TIER_KEYS).checked_ilog(FANOUT as u64).map_or(0, |tier| tier + 1)
}

/// Whether half the entries are older than the cutoff, had they come evenly.
fn mostly_expired(file: &Candidate, cutoff_micros: u64) -> bool {
    let middle = file.oldest_micros.midpoint(file.newest_micros);
    file.entries > 0 && middle < cutoff_micros
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(offsets: Range<u64>, entries: u64) -> Candidate {
        Candidate {
            oldest_micros: offsets.start,
            newest_micros: offsets.end - 1,
            offsets,
            entries,
            busy: false,
        }
    }

    /// Seals files of `keys_per_file` keys and merges at once. Tells the most files there were, and how often a key
    /// was rewritten on average.
    fn grow(keys: u64, keys_per_file: u64) -> (usize, u64) {
        let mut files: Vec<Candidate> = Vec::new();
        let (mut most_files, mut rewritten) = (0, 0);
        for start in (0..keys).step_by(usize::try_from(keys_per_file).unwrap()) {
            files.push(file(start..start + keys_per_file, keys_per_file));
            while let Some(chosen) = choose(&files, 0) {
                let entries = files[chosen.clone()].iter().map(|file| file.entries).sum();
                let offsets = files[chosen.start].offsets.start..files[chosen.end - 1].offsets.end;
                rewritten += entries;
                files.splice(chosen, [file(offsets, entries)]);
            }
            most_files = most_files.max(files.len());
        }
        (most_files, rewritten / keys)
    }

    #[test]
    fn many_keys_are_in_few_files_that_are_seldom_rewritten() {
        for (keys_per_file, most_files, most_rewritten) in
            [(1_000, 16, 9), (10_000, 12, 6), (50_000, 10, 4), (458_752, 6, 2)]
        {
            let (files, rewritten) = grow(10_000_000, keys_per_file);
            println!("{keys_per_file} keys a file: {files} files, each key rewritten {rewritten} times");
            assert!(files <= most_files, "{files} files of {keys_per_file} keys");
            assert!(
                rewritten <= most_rewritten,
                "each key rewritten {rewritten} times, {keys_per_file} in a file"
            );
        }
    }

    #[test]
    fn only_idle_neighbours_are_merged() {
        let mut files: Vec<Candidate> = (0..4).map(|n| file(n * 10..n * 10 + 10, 10)).collect();
        assert_eq!(choose(&files[..3], 0), None);
        assert_eq!(choose(&files, 0), Some(0..4));
        files[1].busy = true;
        assert_eq!(choose(&files, 0), None);
        files[1].busy = false;
        files[2].offsets.start += 1;
        assert_eq!(choose(&files, 0), None);
        files[2].offsets.start -= 1;
        // A large file is not rewritten for the sake of three small ones, but four small ones behind it are merged.
        files[0].entries = 1_000;
        assert_eq!(choose(&files, 0), None);
        files.push(file(40..50, 10));
        assert_eq!(choose(&files, 0), Some(1..5));
    }

    #[test]
    fn files_without_keys_become_one() {
        let files: Vec<Candidate> = (0..20).map(|n| file(n * 10..n * 10 + 10, 0)).collect();
        assert_eq!(choose(&files, u64::MAX), Some(0..16));
        assert_eq!(choose(&files[..1], u64::MAX), None);
    }

    #[test]
    fn a_file_that_is_mostly_too_old_is_written_again() {
        let files = [file(0..100, 100), file(100..200, 100)];
        assert_eq!(choose(&files, 49), None);
        assert_eq!(choose(&files, 51), Some(0..1));
    }
}
