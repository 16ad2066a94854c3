//! Writing results to stdout. A reader that went away (`eventrelay tail | head`) is the end of the work, not a failure.

use std::borrow::Cow;
use std::io::{self, Write};

use crate::exit::Failure;

/// Whether anyone still reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Reader {
    Listening,
    Gone,
}

/// Writes bytes and a newline, and flushes, so that a follower sees each result when it comes.
pub(crate) fn line(text: &[u8]) -> Result<Reader, Failure> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text).and_then(|()| stdout.write_all(b"\n")).and_then(|()| stdout.flush());
    match written {
        Ok(()) => Ok(Reader::Listening),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(Failure::unexpected(format!("cannot write to stdout: {error}"))),
    }
}

/// JSON as it is, but with the control characters that JSON lets stand (U+007F to U+009F) as escapes, so that an event
/// cannot command the terminal it is shown on.
pub(crate) fn without_controls(json: &[u8]) -> Cow<'_, [u8]> {
    let is_control = |at: usize| match json[at] {
        0x7f => true,
        // Never within another character: UTF-8's later bytes are below 0xC0.
        0xc2 => json.get(at + 1).is_some_and(|next| (0x80..=0x9f).contains(next)),
        _ => false,
    };
    let Some(first) = (0..json.len()).find(|at| is_control(*at)) else { return Cow::Borrowed(json) };
    let mut escaped = json[..first].to_vec();
    let mut at = first;
    while at < json.len() {
        if !is_control(at) {
            escaped.push(json[at]);
            at += 1;
            continue;
        }
        let (character, bytes) = if json[at] == 0x7f { (0x7f, 1) } else { (json[at + 1], 2) };
        escaped.extend_from_slice(format!("\\u{character:04x}").as_bytes());
        at += bytes;
    }
    Cow::Owned(escaped)
}

/// Writes a whole answer, after which the command ends either way.
pub(crate) fn answer(text: &str) -> Result<(), Failure> {
    line(text.trim_end_matches('\n').as_bytes()).map(|_| ())
}

/// Writes a value as one line of JSON, after which the command ends either way.
pub(crate) fn json(value: &serde_json::Value) -> Result<(), Failure> {
    answer(&value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_command_a_terminal_is_escaped_and_means_the_same() {
        let hostile = "[\"\u{9b}31m \u{7f} \u{85}é\u{a0}☃\"]";
        let shown = without_controls(hostile.as_bytes());
        let text = std::str::from_utf8(&shown).unwrap();
        assert!(!text.chars().any(char::is_control), "{text:?}");
        let same: Vec<String> = serde_json::from_slice(&shown).unwrap();
        assert_eq!(same, serde_json::from_str::<Vec<String>>(hostile).unwrap());
        assert!(matches!(without_controls("[\"é☃\"]".as_bytes()), Cow::Borrowed(_)));
    }
}
