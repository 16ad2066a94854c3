//! Writes JSON into a byte buffer, without a tree of values in between.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::{DataKind, StoredEvent};

/// Writes one object, member by member.
pub(crate) struct ObjectWriter<'a> {
    out: &'a mut Vec<u8>,
    is_empty: bool,
}

impl<'a> ObjectWriter<'a> {
    pub(crate) fn begin(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, is_empty: true }
    }

    /// Begins a member; the caller appends its value to what is returned.
    pub(crate) fn member(&mut self, name: &str) -> &mut Vec<u8> {
        if !self.is_empty {
            self.out.push(b',');
        }
        self.is_empty = false;
        write_string(name.as_bytes(), self.out);
        self.out.push(b':');
        self.out
    }

    pub(crate) fn string(&mut self, name: &str, value: &str) {
        write_string(value.as_bytes(), self.member(name));
    }

    pub(crate) fn optional_string(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.string(name, value);
        }
    }

    pub(crate) fn number(&mut self, name: &str, value: u64) {
        write_number(value, self.member(name));
    }

    /// The event's data as `data` or `data_base64`, when it has any.
    pub(crate) fn data(&mut self, event: &StoredEvent) {
        match event.data() {
            None => {}
            Some((DataKind::Json, bytes)) => write_on_one_line(bytes, self.member("data")),
            Some((DataKind::Text, bytes)) => write_string(bytes, self.member("data")),
            Some((DataKind::Binary, bytes)) => write_base64(bytes, self.member("data_base64")),
        }
    }

    pub(crate) fn end(self) {
        self.out.push(b'}');
    }
}

/// Appends a JSON string that spells `text`, which is UTF-8.
fn write_string(text: &[u8], out: &mut Vec<u8>) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    let mut rest = text;
    while let Some(position) = rest.iter().position(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\') {
        out.extend_from_slice(&rest[..position]);
        write_escape(rest[position], out);
        rest = &rest[position + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

fn write_escape(byte: u8, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    match byte {
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
        _ => {
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
}

/// Appends JSON without its line breaks. They stand between values only, for a string may not hold one unescaped.
fn write_on_one_line(json: &[u8], out: &mut Vec<u8>) {
    out.reserve(json.len());
    for part in json.split(|&byte| matches!(byte, b'\n' | b'\r')) {
        out.extend_from_slice(part);
    }
}

/// Appends a JSON string of `bytes` in padded base64.
fn write_base64(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let start = out.len();
    // Four characters for every three bytes begun.
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    let written = STANDARD.encode_slice(bytes, &mut out[start..]).unwrap_or(0);
    assert_eq!(start + written, out.len(), "the buffer is as long as base64 needs");
    out.push(b'"');
}

fn write_number(value: u64, out: &mut Vec<u8>) {
    // The longest u64 has 20 digits.
    let mut digits = [0; 20];
    let mut start = digits.len();
    let mut rest = value;
    loop {
        start -= 1;
        digits[start] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}
