//! Where a payload begins and ends in what was received, for both kinds of listener.
//!
//! ```text
//! frames   ┌──────────────────┬─────────┐      lines   ┌──────┬─────────────┐
//!          │ length, u32 LE   │ payload │              │ line │ line feed   │
//!          └──────────────────┴─────────┘              └──────┴─────────────┘
//! ```
//!
//! A frame's length counts the payload alone. A line may end with CR LF; one of nothing but white space is no payload.
//!
//! Both are read by [`Framing::next`] from a buffer that may end anywhere: how the bytes were split on their way changes
//! nothing but when a payload is found.

use std::ops::Range;

/// Bytes of a frame's length.
const LENGTH_BYTES: usize = 4;

/// How payloads are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// A length before each.
    Frames,
    /// A line feed behind each.
    Lines,
}

/// What stands at the beginning of a buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Next {
    /// A payload, and where the next one begins.
    Payload {
        /// Where the payload is.
        range: Range<usize>,
        /// Where it ends with all that belongs to it.
        end: usize,
    },
    /// An empty line: nothing, up to here.
    Blank {
        /// Where it ends.
        end: usize,
    },
    /// The beginning of a payload, or nothing.
    Partial {
        /// The room that is worth having for it: what a frame says that it has, and twice what there is of a line.
        room_bytes: usize,
    },
    /// A payload over the limit. What follows cannot be told apart any more.
    TooLarge,
}

impl Framing {
    /// Finds the payload that begins at `at`. `searched` bytes of it are known to hold no line feed.
    pub(crate) fn next(self, bytes: &[u8], at: usize, searched: usize, max_bytes: usize) -> Next {
        let rest = &bytes[at..];
        match self {
            Self::Frames => next_frame(rest, at, max_bytes),
            Self::Lines => next_line(rest, at, searched, max_bytes),
        }
    }

    /// Its name in metrics.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Frames => "frames",
            Self::Lines => "lines",
        }
    }
}

fn next_frame(rest: &[u8], at: usize, max_bytes: usize) -> Next {
    let Some((length, rest)) = rest.split_first_chunk::<LENGTH_BYTES>() else {
        return Next::Partial { room_bytes: LENGTH_BYTES };
    };
    // On a 32-bit machine a length that does not fit is over any limit.
    let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
    if length > max_bytes {
        return Next::TooLarge;
    }
    if rest.len() < length {
        return Next::Partial { room_bytes: LENGTH_BYTES + length };
    }
    let start = at + LENGTH_BYTES;
    Next::Payload { range: start..start + length, end: start + length }
}

fn next_line(rest: &[u8], at: usize, searched: usize, max_bytes: usize) -> Next {
    let Some(length) = memchr::memchr(b'\n', &rest[searched..]).map(|found| searched + found) else {
        return if rest.len() > max_bytes {
            Next::TooLarge
        } else {
            Next::Partial { room_bytes: (2 * rest.len()).clamp(1, max_bytes + 1) }
        };
    };
    let end = at + length + 1;
    if length > max_bytes {
        Next::TooLarge
    } else if rest[..length].trim_ascii().is_empty() {
        Next::Blank { end }
    } else {
        Next::Payload { range: at..at + length, end }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAX_BYTES: usize = 40;

    /// Feeds the pieces one after another, as a connection would, and gives the payloads that are found.
    fn payloads(framing: Framing, pieces: &[&[u8]]) -> (Vec<Vec<u8>>, Option<Next>) {
        let (mut buffer, mut at, mut searched) = (Vec::new(), 0, 0);
        let (mut found, mut last) = (Vec::new(), None);
        for piece in pieces {
            buffer.extend_from_slice(piece);
            loop {
                match framing.next(&buffer, at, searched, MAX_BYTES) {
                    Next::Payload { range, end } => {
                        found.push(buffer[range].to_vec());
                        (at, searched) = (end, 0);
                    }
                    Next::Blank { end } => (at, searched) = (end, 0),
                    partial @ Next::Partial { .. } => {
                        searched = buffer.len() - at;
                        last = Some(partial);
                        break;
                    }
                    Next::TooLarge => return (found, Some(Next::TooLarge)),
                }
            }
        }
        (found, last)
    }

    fn frames(payloads: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for payload in payloads {
            bytes.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
            bytes.extend_from_slice(payload);
        }
        bytes
    }

    /// Cuts the bytes at these places.
    fn split<'a>(bytes: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        places.extend([0, bytes.len()]);
        places.sort_unstable();
        places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
    }

    proptest! {
        #[test]
        fn frames_are_found_however_they_were_split(
            sent in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..=MAX_BYTES), 0..8),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let bytes = frames(&sent);
            let (found, last) = payloads(Framing::Frames, &split(&bytes, &cuts));
            prop_assert_eq!(found, sent);
            prop_assert_eq!(last, Some(Next::Partial { room_bytes: LENGTH_BYTES }));
        }

        #[test]
        fn lines_are_found_however_they_were_split(
            sent in prop::collection::vec("[a-z{} ]{0,38}\r?", 0..8),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let bytes: Vec<u8> = sent.iter().flat_map(|line| [line.as_bytes(), b"\n"].concat()).collect();
            let (found, _) = payloads(Framing::Lines, &split(&bytes, &cuts));
            let expected: Vec<Vec<u8>> = sent
                .iter()
                .filter(|line| !line.trim().is_empty())
                .map(|line| line.as_bytes().to_vec())
                .collect();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn any_bytes_whatever_are_read_alike_however_they_were_split(
            bytes in prop::collection::vec(prop_oneof![Just(0u8), Just(1), Just(b'\n'), any::<u8>()], 0..200),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            for framing in [Framing::Frames, Framing::Lines] {
                let whole = payloads(framing, &[&bytes]);
                let in_pieces = payloads(framing, &split(&bytes, &cuts));
                prop_assert_eq!(&whole, &in_pieces);
                // No more room is asked for than a payload may have.
                if let Some(Next::Partial { room_bytes }) = whole.1 {
                    prop_assert!(room_bytes <= LENGTH_BYTES + MAX_BYTES);
                }
            }
        }
    }

    #[test]
    fn a_frame_over_the_limit_is_seen_by_its_length_alone() {
        let length = |length: u32| length.to_le_bytes().to_vec();
        let most = u32::try_from(MAX_BYTES).unwrap();
        assert_eq!(Framing::Frames.next(&length(u32::MAX), 0, 0, MAX_BYTES), Next::TooLarge);
        assert_eq!(Framing::Frames.next(&length(most + 1), 0, 0, MAX_BYTES), Next::TooLarge);
        assert_eq!(
            Framing::Frames.next(&length(most), 0, 0, MAX_BYTES),
            Next::Partial { room_bytes: LENGTH_BYTES + MAX_BYTES }
        );
        assert_eq!(Framing::Frames.next(&length(0), 0, 0, MAX_BYTES), Next::Payload { range: 4..4, end: 4 });
    }

    #[test]
    fn a_line_over_the_limit_is_seen_before_its_end() {
        let line = [b'x'; MAX_BYTES + 1];
        assert_eq!(Framing::Lines.next(&line, 0, 0, MAX_BYTES), Next::TooLarge);
        let partial = Next::Partial { room_bytes: MAX_BYTES + 1 };
        assert_eq!(Framing::Lines.next(&line[1..], 0, 0, MAX_BYTES), partial);
        let ended = [&line[..], b"\n"].concat();
        assert_eq!(Framing::Lines.next(&ended, 0, 0, MAX_BYTES), Next::TooLarge);
        assert!(matches!(Framing::Lines.next(&ended, 1, 0, MAX_BYTES), Next::Payload { .. }));
    }
}
