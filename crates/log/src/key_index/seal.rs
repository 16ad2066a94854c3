//! From keys in memory to key files: sealing the active part, and rebuilding a file from the log's records.

use std::ops::Range;
use std::sync::Arc;

use super::active::{ACTIVE_KEYS, ActiveKeys};
use super::error::KeyIndexError;
use super::key_file::KeyFile;
use super::writer::{self, Home};
use super::{Entry, KeyIndex};

/// A durable key file that the index does not use yet.
#[derive(Debug)]
#[must_use = "the index has to take it over"]
pub(crate) struct SealedFile(pub(super) Arc<KeyFile>);

/// Writes the keys of a sealed part to its file.
pub(crate) struct SealTask {
    pub(super) home: Home,
    pub(super) offsets: Range<u64>,
    pub(super) keys: Arc<ActiveKeys>,
}

impl SealTask {
    /// Writes the file. Blocking. To be called only once every offset that was sealed is durable, or the file
    /// could outlive its records. After a failure it can be run again; until then the keys stay in memory.
    pub(crate) fn run(&self) -> Result<SealedFile, KeyIndexError> {
        write_keys(&self.home, &self.offsets, &self.keys)
    }
}

fn write_keys(home: &Home, offsets: &Range<u64>, keys: &ActiveKeys) -> Result<SealedFile, KeyIndexError> {
    let file = writer::write(home, offsets, keys.len() as u64, |writer| {
        keys.sorted().try_for_each(|entry| writer.push(entry))
    })?;
    Ok(SealedFile(Arc::new(file)))
}

/// Rebuilds the key files of a range of offsets from the log's records, a file for every half million keys.
/// Give the result to [`KeyIndex::finish_rebuild`].
pub(crate) struct Rebuild {
    home: Home,
    offsets: Range<u64>,
    /// Offsets before it are in a file.
    start: u64,
    keys: ActiveKeys,
    keys_per_file: usize,
    files: Vec<SealedFile>,
}

/// The files that replace whatever covered `offsets`.
#[must_use = "the index has to take them over"]
pub(crate) struct Rebuilt {
    pub(super) offsets: Range<u64>,
    pub(super) files: Vec<SealedFile>,
}

impl Rebuild {
    /// Of all records in `offsets` the caller adds those that have a key, in the order of the log.
    pub(crate) fn new(index: &KeyIndex, offsets: Range<u64>) -> Self {
        assert!(!offsets.is_empty(), "there is something to rebuild");
        let start = offsets.start;
        let keys = ActiveKeys::new();
        Self { home: index.home.clone(), offsets, start, keys, keys_per_file: ACTIVE_KEYS, files: Vec::new() }
    }

    /// What is to be rebuilt.
    pub(crate) fn offsets(&self) -> Range<u64> {
        self.offsets.clone()
    }

    /// Adds a record. Blocking, for it writes a file when enough have come.
    pub(crate) fn add(&mut self, entry: Entry) -> Result<(), KeyIndexError> {
        assert!(entry.offset >= self.start && entry.offset < self.offsets.end, "records come in order");
        if self.keys.len() >= self.keys_per_file && entry.offset > self.start {
            self.write_until(entry.offset)?;
        }
        self.keys.insert(entry);
        Ok(())
    }

    /// Writes the last file. Blocking.
    pub(crate) fn finish(mut self) -> Result<Rebuilt, KeyIndexError> {
        self.write_until(self.offsets.end)?;
        Ok(Rebuilt { offsets: self.offsets, files: self.files })
    }

    fn write_until(&mut self, end: u64) -> Result<(), KeyIndexError> {
        let keys = std::mem::replace(&mut self.keys, ActiveKeys::new());
        self.files.push(write_keys(&self.home, &(self.start..end), &keys)?);
        self.start = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::disk::simulated::SimulatedDisk;

    #[test]
    fn a_rebuilt_range_becomes_as_many_files_as_its_keys_need() {
        let disk = Arc::new(SimulatedDisk::new(1));
        let (mut index, _) = KeyIndex::open(disk, PathBuf::from("/keys"), [7; 16], 1_000, 100).unwrap();
        let mut rebuild = Rebuild { keys_per_file: 10, ..Rebuild::new(&index, 5..100) };
        // Every third record has a key.
        let entry = |offset: u64| Entry {
            key_hash: u128::from(offset) << 119,
            fingerprint: !offset,
            offset,
            append_time_micros: offset,
        };
        for offset in (5..100).step_by(3) {
            rebuild.add(entry(offset)).unwrap();
        }
        let rebuilt = rebuild.finish().unwrap();
        let covered: Vec<_> = rebuilt.files.iter().map(|file| file.0.offsets()).collect();
        assert_eq!(covered, vec![5..35, 35..65, 65..95, 95..100]);
        index.finish_rebuild(rebuilt).remove().unwrap();
        for offset in 0..100 {
            let expected = (offset >= 5 && offset % 3 == 2).then(|| entry(offset));
            assert_eq!(index.get(u128::from(offset) << 119, 0).unwrap(), expected);
        }
    }
}
