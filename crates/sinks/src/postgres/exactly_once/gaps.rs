//! Offsets that the cursor passes without a row, as PostgreSQL's `int8multirange`: `{[3,5),[7,8)}`.

use std::fmt;
use std::ops::Range;

/// Ranges of offsets, in their order, none empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ranges(Vec<Range<u64>>);

impl Ranges {
    /// What of `whole` is not among `taken`, which are in their order.
    pub(super) fn gaps(whole: Range<u64>, taken: impl Iterator<Item = u64>) -> Self {
        let mut ranges = Vec::new();
        let mut start = whole.start;
        for offset in taken {
            if start < offset {
                ranges.push(start..offset);
            }
            start = offset + 1;
        }
        if start < whole.end {
            ranges.push(start..whole.end);
        }
        Self(ranges)
    }

    /// These offsets, which are in their order.
    pub(super) fn of(offsets: impl Iterator<Item = u64>) -> Self {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for offset in offsets {
            match ranges.last_mut() {
                Some(last) if last.end == offset => last.end += 1,
                _ => ranges.push(offset..offset + 1),
            }
        }
        Self(ranges)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn first(&self) -> Option<u64> {
        self.0.first().map(|range| range.start)
    }
}

impl fmt::Display for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (index, range) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "," };
            write!(f, "{separator}[{},{})", range.start, range.end)?;
        }
        f.write_str("}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_what_lies_between() {
        for (whole, taken, expected) in [
            (0..3, &[0, 1, 2][..], "{}"),
            (0..3, &[], "{[0,3)}"),
            (5..12, &[6, 8, 9], "{[5,6),[7,8),[10,12)}"),
            (5..7, &[6], "{[5,6)}"),
        ] {
            assert_eq!(Ranges::gaps(whole, taken.iter().copied()).to_string(), expected);
        }
    }

    #[test]
    fn neighbours_are_one_range() {
        let ranges = Ranges::of([1, 2, 4, 7, 8].into_iter());
        assert_eq!(
            (ranges.to_string().as_str(), ranges.len(), ranges.first()),
            ("{[1,3),[4,5),[7,9)}", 3, Some(1))
        );
        assert_eq!(Ranges::default().to_string(), "{}");
    }
}
