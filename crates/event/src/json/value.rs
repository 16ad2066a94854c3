//! Walks JSON that [`super::validate`] has passed, without building anything: values are slices of the text.
//!
//! On text that was not validated the walk ends early or finds odd slices, but it never panics.

use std::borrow::Cow;
use std::ops::Range;

use super::plain::plain_bytes;

/// One JSON value, without white space around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Value<'a>(&'a str);

impl<'a> Value<'a> {
    /// The value that a validated text is.
    pub(crate) fn of_document(text: &'a str) -> Self {
        Self(text.trim_matches(is_white_space))
    }

    /// Its text, as it was written.
    pub(crate) fn text(self) -> &'a str {
        self.0
    }

    pub(crate) fn is_null(self) -> bool {
        self.0 == "null"
    }

    /// Its boolean or number as it was written.
    pub(crate) fn as_bool(self) -> Option<&'a str> {
        matches!(self.0, "true" | "false").then_some(self.0)
    }

    pub(crate) fn is_number(self) -> bool {
        self.0.starts_with(|first: char| first == '-' || first.is_ascii_digit())
    }

    /// What the string spells, when it is one.
    pub(crate) fn as_string(self) -> Option<Cow<'a, str>> {
        let inside = self.0.strip_prefix('"')?.strip_suffix('"')?;
        if !inside.contains('\\') {
            return Some(Cow::Borrowed(inside));
        }
        let mut spelled = Vec::with_capacity(inside.len());
        unescape(inside.as_bytes(), &mut spelled);
        Some(Cow::Owned(String::from_utf8(spelled).ok()?))
    }

    /// The names and values of an object, when it is one.
    pub(crate) fn members(self) -> Option<impl Iterator<Item = (Cow<'a, str>, Value<'a>)>> {
        let mut rest = self.0.strip_prefix('{')?;
        Some(std::iter::from_fn(move || {
            let name = next_value(&mut rest)?.as_string()?;
            rest = skip_white_space(rest).strip_prefix(':')?;
            Some((name, next_value(&mut rest)?))
        }))
    }

    /// The elements of an array, when it is one.
    pub(crate) fn elements(self) -> Option<impl Iterator<Item = Value<'a>>> {
        let mut rest = self.0.strip_prefix('[')?;
        Some(std::iter::from_fn(move || next_value(&mut rest)))
    }
}

/// Takes the next value off `rest`, with a comma before it; `None` at the end of what it is in.
fn next_value<'a>(rest: &mut &'a str) -> Option<Value<'a>> {
    let text = skip_white_space(rest);
    let text = skip_white_space(text.strip_prefix(',').unwrap_or(text));
    let (value, after) = text.split_at_checked(value_bytes(text.as_bytes())?)?;
    *rest = after;
    Some(Value(value))
}

/// How long the value is that `text` begins with; `None` when it begins with none.
fn value_bytes(text: &[u8]) -> Option<usize> {
    match text.first()? {
        b'"' => string_bytes(text),
        b'{' | b'[' => {
            let mut position = 0;
            let mut depth = 0usize;
            loop {
                match text.get(position)? {
                    b'"' => position += string_bytes(&text[position..])? - 1,
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => depth -= 1,
                    _ => {}
                }
                position += 1;
                if depth == 0 {
                    return Some(position);
                }
            }
        }
        b'}' | b']' => None,
        _ => {
            let ends = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b':' | b' ' | b'\t' | b'\n' | b'\r');
            Some(text.iter().position(ends).unwrap_or(text.len())).filter(|&bytes| bytes > 0)
        }
    }
}

fn string_bytes(text: &[u8]) -> Option<usize> {
    let mut position = 1;
    loop {
        position += plain_bytes(text.get(position..)?);
        match text.get(position)? {
            b'"' => return Some(position + 1),
            b'\\' => position += 2,
            _ => position += 1,
        }
    }
}

/// Appends what a validated string's inside spells.
pub(super) fn unescape(inside: &[u8], out: &mut Vec<u8>) {
    let mut rest = inside;
    while let Some(backslash) = rest.iter().position(|&byte| byte == b'\\') {
        out.extend_from_slice(&rest[..backslash]);
        let Some(&escape) = rest.get(backslash + 1) else {
            return;
        };
        let mut used = 2;
        match escape {
            b'u' => used = unescape_unicode(&rest[backslash..], out),
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            other => out.push(other),
        }
        rest = rest.get(backslash + used..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
}

/// Appends what the `\uhhhh`, or the surrogate pair of two, spells that `text` begins with, and says how long it is.
fn unescape_unicode(text: &[u8], out: &mut Vec<u8>) -> usize {
    let first = code_unit(text);
    let second = first.filter(|unit| (0xd800..0xdc00).contains(unit)).and_then(|_| code_unit(text.get(6..)?));
    for character in char::decode_utf16(first.into_iter().chain(second)) {
        let character = character.unwrap_or(char::REPLACEMENT_CHARACTER);
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    }
    if second.is_some() { 12 } else { 6 }
}

/// The code unit of the `\uhhhh` that `text` begins with.
fn code_unit(text: &[u8]) -> Option<u16> {
    let digits = text.strip_prefix(b"\\u")?.get(..4)?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// The text after JSON's white space.
fn skip_white_space(text: &str) -> &str {
    text.trim_start_matches(is_white_space)
}

/// Where the value is in a text that has white space around it.
pub(crate) fn trimmed_range(bytes: &[u8]) -> Range<usize> {
    let is_value = |byte: &u8| !is_white_space(char::from(*byte));
    let start = bytes.iter().position(is_value).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(is_value).map_or(start, |last| last + 1);
    start..end
}

fn is_white_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\n' | '\r')
}
