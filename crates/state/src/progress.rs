//! How far a subscription has come: a cursor, and what is settled beyond it.
//!
//! Invariants: ranges beyond the cursor are not empty, do not touch each other and do not touch the cursor. So their
//! number is at most the number of offsets that are still open, which the dispatcher bounds.
//!
//! Encoding of the ranges: one version byte (1), then for each range in order two LEB128 numbers: the gap since the
//! end of the range before it (since the cursor, for the first) and the range's length. Both are at least 1.

use std::collections::BTreeMap;
use std::ops::Range;

const ENCODING_VERSION: u8 = 1;

/// Which offsets of the log a subscription has settled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    cursor: u64,
    /// Start → end (exclusive) of each settled range beyond the cursor.
    beyond: BTreeMap<u64, u64>,
}

/// Bytes that are not encoded ranges.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("settled ranges cannot be decoded: {0}")]
pub struct ProgressError(&'static str);

impl Progress {
    /// Nothing is settled from `cursor` on, and everything before it is.
    #[must_use]
    pub fn new(cursor: u64) -> Self {
        Self { cursor, beyond: BTreeMap::new() }
    }

    /// Every offset below it is settled.
    #[must_use]
    pub fn cursor(&self) -> u64 {
        self.cursor
    }

    /// The offset after the last settled one.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.beyond.last_key_value().map_or(self.cursor, |(_, &end)| end)
    }

    /// How many ranges are settled beyond the cursor.
    #[must_use]
    pub fn ranges_beyond(&self) -> usize {
        self.beyond.len()
    }

    /// The first offset at or after `offset` that is not settled.
    #[must_use]
    pub fn next_unsettled(&self, offset: u64) -> u64 {
        let offset = offset.max(self.cursor);
        match self.beyond.range(..=offset).next_back() {
            Some((_, &end)) if end > offset => end,
            _ => offset,
        }
    }

    /// The first offset at or after `offset` that is settled.
    #[must_use]
    pub fn next_settled(&self, offset: u64) -> Option<u64> {
        if self.is_settled(offset) {
            return Some(offset);
        }
        self.beyond.range(offset..).next().map(|(&start, _)| start)
    }

    /// Whether this offset is settled.
    #[must_use]
    pub fn is_settled(&self, offset: u64) -> bool {
        self.next_unsettled(offset) != offset
    }

    /// How many offsets of a range are not settled.
    #[must_use]
    pub fn unsettled_in(&self, range: Range<u64>) -> u64 {
        let start = range.start.max(self.cursor);
        let settled = self
            .beyond
            .range(..range.end)
            .map(|(&from, &to)| to.min(range.end).saturating_sub(from.max(start)));
        range.end.saturating_sub(start) - settled.sum::<u64>()
    }

    /// Settles one offset.
    pub fn settle(&mut self, offset: u64) {
        self.settle_range(offset..offset + 1);
    }

    /// Settles a range of offsets, which may overlap what is settled already.
    pub fn settle_range(&mut self, range: Range<u64>) {
        let (mut start, mut end) = (range.start.max(self.cursor), range.end);
        if start >= end {
            return;
        }
        if start == self.cursor {
            self.advance(end);
            return;
        }
        if let Some((&before, &before_end)) = self.beyond.range(..=start).next_back()
            && before_end >= start
        {
            start = before;
            end = end.max(before_end);
        }
        while let Some((&after, &after_end)) = self.beyond.range(start..=end).next() {
            self.beyond.remove(&after);
            end = end.max(after_end);
        }
        self.beyond.insert(start, end);
    }

    /// Takes back that an offset beyond the cursor is settled. What is below the cursor stays so.
    pub fn reopen(&mut self, offset: u64) {
        let Some((&start, &end)) = self.beyond.range(..=offset).next_back() else { return };
        if end <= offset {
            return;
        }
        self.beyond.remove(&start);
        for range in [start..offset, offset + 1..end] {
            if !range.is_empty() {
                self.beyond.insert(range.start, range.end);
            }
        }
    }

    /// Moves the cursor to `end`, and on over the ranges that it then reaches.
    fn advance(&mut self, end: u64) {
        self.cursor = end;
        while let Some(first) = self.beyond.first_entry()
            && *first.key() <= self.cursor
        {
            self.cursor = self.cursor.max(first.remove());
        }
    }

    /// The ranges beyond the cursor, encoded.
    #[must_use]
    pub fn encode_beyond(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(1 + self.beyond.len() * 4);
        bytes.push(ENCODING_VERSION);
        let mut position = self.cursor;
        for (&start, &end) in &self.beyond {
            write_number(start - position, &mut bytes);
            write_number(end - start, &mut bytes);
            position = end;
        }
        bytes
    }

    /// The reverse of [`Self::encode_beyond`].
    ///
    /// # Errors
    /// When the bytes are not what `encode_beyond` writes.
    pub fn decode(cursor: u64, beyond: &[u8]) -> Result<Self, ProgressError> {
        let Some((&ENCODING_VERSION, mut rest)) = beyond.split_first() else {
            return Err(ProgressError("unknown version"));
        };
        let mut progress = Self::new(cursor);
        let mut position = cursor;
        while !rest.is_empty() {
            let gap = read_number(&mut rest)?;
            let length = read_number(&mut rest)?;
            if gap == 0 || length == 0 {
                return Err(ProgressError("an empty gap or range"));
            }
            let start = position.checked_add(gap).ok_or(ProgressError("an offset overflows"))?;
            position = start.checked_add(length).ok_or(ProgressError("an offset overflows"))?;
            progress.beyond.insert(start, position);
        }
        Ok(progress)
    }
}

fn write_number(mut number: u64, bytes: &mut Vec<u8>) {
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
}

fn read_number(bytes: &mut &[u8]) -> Result<u64, ProgressError> {
    let mut number = 0u64;
    for shift in (0..u64::BITS).step_by(7) {
        let Some((&byte, rest)) = bytes.split_first() else {
            return Err(ProgressError("cut short"));
        };
        *bytes = rest;
        let part = u64::from(byte & 0x7f);
        if shift == 63 && part > 1 {
            break;
        }
        number |= part << shift;
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err(ProgressError("a number is longer than 64 bits"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_cursor_waits_for_the_first_open_offset() {
        let mut progress = Progress::new(10);
        progress.settle(12);
        progress.settle(11);
        assert_eq!((progress.cursor(), progress.end(), progress.ranges_beyond()), (10, 13, 1));
        assert_eq!(progress.next_unsettled(11), 13);
        progress.settle(10);
        assert_eq!((progress.cursor(), progress.ranges_beyond()), (13, 0));
    }

    #[test]
    fn what_is_beyond_the_cursor_can_be_opened_again() {
        let mut progress = Progress::new(10);
        progress.settle_range(12..16);
        for (opened, ranges) in [(9, 1), (11, 1), (16, 1), (13, 2), (12, 1), (15, 1), (14, 0)] {
            progress.reopen(opened);
            assert_eq!(progress.ranges_beyond(), ranges, "after {opened}");
            assert!(opened < 10 || !progress.is_settled(opened));
        }
        assert_eq!(progress, Progress::new(10));
    }

    #[test]
    fn damaged_encodings_are_refused() {
        for bytes in [&[][..], &[2], &[1, 5], &[1, 0, 1], &[1, 1, 0], &[1, 0x80]] {
            assert!(Progress::decode(0, bytes).is_err(), "{bytes:?}");
        }
        let overflowing = [&[1][..], &[0xff; 9], &[1, 1]].concat();
        assert!(Progress::decode(5, &overflowing).is_err());
        let too_long = [&[1][..], &[0xff; 10], &[1, 1]].concat();
        assert!(Progress::decode(0, &too_long).is_err());
    }

    proptest! {
        /// Against a plain set: the same offsets are settled, in the fewest ranges, and encoding loses nothing.
        #[test]
        fn behaves_as_a_set(start in 0u64..5, ranges in prop::collection::vec((0u64..60, 0u64..6), 0..40)) {
            let mut progress = Progress::new(start);
            let mut model: BTreeSet<u64> = (0..start).collect();
            for (from, length) in ranges {
                progress.settle_range(from..from + length);
                model.extend(from..from + length);
                let open: Vec<u64> = (0..80).filter(|offset| !model.contains(offset)).collect();
                prop_assert_eq!(progress.cursor(), open[0]);
                for offset in 0..80 {
                    prop_assert_eq!(progress.is_settled(offset), model.contains(&offset), "offset {}", offset);
                    prop_assert_eq!(progress.next_settled(offset), model.range(offset..).next().copied());
                }
                let unsettled = (7..70).filter(|offset| !model.contains(offset)).count() as u64;
                prop_assert_eq!(progress.unsettled_in(7..70), unsettled);
                let starts = (progress.cursor()..80).filter(|o| model.contains(o) && !model.contains(&(o - 1))).count();
                prop_assert_eq!(progress.ranges_beyond(), starts);
                let decoded = Progress::decode(progress.cursor(), &progress.encode_beyond());
                prop_assert_eq!(decoded.as_ref(), Ok(&progress));
            }
        }
    }
}
