//! Writes a value as JSON, up to a limit of bytes. A list or map may be in a value many times while it is in memory once, so that
//! only writing shows how large it is.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::evaluate::text_of;
use crate::value::Value;

/// Why a value was not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WriteError {
    TooLarge,
    /// NaN or infinite.
    NotFinite,
}

/// The JSON of a value: timestamps and durations as text, bytes as base64, keys as text.
pub(crate) fn write_json(value: &Value<'_>, limit_bytes: usize) -> Result<Vec<u8>, WriteError> {
    let mut writer = Writer { out: Vec::new(), limit_bytes };
    writer.value(value)?;
    Ok(writer.out)
}

struct Writer {
    out: Vec<u8>,
    limit_bytes: usize,
}

impl Writer {
    fn raw(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        if self.out.len() + bytes.len() > self.limit_bytes {
            return Err(WriteError::TooLarge);
        }
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    fn value(&mut self, value: &Value<'_>) -> Result<(), WriteError> {
        match value {
            Value::Null => self.raw(b"null"),
            Value::Double(value) if !value.is_finite() => Err(WriteError::NotFinite),
            // With a fraction it stays a double for whoever reads it.
            Value::Double(value) => self.raw(format!("{value:?}").as_bytes()),
            Value::Bool(_) | Value::Int(_) | Value::Uint(_) => {
                self.raw(text_of(value).unwrap_or_default().as_bytes())
            }
            Value::Text(text) => self.text(text),
            Value::Timestamp(_) | Value::Duration(_) => self.text(&text_of(value).unwrap_or_default()),
            Value::Bytes(bytes) => {
                if bytes.len() > self.limit_bytes {
                    return Err(WriteError::TooLarge);
                }
                self.text(&STANDARD.encode(&**bytes))
            }
            Value::List(list) => {
                self.raw(b"[")?;
                for (index, element) in list.iter().enumerate() {
                    self.comma(index)?;
                    self.value(&element)?;
                }
                self.raw(b"]")
            }
            Value::Map(map) => {
                self.raw(b"{")?;
                for (index, (key, value)) in map.entries().iter().enumerate() {
                    self.comma(index)?;
                    match key {
                        Value::Text(name) => self.text(name)?,
                        other => self.text(&text_of(other).unwrap_or_default())?,
                    }
                    self.raw(b":")?;
                    self.value(value)?;
                }
                self.raw(b"}")
            }
        }
    }

    fn comma(&mut self, index: usize) -> Result<(), WriteError> {
        if index > 0 { self.raw(b",") } else { Ok(()) }
    }

    fn text(&mut self, text: &str) -> Result<(), WriteError> {
        self.raw(b"\"")?;
        let mut rest = text.as_bytes();
        while let Some(place) = rest.iter().position(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\') {
            self.raw(&rest[..place])?;
            match rest[place] {
                byte @ (b'"' | b'\\') => self.raw(&[b'\\', byte])?,
                b'\n' => self.raw(b"\\n")?,
                control => self.raw(format!("\\u{control:04x}").as_bytes())?,
            }
            rest = &rest[place + 1..];
        }
        self.raw(rest)?;
        self.raw(b"\"")
    }
}
