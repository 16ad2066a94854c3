//! Cuts what was received into batches: the payloads that are published together.

use std::ops::Range;

use super::framing::{Framing, Next};
use super::refusal::Refusal;

/// The most that is published together: enough that a commit costs little for each, and little enough that the first of
/// them does not wait for the last.
pub(crate) const BATCH_COST_BYTES: usize = 256 << 10;
/// What the log adds to an event at most: a record's header with its key.
pub(crate) const RECORD_BYTES: usize = 32;
/// What an event in JSON may take in the log beyond its JSON: the lengths of its fields, and the tenant's name.
pub(crate) const JSON_OVERHEAD_BYTES: usize = 128;

/// What a batch may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cutter {
    pub(crate) framing: Framing,
    /// The most bytes of a payload.
    pub(crate) max_payload_bytes: usize,
    /// The most payloads of a batch.
    pub(crate) max_payloads: usize,
    /// The most that the payloads of a batch may cost together, unless it has but one.
    pub(crate) max_cost: usize,
    /// What a payload costs beyond its bytes.
    pub(crate) payload_overhead_bytes: usize,
}

/// What was cut, beside the payloads.
pub(crate) struct Cut {
    /// The bytes of the payloads, with all that belongs to them.
    pub(crate) bytes: usize,
    pub(crate) cost: usize,
    /// Empty lines before the first payload; there are none between payloads of one batch.
    pub(crate) blank_lines: u64,
    pub(crate) then: Then,
}

/// What comes after what was cut.
pub(crate) enum Then {
    /// More payloads.
    More,
    /// A part of one, or nothing. So much room is worth having for it.
    Partial(usize),
    /// What cannot be taken, and nothing behind it.
    Refused(Refusal),
}

impl Cutter {
    /// Finds the payloads of the next batch, and sets their `places`. `searched` bytes of the first one are known to hold
    /// no line feed; it is kept for the next call.
    pub(crate) fn cut(self, received: &[u8], searched: &mut usize, places: &mut Vec<Range<usize>>) -> Cut {
        places.clear();
        let mut cut = Cut { bytes: 0, cost: 0, blank_lines: 0, then: Then::More };
        loop {
            match self.framing.next(received, cut.bytes, *searched, self.max_payload_bytes) {
                Next::Payload { range, end } => {
                    if self.framing == Framing::Lines && !is_object(&received[range.clone()]) {
                        cut.then = Then::Refused(not_an_object());
                        return cut;
                    }
                    let cost = range.len() + self.payload_overhead_bytes;
                    let is_full = cut.cost + cost > self.max_cost || places.len() == self.max_payloads;
                    if is_full && !places.is_empty() {
                        return cut;
                    }
                    places.push(range);
                    (cut.bytes, cut.cost, *searched) = (end, cut.cost + cost, 0);
                }
                // A batch's lines follow on each other, so that their numbers do.
                Next::Blank { .. } if !places.is_empty() => return cut,
                Next::Blank { end } => {
                    (cut.bytes, cut.blank_lines, *searched) = (end, cut.blank_lines + 1, 0);
                }
                Next::Partial { room_bytes } => {
                    let is_new = *searched == 0;
                    if self.framing == Framing::Lines && is_new && begins_otherwise(&received[cut.bytes..]) {
                        cut.then = Then::Refused(not_an_object());
                        return cut;
                    }
                    *searched = received.len() - cut.bytes;
                    cut.then = Then::Partial(room_bytes);
                    return cut;
                }
                Next::TooLarge => {
                    cut.then = Then::Refused(too_large(self.framing, self.max_payload_bytes));
                    return cut;
                }
            }
        }
    }
}

/// Whether a line can be an event. What comes from a web page begins with an HTTP method, and ends here.
fn is_object(line: &[u8]) -> bool {
    line.trim_ascii_start().first() == Some(&b'{')
}

/// Whether no more bytes can make an object of a line's beginning. So a client of another protocol, which may never send a line
/// feed, hears at once.
fn begins_otherwise(partial: &[u8]) -> bool {
    let begun = partial.trim_ascii_start();
    !begun.is_empty() && !is_object(begun)
}

fn not_an_object() -> Refusal {
    Refusal::new("not_an_object", "each line must be a JSON object; nothing behind it is taken")
}

fn too_large(framing: Framing, max_bytes: usize) -> Refusal {
    let code = match framing {
        Framing::Frames => "frame_too_large",
        Framing::Lines => "line_too_large",
    };
    Refusal::new(code, format!("at most {max_bytes} bytes are taken; nothing behind it is"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CUTTER: Cutter = Cutter {
        framing: Framing::Lines,
        max_payload_bytes: 100,
        max_payloads: 3,
        max_cost: 40,
        payload_overhead_bytes: 10,
    };

    /// The payloads of each batch with the blank lines before it, and the code of what ends it all.
    fn batches(received: &str) -> (Vec<(u64, Vec<&str>)>, Option<&'static str>) {
        let (mut at, mut searched, mut places, mut found) = (0, 0, Vec::new(), Vec::new());
        loop {
            let rest = &received[at..];
            let cut = CUTTER.cut(rest.as_bytes(), &mut searched, &mut places);
            if !places.is_empty() {
                found.push((cut.blank_lines, places.iter().map(|place| &rest[place.clone()]).collect()));
            }
            at += cut.bytes;
            match cut.then {
                Then::More => {}
                Then::Partial(_) => return (found, None),
                Then::Refused(refusal) => return (found, Some(refusal.code)),
            }
        }
    }

    #[test]
    fn a_batch_ends_where_it_is_full_and_at_an_empty_line() {
        let line = |count: usize| format!("{{{}", "x".repeat(count - 1));
        let (small, large) = (line(1), line(60));
        let sent = format!("{small}\n{small}\n{small}\n{small}\n\r\n\n{small}\n{large}\n{small}");
        let three = vec![small.as_str(); 3];
        assert_eq!(
            batches(&sent),
            (vec![(0, three), (0, vec![&small]), (2, vec![&small]), (0, vec![&large])], None)
        );
    }

    #[test]
    fn nothing_behind_what_cannot_be_told_apart_is_found() {
        assert_eq!(batches("{\n[\n{\n"), (vec![(0, vec!["{"])], Some("not_an_object")));
        let long = format!("{{\n{{{}", "x".repeat(100));
        assert_eq!(batches(&long), (vec![(0, vec!["{"])], Some("line_too_large")));
    }
}
