//! The event id: a UUIDv7 (RFC 9562) that is an address.
//!
//! ```text
//! 127            80 79 76 75      64 63 62 61                       0
//! ┌────────────────┬─────┬──────────┬─────┬──────────────────────────┐
//! │ append time ms │  7  │ µs in ms │ 0b10│ offset in the log        │
//! └────────────────┴─────┴──────────┴─────┴──────────────────────────┘
//! ```
//!
//! A look-up by id is one seek: the low 62 bits are the offset, and the time must equal the stored one.

use std::fmt;
use std::str::FromStr;

/// An event's name for all the world.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId(u128);

/// A text that is not an event id.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not an event id: expected a hyphenated, lower-case UUIDv7")]
pub struct EventIdError;

// The casts cut off what the masks and shifts have taken away.
#[allow(clippy::cast_possible_truncation)]
impl EventId {
    /// Offsets are below this: 62 bits.
    pub const OFFSET_LIMIT: u64 = 1 << 62;
    /// Append times are below this: 48 bits of milliseconds (the year 10889).
    pub const TIME_LIMIT_MICROS: u64 = (1 << 48) * 1000;

    /// How many characters it has.
    pub const CHARS: usize = 36;

    /// The id of the event at `offset`, appended `append_time_micros` after the Unix epoch.
    ///
    /// # Panics
    /// When either is beyond its limit, which no log reaches.
    #[must_use]
    pub fn new(append_time_micros: u64, offset: u64) -> Self {
        assert!(offset < Self::OFFSET_LIMIT, "offset {offset} needs more than 62 bits");
        assert!(
            append_time_micros < Self::TIME_LIMIT_MICROS,
            "append time {append_time_micros} µs is out of range"
        );
        let millis = u128::from(append_time_micros / 1000);
        let micros = u128::from(append_time_micros % 1000);
        Self(millis << 80 | 7 << 76 | micros << 64 | 2 << 62 | u128::from(offset))
    }

    /// The event's offset.
    #[must_use]
    pub fn offset(self) -> u64 {
        (self.0 & u128::from(Self::OFFSET_LIMIT - 1)) as u64
    }

    /// When the event was appended: microseconds since the Unix epoch.
    #[must_use]
    pub fn append_time_micros(self) -> u64 {
        (self.0 >> 80) as u64 * 1000 + (self.0 >> 64 & 0xfff) as u64
    }

    /// The UUID's bytes, the most significant first.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// The id of these bytes, the most significant first.
    ///
    /// # Errors
    /// When no event can have it.
    pub fn from_bytes(bytes: [u8; 16]) -> Result<Self, EventIdError> {
        let id = Self(u128::from_be_bytes(bytes));
        let canonical = id.0 >> 76 & 0xf == 7 && id.0 >> 62 & 3 == 2 && (id.0 >> 64 & 0xfff) < 1000;
        if canonical { Ok(id) } else { Err(EventIdError) }
    }

    /// Writes it into `buffer` as `Display` shows it, without allocating.
    #[must_use]
    pub fn encode(self, buffer: &mut [u8; Self::CHARS]) -> &str {
        uuid::Uuid::from_u128(self.0).hyphenated().encode_lower(buffer)
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.encode(&mut [0; Self::CHARS]))
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for EventId {
    type Err = EventIdError;

    /// Accepts exactly what `Display` prints, so an event has one spelling of its id.
    fn from_str(text: &str) -> Result<Self, EventIdError> {
        let uuid = uuid::Uuid::try_parse(text).map_err(|_| EventIdError)?;
        let id = Self::from_bytes(uuid.into_bytes())?;
        if id.to_string() == text { Ok(id) } else { Err(EventIdError) }
    }
}
