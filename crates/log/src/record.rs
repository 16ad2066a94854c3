//! Records, and the groups in which they are appended.
//!
//! ```text
//! byte 0                4        5                 21              29
//!      ┌────────────────┬────────┬─────────────────┬───────────────┬─────────┐
//!      │ payload length │ flags  │ key hash        │ fingerprint   │ payload │
//!      │ u32            │ u8     │ u128            │ u64           │         │
//!      └────────────────┴────────┴─────────────────┴───────────────┴─────────┘
//!                        bit 0: keyed │◄── only when keyed ──────────►│
//! ```
//!
//! Little-endian. A record carries its key so that the key index can be rebuilt from the segments alone.

use bytes::Bytes;
use smallvec::SmallVec;

use crate::wire::{bytes_at, u32_at, u64_at};

const PLAIN_HEADER_BYTES: usize = 5;
const KEYED_HEADER_BYTES: usize = 29;
const FLAG_KEYED: u8 = 1;

/// A record's key: `hash` names it, `fingerprint` tells its content from another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// A keyed hash of the producer's key, so well mixed that two keys never share one.
    pub hash: u128,
    /// A hash of what a repeat must repeat.
    pub fingerprint: u64,
}

/// A record as it is read.
#[derive(Debug, Clone)]
pub struct Record {
    /// Its position in the log.
    pub offset: u64,
    /// When its commit was written, microseconds since the Unix epoch.
    pub append_time_micros: u64,
    /// Its key, when it was appended with one.
    pub key: Option<Key>,
    /// What was appended, sharing the frame's memory.
    pub payload: Bytes,
}

/// Records that are appended together: all in one commit, or none.
///
/// They are encoded as they are pushed, so a commit copies the group's bytes once and touches no record.
#[derive(Debug, Default)]
pub struct Group {
    pub(crate) bytes: Vec<u8>,
    pub(crate) records: SmallVec<[GroupRecord; 1]>,
}

/// Where a record ends in the group's bytes, and its key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GroupRecord {
    pub(crate) end: usize,
    pub(crate) key: Option<Key>,
}

impl Group {
    /// No records yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// No records yet, and room for `bytes` of them.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), records: SmallVec::new() }
    }

    /// Adds one record; `encode` appends its payload, and nothing else, to the buffer that it is given.
    ///
    /// # Panics
    /// When `encode` shortens the buffer, or appends 4 GiB or more.
    pub fn push(&mut self, key: Option<Key>, encode: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; PLAIN_HEADER_BYTES]);
        if let Some(key) = key {
            self.bytes[start + 4] = FLAG_KEYED;
            self.bytes.extend_from_slice(&key.hash.to_le_bytes());
            self.bytes.extend_from_slice(&key.fingerprint.to_le_bytes());
        }
        let payload_start = self.bytes.len();
        encode(&mut self.bytes);
        assert!(self.bytes.len() >= payload_start, "encode only appends");
        let length = u32::try_from(self.bytes.len() - payload_start);
        assert!(length.is_ok(), "a record is smaller than 4 GiB");
        self.bytes[start..start + 4].copy_from_slice(&length.unwrap_or_default().to_le_bytes());
        self.records.push(GroupRecord { end: self.bytes.len(), key });
    }

    /// How many records it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// What it takes of the commit queue and of a commit.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }
}

/// Reads the record that begins at `at` in a frame's body, and where the next begins. `None` when the body ends early,
/// which a verified frame's never does.
pub(crate) fn decode_record(body: &[u8], at: usize) -> Option<RecordSpan> {
    let header = body.get(at..at + PLAIN_HEADER_BYTES)?;
    let keyed = header[4] & FLAG_KEYED != 0;
    let payload_start = at + if keyed { KEYED_HEADER_BYTES } else { PLAIN_HEADER_BYTES };
    let payload_end = payload_start + u32_at(header, 0) as usize;
    if payload_end > body.len() {
        return None;
    }
    let key = keyed.then(|| Key {
        hash: u128::from_le_bytes(bytes_at(body, at + PLAIN_HEADER_BYTES)),
        fingerprint: u64_at(body, at + PLAIN_HEADER_BYTES + 16),
    });
    Some(RecordSpan { key, payload_start, payload_end })
}

/// A record's place in a frame's body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RecordSpan {
    pub(crate) key: Option<Key>,
    pub(crate) payload_start: usize,
    pub(crate) payload_end: usize,
}
