//! What is known of the ends of folders: for each that was written to of late, which events its last object holds.

use std::collections::HashMap;
use std::sync::Arc;

/// So many offsets are remembered, of all folders together: 2 MiB.
const MAX_OFFSETS: usize = 256 * 1024;
const MAX_FOLDERS: usize = 4096;

/// The events of an object; of none, where there is no object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tail {
    /// In order.
    offsets: Arc<[u64]>,
    /// What the object is named after; none without an object.
    first: Option<u64>,
}

impl Tail {
    /// Of an object that was written: it is named after its first event.
    pub(super) fn written(offsets: Arc<[u64]>) -> Self {
        Self { first: offsets.first().copied(), offsets }
    }

    /// Of an object that is named after `first` and was read.
    pub(super) fn read(first: u64, offsets: Vec<u64>) -> Self {
        Self { offsets: offsets.into(), first: Some(first) }
    }

    pub(super) fn contains(&self, offset: u64) -> bool {
        self.offsets.binary_search(&offset).is_ok()
    }

    /// The end of the object's range, that is included; none without an object.
    pub(super) fn end(&self) -> Option<u64> {
        // An object without events has its name for its range.
        self.offsets.last().copied().max(self.first)
    }

    /// Whether what is at `offset` is in the object or behind it.
    pub(super) fn is_before(&self, offset: u64) -> bool {
        self.first.is_none_or(|first| first <= offset)
    }
}

/// The tails of folders, the ones used last.
#[derive(Debug, Default)]
pub(super) struct Tails {
    known: HashMap<String, Known>,
    offsets: usize,
    /// Counts the uses.
    clock: u64,
}

#[derive(Debug)]
struct Known {
    tail: Tail,
    used: u64,
}

impl Tails {
    /// What is known of a folder; it is forgotten, until it is put back.
    pub(super) fn take(&mut self, folder: &str) -> Option<Tail> {
        let known = self.known.remove(folder)?;
        self.offsets -= known.tail.offsets.len();
        Some(known.tail)
    }

    pub(super) fn put(&mut self, folder: String, tail: Tail) {
        self.clock += 1;
        self.offsets += tail.offsets.len();
        let known = Known { tail, used: self.clock };
        if let Some(replaced) = self.known.insert(folder, known) {
            self.offsets -= replaced.tail.offsets.len();
        }
        while self.known.len() > 1 && (self.offsets > MAX_OFFSETS || self.known.len() > MAX_FOLDERS) {
            let oldest = self.known.iter().min_by_key(|(_, known)| known.used);
            let Some(oldest) = oldest.map(|(folder, _)| folder.clone()) else { return };
            self.take(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(first: u64, count: u64) -> Tail {
        Tail::written((first..first + count).collect())
    }

    #[test]
    fn a_tail_knows_its_events_and_its_range() {
        let tail = Tail::read(4, vec![4, 5, 9]);
        assert!(tail.contains(5) && !tail.contains(6) && !tail.contains(10));
        assert_eq!(tail.end(), Some(9));
        assert!(tail.is_before(4) && !tail.is_before(3));
        let empty = Tail::read(4, Vec::new());
        assert!(!empty.contains(4) && empty.end() == Some(4));
        let none = Tail::default();
        assert!(!none.contains(0) && none.end().is_none() && none.is_before(0));
    }

    #[test]
    fn the_least_recently_used_is_forgotten_when_there_are_too_many_offsets() {
        let mut tails = Tails::default();
        let half = MAX_OFFSETS as u64 / 2;
        tails.put("a".to_owned(), tail(0, half));
        tails.put("b".to_owned(), tail(0, half));
        let again = tails.take("a").unwrap();
        tails.put("a".to_owned(), again);
        tails.put("c".to_owned(), tail(0, 1));
        assert!(tails.take("b").is_none());
        assert!(tails.take("a").is_some() && tails.take("c").is_some());
        assert_eq!(tails.offsets, 0);
    }

    #[test]
    fn no_more_folders_are_known_than_allowed() {
        let mut tails = Tails::default();
        for folder in 0..MAX_FOLDERS + 10 {
            tails.put(folder.to_string(), tail(0, 1));
        }
        assert_eq!(tails.known.len(), MAX_FOLDERS);
        assert!(tails.take("9").is_none() && tails.take("10").is_some());
    }
}
