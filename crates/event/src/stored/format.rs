//! The record payload, format version 1.
//!
//! ```text
//! ┌─────────┬────────┬──────────────┬─────────────┬────────────────────┬─────────────┬──────────────┐
//! │ version │ flags  │ header count │ field       │ header             │ text        │ data         │
//! │ u8 = 1  │ u16 LE │ varint       │ lengths     │ lengths            │ UTF-8       │ to the end   │
//! │         │        │              │ varint each │ (name, value) each │ their sum   │              │
//! └─────────┴────────┴──────────────┴─────────────┴────────────────────┴─────────────┴──────────────┘
//! ```
//!
//! - Flags: bits 0–6 say which optional fields are present, in the order of [`Field`]; bits 8–9 are the data's kind
//!   (0 none, 1 JSON, 2 text, 3 binary); all others are zero.
//! - Field lengths: tenant, type, source, then each optional field that is present.
//! - Text: those fields, then each header's name and value, with nothing between.
//! - A varint is an unsigned LEB128 of at most 32 bits, in its shortest spelling, so an event has one encoding.
//!
//! Invariants: the lengths never reach past the record, each span begins and ends at a character boundary, and there
//! is data only when the flags say so. The payload has no checksum of its own: the log frame that holds it has.

use std::ops::Range;

use crate::{DataKind, Event};

const VERSION: u8 = 1;
/// Version and flags.
const FIXED_BYTES: usize = 3;
const DATA_KIND_SHIFT: u32 = 8;
const PRESENT_MASK: u16 = 0x7f;
const KNOWN_FLAGS: u16 = PRESENT_MASK | 3 << DATA_KIND_SHIFT;
const REQUIRED_FIELDS: usize = 3;
pub(super) const FIELDS: usize = 10;

/// The text fields, in stored order.
#[derive(Debug, Clone, Copy)]
pub(super) enum Field {
    Tenant,
    Type,
    Source,
    ClientId,
    Subject,
    Time,
    Key,
    ContentType,
    DataSchema,
    IdempotencyKey,
}

impl Field {
    pub(super) const ALL: [Self; FIELDS] = [
        Self::Tenant,
        Self::Type,
        Self::Source,
        Self::ClientId,
        Self::Subject,
        Self::Time,
        Self::Key,
        Self::ContentType,
        Self::DataSchema,
        Self::IdempotencyKey,
    ];
}

pub(super) fn encode(event: &Event, out: &mut Vec<u8>) {
    out.reserve(encoded_bytes(event));
    let fields = event.fields();
    out.push(VERSION);
    out.extend_from_slice(&flags(event, &fields).to_le_bytes());
    write_length(event.headers.len(), out);
    for field in fields.iter().flatten() {
        write_length(field.len(), out);
    }
    for (name, value) in &event.headers {
        write_length(name.len(), out);
        write_length(value.len(), out);
    }
    for field in fields.iter().flatten() {
        out.extend_from_slice(field.as_bytes());
    }
    for (name, value) in &event.headers {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(value.as_bytes());
    }
    if let Some(data) = &event.data {
        out.extend_from_slice(data.bytes());
    }
}

pub(super) fn encoded_bytes(event: &Event) -> usize {
    let text = |text: &str| length_bytes(text.len()) + text.len();
    FIXED_BYTES
        + length_bytes(event.headers.len())
        + event.fields().into_iter().flatten().map(text).sum::<usize>()
        + event.headers.iter().map(|(name, value)| text(name) + text(value)).sum::<usize>()
        + event.data.as_ref().map_or(0, |data| data.bytes().len())
}

impl Event {
    /// The text fields, in stored order: every one but the headers.
    pub(crate) fn fields(&self) -> [Option<&str>; FIELDS] {
        [
            Some(self.tenant.as_str()),
            Some(&self.event_type),
            Some(&self.source),
            self.id.as_deref(),
            self.subject.as_deref(),
            self.time.as_deref(),
            self.key.as_deref(),
            self.content_type.as_deref(),
            self.data_schema.as_deref(),
            self.idempotency_key.as_deref(),
        ]
    }
}

fn flags(event: &Event, fields: &[Option<&str>; FIELDS]) -> u16 {
    let mut flags = 0;
    for (bit, field) in fields[REQUIRED_FIELDS..].iter().enumerate() {
        flags |= u16::from(field.is_some()) << bit;
    }
    let kind = match event.data.as_ref().map(crate::Data::kind) {
        None => 0,
        Some(DataKind::Json) => 1,
        Some(DataKind::Text) => 2,
        Some(DataKind::Binary) => 3,
    };
    flags | kind << DATA_KIND_SHIFT
}

/// Where everything is in a record.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    flags: u16,
    header_count: u32,
    /// Where the header lengths begin in the record.
    header_lengths: u32,
    text_start: u32,
    text_bytes: u32,
    /// Where each field ends in the text; one that is absent ends where it begins.
    field_ends: [u32; FIELDS],
}

impl Layout {
    /// Reads all that comes before the text, and checks that the text lies inside the record.
    pub(super) fn read(record: &[u8]) -> Result<Self, &'static str> {
        const TOO_LONG: &str = "its lengths add up to more than it has";
        if u32::try_from(record.len()).is_err() {
            return Err("it is longer than 4 GiB");
        }
        let (&version, _) = record.split_first().ok_or("it is empty")?;
        if version != VERSION {
            return Err("its format version is unknown: a newer release wrote it");
        }
        let flags = record.get(1..FIXED_BYTES).ok_or("it is cut short")?;
        let flags = u16::from_le_bytes([flags[0], flags[1]]);
        if flags & !KNOWN_FLAGS != 0 {
            return Err("it has unknown flags");
        }
        let mut lengths = Lengths { record, position: FIXED_BYTES };
        let header_count = lengths.read()?;
        let mut text_bytes = 0u32;
        let mut field_ends = [0; FIELDS];
        for (index, end) in field_ends.iter_mut().enumerate() {
            if index < REQUIRED_FIELDS || flags >> (index - REQUIRED_FIELDS) & 1 == 1 {
                let length = lengths.read()?;
                if index < REQUIRED_FIELDS && length == 0 {
                    return Err("its tenant, type or source is empty");
                }
                text_bytes = text_bytes.checked_add(length).ok_or(TOO_LONG)?;
            }
            *end = text_bytes;
        }
        let header_lengths = lengths.offset();
        // A count that the record has no room for ends this loop early, since each length takes a byte.
        for _ in 0..header_count {
            text_bytes = text_bytes.checked_add(lengths.read()?).ok_or(TOO_LONG)?;
            text_bytes = text_bytes.checked_add(lengths.read()?).ok_or(TOO_LONG)?;
        }
        let layout = Self {
            flags,
            header_count,
            header_lengths,
            text_start: lengths.offset(),
            text_bytes,
            field_ends,
        };
        if layout.text_range().end > record.len() {
            return Err(TOO_LONG);
        }
        if layout.data_kind().is_none() && layout.text_range().end != record.len() {
            return Err("it goes on after its end");
        }
        Ok(layout)
    }

    /// Checks that every field and header begins and ends at a character boundary of the text.
    pub(super) fn check_text(&self, record: &[u8], text: &str) -> Result<(), &'static str> {
        if text.is_ascii() {
            return Ok(());
        }
        let fields_fit = self.field_ends.iter().all(|&end| text.is_char_boundary(end as usize));
        let mut end = self.headers_start();
        let headers_fit = HeaderLengths::new(record, self).all(|(name_bytes, value_bytes)| {
            let middle = end + name_bytes;
            end = middle + value_bytes;
            text.is_char_boundary(middle) && text.is_char_boundary(end)
        });
        if fields_fit && headers_fit { Ok(()) } else { Err("a field is cut inside a character") }
    }

    pub(super) fn span(&self, field: Field) -> Option<Range<usize>> {
        let index = field as usize;
        if index >= REQUIRED_FIELDS && self.flags >> (index - REQUIRED_FIELDS) & 1 == 0 {
            return None;
        }
        let start = if index == 0 { 0 } else { self.field_ends[index - 1] };
        Some(start as usize..self.field_ends[index] as usize)
    }

    /// Where the headers begin in the text.
    pub(super) fn headers_start(&self) -> usize {
        self.field_ends[FIELDS - 1] as usize
    }

    pub(super) fn text_range(&self) -> Range<usize> {
        let start = self.text_start as usize;
        start..start + self.text_bytes as usize
    }

    pub(super) fn data_range(&self, record: &[u8]) -> Range<usize> {
        self.text_range().end..record.len()
    }

    pub(super) fn data_kind(&self) -> Option<DataKind> {
        match self.flags >> DATA_KIND_SHIFT {
            1 => Some(DataKind::Json),
            2 => Some(DataKind::Text),
            3 => Some(DataKind::Binary),
            _ => None,
        }
    }
}

/// The (name, value) lengths of a record's headers. Ends early on what [`Layout::read`] would refuse.
pub(super) struct HeaderLengths<'a> {
    lengths: Lengths<'a>,
    left: u32,
}

impl<'a> HeaderLengths<'a> {
    pub(super) fn new(record: &'a [u8], layout: &Layout) -> Self {
        Self {
            lengths: Lengths { record, position: layout.header_lengths as usize },
            left: layout.header_count,
        }
    }
}

impl Iterator for HeaderLengths<'_> {
    type Item = (usize, usize);

    fn next(&mut self) -> Option<(usize, usize)> {
        self.left = self.left.checked_sub(1)?;
        Some((self.lengths.read().ok()? as usize, self.lengths.read().ok()? as usize))
    }
}

/// Reads varints.
struct Lengths<'a> {
    record: &'a [u8],
    position: usize,
}

impl Lengths<'_> {
    fn read(&mut self) -> Result<u32, &'static str> {
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let byte = *self.record.get(self.position).ok_or("it is cut short")?;
            self.position += 1;
            let bits = u32::from(byte & 0x7f);
            if shift == 28 && bits > 0xf {
                return Err("a length needs more than 32 bits");
            }
            value |= bits << shift;
            if byte < 0x80 {
                return if byte == 0 && shift > 0 {
                    Err("a length is not in its shortest spelling")
                } else {
                    Ok(value)
                };
            }
        }
        Err("a length needs more than 32 bits")
    }

    /// The position, which fits because the record's length does.
    #[allow(clippy::cast_possible_truncation)]
    fn offset(&self) -> u32 {
        self.position as u32
    }
}

// The casts keep the seven bits that the mask or the comparison leaves.
#[allow(clippy::cast_possible_truncation)]
fn write_length(length: usize, out: &mut Vec<u8>) {
    assert!(u32::try_from(length).is_ok(), "events are limited to far less than 4 GiB");
    let mut rest = length;
    while rest >= 0x80 {
        out.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// How many bytes a varint takes.
fn length_bytes(length: usize) -> usize {
    let bits = (usize::BITS - length.leading_zeros()).max(1);
    bits.div_ceil(7) as usize
}
