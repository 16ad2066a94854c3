//! The key index: was a record with this key appended within the window, where, and with which content?
//!
//! It is derived from the log and can be rebuilt from it while the records are there. It is in three parts, which a
//! look-up asks from the newest to the oldest, so that the newest record of a key is the one that counts:
//!
//! ```text
//!  insert ──► active     256 hash maps                                          (active)
//!               │ seal   when the segment ends or the maps are full: O(1)
//!               ▼
//!             sealing    the same maps, shared with the task that writes them   (seal)
//!               │ finish_seal
//!               ▼
//!             key files  immutable; filter and page directory in memory         (format, filter, key_file, writer)
//!               │ merge  neighbours become one; expired keys go                 (merge)
//!               ▼ expire whole files go
//! ```
//!
//! [`KeyIndex`] itself does no I/O but the one page read of a hit: tasks do, on the caller's maintenance thread, and
//! hand their result back. A key that is not there costs a probe of a hash map and of a filter per file, and no read
//! but for about 1 key in 65,536 per file.
//!
//! *The window* is measured in the log's append time, which never goes backwards; the wall clock is never asked. A
//! record counts while `append time >= now - window`.
//!
//! *Crashes*: a file is complete and durable before it has its name, and what it replaces is removed only after that.
//! [`opening`] cleans up what a crash left. *Damage* is an error that names file and part; it never reads as "not
//! known". The file can be rebuilt ([`Rebuild`]) from the log's records and then replaced.

mod active;
mod error;
mod file_name;
mod filter;
mod format;
mod key_file;
mod merge;
mod opening;
mod retired;
mod seal;
#[cfg(test)]
mod tests;
mod writer;

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use crate::disk::Disk;
use active::{ACTIVE_KEYS, ActiveKeys};
use key_file::KeyFile;
use writer::Home;

pub(crate) use error::KeyIndexError;
pub(crate) use merge::{MergeTask, MergedFile};
pub(crate) use opening::Coverage;
pub(crate) use retired::Retired;
pub(crate) use seal::{Rebuild, Rebuilt, SealTask, SealedFile};

/// A keyed record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Names the key. From a keyed hash function: a producer must not be able to choose it.
    pub(crate) key_hash: u128,
    /// Tells the record's content from another's.
    pub(crate) fingerprint: u64,
    pub(crate) offset: u64,
    pub(crate) append_time_micros: u64,
}

/// The keys of the log. See the module.
pub(crate) struct KeyIndex {
    home: Home,
    window_micros: u64,
    active: ActiveKeys,
    /// Oldest first.
    sealing: Vec<Sealing>,
    /// Oldest first, apart from each other.
    files: Vec<Arc<KeyFile>>,
    /// The active part's offsets begin here or later.
    active_start: u64,
    /// The offset after the last that was inserted.
    active_end: u64,
}

/// A part that waits for its file.
struct Sealing {
    offsets: Range<u64>,
    keys: Arc<ActiveKeys>,
}

impl KeyIndex {
    /// Opens the key files in `directory`, creating it when it is missing, and says what they cover. The caller then
    /// rebuilds what is missing ([`Rebuild`]) or, after the last file, inserts it; and calls [`Self::expire`].
    /// `log_end` is the offset after the log's last record: files that reach beyond it are set aside. Blocking.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        directory: PathBuf,
        log_id: [u8; 16],
        window_micros: u64,
        log_end: u64,
    ) -> Result<(Self, Coverage), KeyIndexError> {
        let home = Home { disk, directory, log_id };
        let (files, coverage) = opening::open_files(&home, log_end)?;
        let active_start = files.last().map_or(0, |file| file.offsets().end);
        let index = Self {
            home,
            window_micros,
            active: ActiveKeys::new(),
            sealing: Vec::new(),
            files,
            active_start,
            active_end: active_start,
        };
        Ok((index, coverage))
    }

    /// The newest record with this key, when it was appended within the window before `now_micros`.
    /// Reads a page when the key is in a file; an error is no answer.
    pub(crate) fn get(&self, key_hash: u128, now_micros: u64) -> Result<Option<Entry>, KeyIndexError> {
        let cutoff_micros = self.cutoff(now_micros);
        let found = match self.active.get(key_hash) {
            Some(entry) => Some(entry),
            None => self.find_sealed(key_hash, cutoff_micros)?,
        };
        Ok(found.filter(|entry| entry.append_time_micros >= cutoff_micros))
    }

    /// Remembers a record whose offset is not below those that were sealed. An older one with the same key no longer
    /// counts.
    pub(crate) fn insert(&mut self, entry: Entry) {
        assert!(entry.offset >= self.active_start, "sealed parts take no more keys");
        self.active_end = self.active_end.max(entry.offset + 1);
        self.active.insert(entry);
    }

    /// Forgets the records at `offset` and after it, which must not have been sealed: a tail that was not written.
    /// A record that one of them replaced had left the window and stays forgotten.
    pub(crate) fn truncate_active(&mut self, offset: u64) {
        assert!(offset >= self.active_start, "only durable offsets are sealed");
        if offset < self.active_end {
            self.active.truncate(offset);
            self.active_end = offset;
        }
    }

    /// Whether the active part should be sealed, even if the segment goes on: its memory is about to double.
    pub(crate) fn is_full(&self) -> bool {
        self.active.len() >= ACTIVE_KEYS
    }

    /// Seals the active part, which covers `base_offset..end_offset`; `None` when that is empty. Takes no time. The
    /// keys stay in memory until the task has run and [`Self::finish_seal`] has its file. A part without keys gets
    /// its file as well, for that tells the next opening that there is nothing to read again.
    pub(crate) fn seal(&mut self, base_offset: u64, end_offset: u64) -> Option<SealTask> {
        assert!(base_offset >= self.active_start, "sealed parts do not overlap");
        assert!(end_offset >= self.active_end, "every inserted record is in the sealed part");
        let offsets = base_offset..end_offset;
        if offsets.is_empty() {
            return None;
        }
        self.active_start = end_offset;
        self.active_end = end_offset;
        let keys = Arc::new(std::mem::replace(&mut self.active, ActiveKeys::new()));
        self.sealing.push(Sealing { offsets: offsets.clone(), keys: Arc::clone(&keys) });
        Some(SealTask { home: self.home.clone(), offsets, keys })
    }

    /// Answers from the file from now on.
    pub(crate) fn finish_seal(&mut self, done: SealedFile) -> Retired {
        let offsets = done.0.offsets();
        let mut retired = self.replace(&offsets, vec![done.0]);
        let (written, sealing) = self.sealing.drain(..).partition(|sealing| sealing.offsets == offsets);
        self.sealing = sealing;
        let written: Vec<Sealing> = written;
        retired.keys = written.into_iter().map(|sealing| sealing.keys).collect();
        retired
    }

    /// Answers from rebuilt files from now on; what covered their offsets before is retired.
    pub(crate) fn finish_rebuild(&mut self, done: Rebuilt) -> Retired {
        let files = done.files.into_iter().map(|file| file.0).collect();
        self.replace(&done.offsets, files)
    }

    /// A merge that is worth doing, of files that no other task works on.
    pub(crate) fn merge_task(&self, now_micros: u64) -> Option<MergeTask> {
        let cutoff_micros = self.cutoff(now_micros);
        let candidates: Vec<_> = self.files.iter().map(merge::Candidate::of).collect();
        let chosen = merge::choose(&candidates, cutoff_micros)?;
        Some(MergeTask { home: self.home.clone(), inputs: self.files[chosen].to_vec(), cutoff_micros })
    }

    /// Answers from the merged file from now on.
    pub(crate) fn finish_merge(&mut self, done: MergedFile) -> Retired {
        let offsets = done.file.offsets();
        self.replace(&offsets, vec![done.file])
    }

    /// Drops the files whose newest record has left the window.
    pub(crate) fn expire(&mut self, now_micros: u64) -> Retired {
        let cutoff_micros = self.cutoff(now_micros);
        // Append times ascend with the offsets, and a file without keys has none: it goes with a later one.
        let is_expired = |file: &Arc<KeyFile>| file.entries() > 0 && file.newest_micros() < cutoff_micros;
        let expired = self.files.iter().rposition(is_expired).map_or(0, |last| last + 1);
        // A merge in progress would bring back what is dropped; it will be dropped afterwards.
        let idle = self.files[..expired].iter().take_while(|file| !merge::is_busy(file)).count();
        let files = self.files.drain(..idle).collect();
        Retired::files(&self.home, files)
    }

    /// The keys of the records from here on are in memory only: without the records they would be lost.
    pub(crate) fn unfiled_from(&self) -> u64 {
        self.sealing.iter().map(|sealing| sealing.offsets.start).min().unwrap_or(self.active_start)
    }

    /// About how much memory it takes.
    pub(crate) fn memory_bytes(&self) -> usize {
        let sealing: usize = self.sealing.iter().map(|sealing| sealing.keys.memory_bytes()).sum();
        let files: usize = self.files.iter().map(|file| file.memory_bytes()).sum();
        self.active.memory_bytes() + sealing + files
    }

    /// How many keys it holds, counting those that have left the window but not the index.
    pub(crate) fn len(&self) -> u64 {
        let sealing: usize = self.sealing.iter().map(|sealing| sealing.keys.len()).sum();
        let files: u64 = self.files.iter().map(|file| file.entries()).sum();
        (self.active.len() + sealing) as u64 + files
    }

    /// Asks sealed parts and files from the newest to the oldest. A part whose file could not be written so far may be
    /// older than the newest files.
    fn find_sealed(&self, key_hash: u128, cutoff_micros: u64) -> Result<Option<Entry>, KeyIndexError> {
        let mut sealing = self.sealing.iter().rev().peekable();
        for file in self.files.iter().rev().filter(|file| file.newest_micros() >= cutoff_micros) {
            while let Some(newer) = sealing.next_if(|part| part.offsets.start >= file.offsets().end) {
                if let Some(entry) = newer.keys.get(key_hash) {
                    return Ok(Some(entry));
                }
            }
            if let Some(entry) = file.find(key_hash)? {
                return Ok(Some(entry));
            }
        }
        Ok(sealing.find_map(|part| part.keys.get(key_hash)))
    }

    /// Puts `files`, which cover `offsets`, in the place of those within `offsets`.
    fn replace(&mut self, offsets: &Range<u64>, files: Vec<Arc<KeyFile>>) -> Retired {
        let start = self.files.partition_point(|file| file.offsets().end <= offsets.start);
        let end = self.files.partition_point(|file| file.offsets().start < offsets.end);
        let inside =
            |file: &Arc<KeyFile>| offsets.start <= file.offsets().start && file.offsets().end <= offsets.end;
        assert!(self.files[start..end].iter().all(inside), "files never overlap");
        let kept: Vec<PathBuf> = files.iter().map(|file| file.path().to_path_buf()).collect();
        let replaced = self.files.splice(start..end, files).collect();
        let mut retired = Retired::files(&self.home, replaced);
        // A file that was written again under the same name has replaced the old one already.
        retired.paths.retain(|path| !kept.contains(path));
        retired
    }

    fn cutoff(&self, now_micros: u64) -> u64 {
        now_micros.saturating_sub(self.window_micros)
    }
}
