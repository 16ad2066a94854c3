//! The check itself: a state machine over the bytes with its own stack.

use smallvec::SmallVec;

use super::number;
use super::object_names::ObjectNames;
use super::plain::plain_bytes;
use super::{JsonError, JsonErrorKind as Kind};

/// What a JSON text may be at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Levels of arrays and objects. A scalar has none. Default 64.
    pub depth: usize,
    /// Characters of one number. Default 64.
    pub number_chars: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { depth: 64, number_chars: 64 }
    }
}

impl Limits {
    /// The same limits for a value inside `levels` more levels.
    pub(crate) fn inside(self, levels: usize) -> Self {
        Self { depth: self.depth.saturating_add(levels), ..self }
    }
}

/// Checks that `bytes` are one JSON value, with nothing but white space around it.
///
/// # Errors
/// The first thing that is wrong, and where. UTF-8 is looked at first, whatever else is wrong.
pub fn validate(bytes: &[u8], limits: &Limits) -> Result<(), JsonError> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| JsonError { position: error.valid_up_to(), kind: Kind::InvalidUtf8 })?;
    validate_text(text, limits)
}

/// [`validate`] for what is known to be UTF-8.
pub(crate) fn validate_text(text: &str, limits: &Limits) -> Result<(), JsonError> {
    let mut validator = Validator {
        bytes: text.as_bytes(),
        position: 0,
        limits,
        open: SmallVec::new(),
        names: ObjectNames::new(),
    };
    validator.run().map_err(|kind| JsonError { position: validator.position, kind })
}

/// An array or object whose end has not come yet.
enum Open {
    Array,
    Object,
}

struct Validator<'a> {
    bytes: &'a [u8],
    position: usize,
    limits: &'a Limits,
    open: SmallVec<[Open; 16]>,
    names: ObjectNames,
}

impl Validator<'_> {
    fn run(&mut self) -> Result<(), Kind> {
        loop {
            self.skip_white_space();
            // A value begins here. An array or object that is not empty goes on to its first element.
            if self.value_or_open()? {
                continue;
            }
            // A value has ended: close what ends with it, then go on to the next element, if there is one.
            loop {
                self.skip_white_space();
                let Some(innermost) = self.open.last() else {
                    return if self.position == self.bytes.len() { Ok(()) } else { Err(Kind::TrailingText) };
                };
                match (self.peek()?, innermost) {
                    (b',', Open::Array) => {
                        self.position += 1;
                        break;
                    }
                    (b',', Open::Object) => {
                        self.position += 1;
                        self.skip_white_space();
                        self.name()?;
                        break;
                    }
                    (b']', Open::Array) => self.close(),
                    (b'}', Open::Object) => self.close_object()?,
                    (_, Open::Array) => return Err(Kind::Expected("',' or ']'")),
                    (_, Open::Object) => return Err(Kind::Expected("',' or '}'")),
                }
            }
        }
    }

    /// Reads a scalar or an empty array or object whole; of others the beginning, and then says true.
    fn value_or_open(&mut self) -> Result<bool, Kind> {
        match self.peek()? {
            b'{' => {
                self.open(Open::Object)?;
                self.names.open_object();
                if self.peek()? == b'}' {
                    self.close_object()?;
                    return Ok(false);
                }
                self.name()?;
                return Ok(true);
            }
            b'[' => {
                self.open(Open::Array)?;
                if self.peek()? == b']' {
                    self.close();
                    return Ok(false);
                }
                return Ok(true);
            }
            b'"' => {
                self.string()?;
            }
            b'-' | b'0'..=b'9' => {
                self.position += number::check(&self.bytes[self.position..], self.limits.number_chars)
                    .map_err(|(offset, kind)| {
                        self.position += offset;
                        kind
                    })?;
            }
            b't' => self.literal("true")?,
            b'f' => self.literal("false")?,
            b'n' => self.literal("null")?,
            _ => return Err(Kind::Expected("a JSON value")),
        }
        Ok(false)
    }

    fn open(&mut self, what: Open) -> Result<(), Kind> {
        if self.open.len() == self.limits.depth {
            return Err(Kind::TooDeep { limit: self.limits.depth });
        }
        self.open.push(what);
        self.position += 1;
        self.skip_white_space();
        Ok(())
    }

    fn close(&mut self) {
        self.open.pop();
        self.position += 1;
    }

    fn close_object(&mut self) -> Result<(), Kind> {
        if let Err(position) = self.names.close_object(self.bytes) {
            self.position = position;
            return Err(Kind::DuplicateName);
        }
        self.close();
        Ok(())
    }

    /// Reads a name and its colon.
    fn name(&mut self) -> Result<(), Kind> {
        if self.peek()? != b'"' {
            return Err(Kind::Expected("a name in double quotes"));
        }
        let start = self.position + 1;
        let escaped = self.string()?;
        self.names.push(self.bytes, start..self.position - 1, escaped);
        self.skip_white_space();
        if self.peek()? != b':' {
            return Err(Kind::Expected("':'"));
        }
        self.position += 1;
        Ok(())
    }

    /// Reads a string, and says whether it has escapes.
    fn string(&mut self) -> Result<bool, Kind> {
        let mut escaped = false;
        self.position += 1;
        loop {
            self.position += plain_bytes(self.bytes.get(self.position..).unwrap_or_default());
            match self.peek()? {
                b'"' => {
                    self.position += 1;
                    return Ok(escaped);
                }
                b'\\' => {
                    escaped = true;
                    self.escape()?;
                }
                _ => return Err(Kind::ControlCharacter),
            }
        }
    }

    fn escape(&mut self) -> Result<(), Kind> {
        match self.bytes.get(self.position + 1) {
            None => Err(Kind::UnexpectedEnd),
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.position += 2;
                Ok(())
            }
            Some(b'u') => match self.unicode_escape(self.position)? {
                0 => Err(Kind::Nul),
                0xd800..0xdc00 => {
                    let is_pair = self.bytes.get(self.position + 6..self.position + 8) == Some(b"\\u")
                        && (0xdc00..0xe000).contains(&self.unicode_escape(self.position + 6)?);
                    self.position += if is_pair { 12 } else { 0 };
                    if is_pair { Ok(()) } else { Err(Kind::LoneSurrogate) }
                }
                0xdc00..0xe000 => Err(Kind::LoneSurrogate),
                _ => {
                    self.position += 6;
                    Ok(())
                }
            },
            Some(_) => Err(Kind::UnknownEscape),
        }
    }

    /// The code unit of the `\uhhhh` at `position`.
    fn unicode_escape(&self, position: usize) -> Result<u32, Kind> {
        let digits = self.bytes.get(position + 2..position + 6).ok_or(Kind::UnexpectedEnd)?;
        digits.iter().try_fold(0, |unit, &digit| {
            let value = char::from(digit).to_digit(16).ok_or(Kind::UnknownEscape)?;
            Ok(unit << 4 | value)
        })
    }

    fn literal(&mut self, literal: &'static str) -> Result<(), Kind> {
        if !self.bytes[self.position..].starts_with(literal.as_bytes()) {
            return Err(Kind::Expected("a JSON value"));
        }
        self.position += literal.len();
        Ok(())
    }

    fn peek(&self) -> Result<u8, Kind> {
        self.bytes.get(self.position).copied().ok_or(Kind::UnexpectedEnd)
    }

    fn skip_white_space(&mut self) {
        while matches!(self.bytes.get(self.position), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.position += 1;
        }
    }
}
