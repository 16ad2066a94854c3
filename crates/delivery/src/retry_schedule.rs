//! The deliveries that wait for another try. Only their offsets and counts are kept; the events stay in the log.

use std::collections::{BTreeMap, BTreeSet};

use eventrelay_event::Purpose;
use tokio::time::Instant;

/// A delivery that failed and is to be tried again.
#[derive(Debug, Clone)]
pub(crate) struct RetryEntry {
    /// Attempts made so far.
    pub(crate) attempts: u32,
    /// How many of them ended in a panic of the sink.
    pub(crate) panics: u32,
    pub(crate) first_failed_at_micros: u64,
    /// The stored event's size, to fill batches by; unknown after a restart.
    pub(crate) bytes: Option<usize>,
    /// Why it is on its way.
    pub(crate) purpose: Purpose,
    /// When it is due; none while it is on its way or waits for its key.
    pub(crate) due: Option<Instant>,
}

#[derive(Debug, Default)]
pub(crate) struct RetrySchedule {
    entries: BTreeMap<u64, RetryEntry>,
    due: BTreeSet<(Instant, u64)>,
}

impl RetrySchedule {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn offsets(&self) -> impl Iterator<Item = u64> {
        self.entries.keys().copied()
    }

    pub(crate) fn get(&self, offset: u64) -> Option<&RetryEntry> {
        self.entries.get(&offset)
    }

    /// Adds or replaces an entry.
    pub(crate) fn insert(&mut self, offset: u64, entry: RetryEntry) {
        self.remove(offset);
        if let Some(due) = entry.due {
            self.due.insert((due, offset));
        }
        self.entries.insert(offset, entry);
    }

    /// The entry is over.
    pub(crate) fn remove(&mut self, offset: u64) -> Option<RetryEntry> {
        let entry = self.entries.remove(&offset)?;
        if let Some(due) = entry.due {
            self.due.remove(&(due, offset));
        }
        Some(entry)
    }

    /// The entry that has been due the longest.
    pub(crate) fn due(&self, now: Instant) -> Option<u64> {
        self.due.first().filter(|(due, _)| *due <= now).map(|&(_, offset)| offset)
    }

    /// The entry with the lowest offset, if it is due: the one that `strict` order waits for.
    pub(crate) fn first_if_due(&self, now: Instant) -> Option<u64> {
        let (&offset, entry) = self.entries.first_key_value()?;
        entry.due.is_some_and(|due| due <= now).then_some(offset)
    }

    /// Marks an entry as on its way; it stays known.
    pub(crate) fn take(&mut self, offset: u64) {
        if let Some(entry) = self.entries.get_mut(&offset)
            && let Some(due) = entry.due.take()
        {
            self.due.remove(&(due, offset));
        }
    }

    /// An entry that was on its way is to be tried at `due`, for its attempt was not made.
    pub(crate) fn put_back(&mut self, offset: u64, due: Instant) {
        self.take(offset);
        if let Some(entry) = self.entries.get_mut(&offset) {
            entry.due = Some(due);
            self.due.insert((due, offset));
        }
    }

    /// When the next entry is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|&(due, _)| due)
    }

    /// When the entry with the lowest offset is due.
    pub(crate) fn first_due(&self) -> Option<Instant> {
        self.entries.first_key_value().and_then(|(_, entry)| entry.due)
    }

    /// The lowest offset that the log must keep.
    pub(crate) fn lowest_offset(&self) -> Option<u64> {
        self.entries.first_key_value().map(|(&offset, _)| offset)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn entry(due: Instant) -> RetryEntry {
        RetryEntry {
            attempts: 1,
            panics: 0,
            first_failed_at_micros: 0,
            bytes: None,
            purpose: Purpose::Live,
            due: Some(due),
        }
    }

    #[test]
    fn entries_come_when_they_are_due_and_once() {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        let mut schedule = RetrySchedule::default();
        schedule.insert(5, entry(now + second * 2));
        schedule.insert(9, entry(now + second));
        assert_eq!((schedule.due(now), schedule.next_due()), (None, Some(now + second)));
        let later = now + second * 3;
        for offset in [9, 5] {
            assert_eq!(schedule.due(later), Some(offset));
            schedule.take(offset);
        }
        assert_eq!(
            (schedule.due(later), schedule.next_due(), schedule.len()),
            (None, None, 2),
            "still known"
        );
        schedule.insert(9, entry(now + second * 4));
        schedule.put_back(5, now + second * 5);
        assert_eq!(schedule.next_due(), Some(now + second * 4));
        schedule.remove(9);
        assert_eq!((schedule.len(), schedule.next_due()), (1, Some(now + second * 5)));
        assert_eq!(schedule.lowest_offset(), Some(5));
    }

    #[test]
    fn the_lowest_comes_only_when_it_is_due_itself() {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        let mut schedule = RetrySchedule::default();
        schedule.insert(5, entry(now + second * 2));
        schedule.insert(9, entry(now));
        assert_eq!(
            (schedule.first_if_due(now + second), schedule.first_due()),
            (None, Some(now + second * 2))
        );
        assert_eq!(schedule.first_if_due(now + second * 2), Some(5));
        schedule.take(5);
        assert_eq!(schedule.first_if_due(now + second * 9), None, "it is on its way");
    }
}
