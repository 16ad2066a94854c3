//! The names of key files: `<base offset, 20 digits>-<end offset, 20 digits>.keys`, and what they become.

use std::ops::Range;

const COMPLETE: &str = "keys";
/// Being written. Worth nothing after a restart.
const TEMPORARY: &str = "keys.tmp";
/// Set aside for a person to look at; the key index never reads it again.
const DAMAGED: &str = "keys.damaged";

/// What a file in the key directory is, by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Complete(Range<u64>),
    Temporary,
    /// Set aside, or not ours.
    Other,
}

pub(super) fn complete(offsets: &Range<u64>) -> String {
    name(offsets, COMPLETE)
}

pub(super) fn temporary(offsets: &Range<u64>) -> String {
    name(offsets, TEMPORARY)
}

pub(super) fn damaged(offsets: &Range<u64>) -> String {
    name(offsets, DAMAGED)
}

pub(super) fn kind(name: &str) -> Kind {
    let Some((stem, extension)) = name.split_once('.') else {
        return Kind::Other;
    };
    match (parse_offsets(stem), extension) {
        (Some(offsets), COMPLETE) => Kind::Complete(offsets),
        (Some(_), TEMPORARY) => Kind::Temporary,
        _ => Kind::Other,
    }
}

fn name(offsets: &Range<u64>, extension: &str) -> String {
    format!("{:020}-{:020}.{extension}", offsets.start, offsets.end)
}

fn parse_offsets(stem: &str) -> Option<Range<u64>> {
    let (start, end) = stem.split_once('-')?;
    let offsets = parse_offset(start)?..parse_offset(end)?;
    (!offsets.is_empty()).then_some(offsets)
}

fn parse_offset(digits: &str) -> Option<u64> {
    // `parse` alone would take a sign.
    let plain = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        let offsets = 7..u64::MAX;
        assert_eq!(complete(&offsets), "00000000000000000007-18446744073709551615.keys");
        assert_eq!(kind(&complete(&offsets)), Kind::Complete(offsets.clone()));
        assert_eq!(kind(&temporary(&offsets)), Kind::Temporary);
        assert_eq!(kind(&damaged(&offsets)), Kind::Other);
    }

    #[test]
    fn other_names_are_left_alone() {
        for name in [
            "",
            "notes.txt",
            "7-9.keys",
            "+0000000000000000007-00000000000000000009.keys",
            "00000000000000000009-00000000000000000009.keys",
            "00000000000000000007-99999999999999999999.keys",
            "00000000000000000007-00000000000000000009.keys.bak",
        ] {
            assert_eq!(kind(name), Kind::Other, "{name}");
        }
    }
}
