//! The bytes of a `.keys` file, version 1. All numbers are little-endian.
//!
//! A file is named `<base offset, 20 digits>-<end offset, 20 digits>.keys` and holds the keys of the records at
//! `base <= offset < end`. It is written under a temporary name, synced, renamed, and never changed again.
//!
//! ```text
//! 0                 4096                4096 × (1 + pages)
//! ┌─────────────────┬───────────────────┬───────────┬─────────────────┬──────────────┐
//! │ header          │ entry pages       │ directory │ partition table │ fingerprints │
//! └─────────────────┴───────────────────┴───────────┴─────────────────┴──────────────┘
//!
//! header, 4096 bytes                            entry page, 4096 bytes
//!    0  8  magic "ERKEYS\r\n"                      0   4  crc32c of bytes 4..4096, seeded with the identity
//!    8  4  version = 1                             4   4  entries in this page, 1..=102
//!   12  4  partitions of the filter                8   8  page number, from 0
//!   16 16  log id                                 16  40  entry × 102; unused ones are zero
//!   32  8  base offset
//!   40  8  end offset                           entry, 40 bytes
//!   48  8  entries                                 0  16  key hash
//!   56  8  oldest append time, µs (0 if none)     16   8  fingerprint of the content
//!   64  8  newest append time, µs (0 if none)     24   8  offset
//!   72  8  position of the directory              32   8  append time, µs
//!   80  8  position of the partition table
//!   88  8  position of the fingerprints         directory: per entry page
//!   96  8  bytes of the whole file                 0   8  high 64 bits of the page's first key hash
//!  104  4  crc32c of the directory, seeded
//!  108  4  crc32c of the partition table, seeded
//!  112  …  zero                                 partition table: per partition
//! 4092  4  crc32c of bytes 0..4092                 0   8  seed
//!                                                  8   8  distinct keys in the partition
//! fingerprints: of each partition in turn         16   4  segment length
//!    0  2  × fingerprints of the partition        20   4  segment count × segment length
//!                                                 24   4  fingerprints (0: there is no filter)
//!                                                 28   4  crc32c of the fingerprints, seeded
//! ```
//!
//! Invariants:
//! - Entries ascend strictly by key hash through the whole file: a key is there once, with its newest record.
//! - Every page but the last is full, so `pages = ceil(entries / 102)`.
//! - The *identity* is the crc32c of log id, base and end offset. It seeds every checksum but the header's, so a part
//!   that belongs to another file never verifies; the page number does the same for a page in the wrong place.
//! - Every byte is covered by a checksum or must be what other bytes say it is (the file's length).

use std::ops::Range;

use super::Entry;
use crate::checksum::crc32c;

pub(super) const VERSION: u32 = 1;
/// Bytes of the header and of an entry page.
pub(super) const PAGE_BYTES: usize = 4096;
pub(super) const ENTRIES_PER_PAGE: usize = (PAGE_BYTES - PAGE_HEADER_BYTES) / ENTRY_BYTES;
pub(super) const PARTITION_BYTES: usize = 32;
/// More partitions than any file has: 96 Ki keys in each of them are more than 6 billion.
pub(super) const MAX_PARTITIONS: u32 = 65_536;

const MAGIC: [u8; 8] = *b"ERKEYS\r\n";
const HEADER_CRC_AT: usize = PAGE_BYTES - 4;
const PAGE_HEADER_BYTES: usize = 16;
const ENTRY_BYTES: usize = 40;

/// The header's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) log_id: [u8; 16],
    pub(super) offsets: Range<u64>,
    pub(super) entries: u64,
    pub(super) oldest_micros: u64,
    pub(super) newest_micros: u64,
    pub(super) partitions: u32,
    pub(super) directory_crc: u32,
    pub(super) table_crc: u32,
    /// Bytes of all fingerprints.
    pub(super) fingerprint_bytes: u64,
}

/// Why a header was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeaderFault {
    Damaged(&'static str),
    NewerVersion(u32),
}

impl Header {
    pub(super) fn pages(&self) -> u64 {
        self.entries.div_ceil(ENTRIES_PER_PAGE as u64)
    }

    pub(super) fn directory_position(&self) -> u64 {
        (1 + self.pages()) * PAGE_BYTES as u64
    }

    pub(super) fn table_position(&self) -> u64 {
        self.directory_position() + self.pages() * 8
    }

    pub(super) fn fingerprints_position(&self) -> u64 {
        self.table_position() + u64::from(self.partitions) * PARTITION_BYTES as u64
    }

    pub(super) fn file_bytes(&self) -> u64 {
        self.fingerprints_position() + self.fingerprint_bytes
    }

    pub(super) fn encode(&self) -> [u8; PAGE_BYTES] {
        let mut bytes = [0; PAGE_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        put_u32(&mut bytes, 8, VERSION);
        put_u32(&mut bytes, 12, self.partitions);
        bytes[16..32].copy_from_slice(&self.log_id);
        put_u64(&mut bytes, 32, self.offsets.start);
        put_u64(&mut bytes, 40, self.offsets.end);
        put_u64(&mut bytes, 48, self.entries);
        put_u64(&mut bytes, 56, self.oldest_micros);
        put_u64(&mut bytes, 64, self.newest_micros);
        put_u64(&mut bytes, 72, self.directory_position());
        put_u64(&mut bytes, 80, self.table_position());
        put_u64(&mut bytes, 88, self.fingerprints_position());
        put_u64(&mut bytes, 96, self.file_bytes());
        put_u32(&mut bytes, 104, self.directory_crc);
        put_u32(&mut bytes, 108, self.table_crc);
        let crc = crc32c(0, &bytes[..HEADER_CRC_AT]);
        put_u32(&mut bytes, HEADER_CRC_AT, crc);
        bytes
    }

    /// Takes a header whose checksum and inner sums hold.
    pub(super) fn decode(bytes: &[u8; PAGE_BYTES]) -> Result<Self, HeaderFault> {
        if bytes[..8] != MAGIC {
            return Err(HeaderFault::Damaged("it does not begin with the magic number"));
        }
        if crc32c(0, &bytes[..HEADER_CRC_AT]) != u32_at(bytes, HEADER_CRC_AT) {
            return Err(HeaderFault::Damaged("the checksum does not match"));
        }
        match u32_at(bytes, 8) {
            VERSION => {}
            newer if newer > VERSION => return Err(HeaderFault::NewerVersion(newer)),
            _ => return Err(HeaderFault::Damaged("there has never been such a version")),
        }
        let (directory, file_bytes) = (u64_at(bytes, 72), u64_at(bytes, 96));
        let fingerprints = u64_at(bytes, 88);
        let header = Self {
            log_id: array_at(bytes, 16),
            offsets: u64_at(bytes, 32)..u64_at(bytes, 40),
            entries: u64_at(bytes, 48),
            oldest_micros: u64_at(bytes, 56),
            newest_micros: u64_at(bytes, 64),
            partitions: u32_at(bytes, 12),
            directory_crc: u32_at(bytes, 104),
            table_crc: u32_at(bytes, 108),
            fingerprint_bytes: file_bytes.saturating_sub(fingerprints),
        };
        // A record has one key at most, which also keeps the sums below from overflowing.
        let sound = !header.offsets.is_empty()
            && header.entries <= header.offsets.end - header.offsets.start
            && header.entries < 1 << 48
            && header.partitions <= MAX_PARTITIONS
            && directory == header.directory_position()
            && u64_at(bytes, 80) == header.table_position()
            && fingerprints == header.fingerprints_position()
            && file_bytes == header.file_bytes();
        if sound { Ok(header) } else { Err(HeaderFault::Damaged("its fields contradict each other")) }
    }
}

/// What seeds the checksums of a file's parts.
pub(super) fn identity(log_id: [u8; 16], offsets: &Range<u64>) -> u32 {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(&log_id);
    put_u64(&mut bytes, 16, offsets.start);
    put_u64(&mut bytes, 24, offsets.end);
    crc32c(0, &bytes)
}

/// Appends one page with `entries`, which ascend by key hash.
pub(super) fn encode_page(identity: u32, number: u64, entries: &[Entry], out: &mut Vec<u8>) {
    assert!(!entries.is_empty() && entries.len() <= ENTRIES_PER_PAGE, "a page holds 1 to 102 entries");
    let start = out.len();
    out.resize(start + PAGE_BYTES, 0);
    let page = &mut out[start..];
    // At most 102, as asserted.
    put_u32(page, 4, u32::try_from(entries.len()).unwrap_or(u32::MAX));
    put_u64(page, 8, number);
    for (entry, bytes) in entries.iter().zip(page[PAGE_HEADER_BYTES..].chunks_exact_mut(ENTRY_BYTES)) {
        bytes[..16].copy_from_slice(&entry.key_hash.to_le_bytes());
        put_u64(bytes, 16, entry.fingerprint);
        put_u64(bytes, 24, entry.offset);
        put_u64(bytes, 32, entry.append_time_micros);
    }
    let crc = crc32c(identity, &page[4..]);
    put_u32(page, 0, crc);
}

/// An entry page whose checksum and number are right.
#[derive(Debug, Clone, Copy)]
pub(super) struct Page<'a> {
    bytes: &'a [u8],
    count: usize,
}

impl<'a> Page<'a> {
    /// Checks `bytes`, which are one page long, as page `number`.
    pub(super) fn check(identity: u32, number: u64, bytes: &'a [u8]) -> Result<Self, &'static str> {
        assert_eq!(bytes.len(), PAGE_BYTES, "one page at a time");
        if crc32c(identity, &bytes[4..]) != u32_at(bytes, 0) {
            return Err("the checksum does not match");
        }
        if u64_at(bytes, 8) != number {
            return Err("it is another page");
        }
        let count = u32_at(bytes, 4) as usize;
        if count == 0 || count > ENTRIES_PER_PAGE {
            return Err("the number of entries is impossible");
        }
        Ok(Self { bytes, count })
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn entry(&self, index: usize) -> Entry {
        let bytes = self.entry_bytes(index);
        Entry {
            key_hash: u128::from_le_bytes(array_at(bytes, 0)),
            fingerprint: u64_at(bytes, 16),
            offset: u64_at(bytes, 24),
            append_time_micros: u64_at(bytes, 32),
        }
    }

    pub(super) fn find(&self, key_hash: u128) -> Option<Entry> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low.midpoint(high);
            if u128::from_le_bytes(array_at(self.entry_bytes(middle), 0)) < key_hash {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        (low < self.count).then(|| self.entry(low)).filter(|entry| entry.key_hash == key_hash)
    }

    fn entry_bytes(&self, index: usize) -> &'a [u8] {
        assert!(index < self.count, "an entry of this page");
        &self.bytes[PAGE_HEADER_BYTES + index * ENTRY_BYTES..][..ENTRY_BYTES]
    }
}

/// One line of the partition table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Partition {
    pub(super) seed: u64,
    pub(super) keys: u64,
    pub(super) segment_length: u32,
    pub(super) segment_count_length: u32,
    pub(super) fingerprints: u32,
    pub(super) crc: u32,
}

impl Partition {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.seed.to_le_bytes());
        out.extend_from_slice(&self.keys.to_le_bytes());
        out.extend_from_slice(&self.segment_length.to_le_bytes());
        out.extend_from_slice(&self.segment_count_length.to_le_bytes());
        out.extend_from_slice(&self.fingerprints.to_le_bytes());
        out.extend_from_slice(&self.crc.to_le_bytes());
    }

    pub(super) fn decode(bytes: &[u8]) -> Self {
        Self {
            seed: u64_at(bytes, 0),
            keys: u64_at(bytes, 8),
            segment_length: u32_at(bytes, 16),
            segment_count_length: u32_at(bytes, 20),
            fingerprints: u32_at(bytes, 24),
            crc: u32_at(bytes, 28),
        }
    }
}

/// What the directory and the filter know of a key hash.
pub(super) fn high_word(key_hash: u128) -> u64 {
    (key_hash >> 64) as u64
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

fn put_u64(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}
