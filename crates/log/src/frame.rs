//! A frame: one commit on disk.
//!
//! ```text
//! byte  0      4      5      6     8        12      16           24            32            40             48     60    64
//!       ┌──────┬──────┬──────┬─────┬────────┬───────┬────────────┬─────────────┬─────────────┬──────────────┬──────┬─────┬──────┬─────┐
//!       │ ERFR │ ver  │flags │  0  │ body   │ count │ generation │ base offset │ append time │ durable      │ 0    │ crc │ body │  0  │
//!       │      │ u8=1 │ u8   │     │bytes u32 u32   │ u64        │ u64         │ µs u64      │ offset u64   │      │ u32 │      │     │
//!       └──────┴──────┴──────┴─────┴────────┴───────┴────────────┴─────────────┴─────────────┴──────────────┴──────┴─────┴──────┴─────┘
//! ```
//!
//! Little-endian. A frame begins and ends at a multiple of 4,096 bytes: no write of one frame touches a block of another,
//! so a torn write cannot hurt an acknowledged neighbour. `crc` is CRC-32C over the whole padded frame but itself, started
//! from the log's id, the segment's base offset and its generation: a frame of another log, another segment or an earlier
//! life of a recycled file never verifies, and neither do zeros.
//!
//! `durable offset` is what the writer knew to be durable when it wrote the frame. It is the evidence by which opening tells
//! a torn tail (never acknowledged) from damage (acknowledged): see [`crate::tail_scan`].
//!
//! | flag | count | body | meaning |
//! |---|---|---|---|
//! | 0 | n ≥ 1 | n records | a commit of the offsets `base … base + n − 1` |
//! | 1 mark | 0 | empty | only says that everything below `durable offset` is durable |
//! | 2 gap | 0 | u64 | repair put it where frames were lost: the next `u64` offsets are gone |

use bytes::Bytes;

use crate::checksum::crc32c;
use crate::disk::{AlignedBuffer, BLOCK_BYTES};
use crate::record::{Record, decode_record};
use crate::segment_header::FrameSeed;
use crate::wire::{put, u32_at, u64_at};

pub(crate) const FRAME_HEADER_BYTES: usize = 64;
const MAGIC: &[u8; 4] = b"ERFR";
const VERSION: u8 = 1;
const CRC_AT: usize = 60;

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FrameKind {
    Records { count: u32 },
    Mark,
    Gap { lost: u64 },
}

/// A frame's header, read but for the checksum: only [`verify_frame`] makes it evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) kind: FrameKind,
    pub(crate) body_bytes: usize,
    pub(crate) generation: u64,
    pub(crate) base_offset: u64,
    pub(crate) append_time_micros: u64,
    pub(crate) durable_offset: u64,
}

impl FrameHeader {
    /// The bytes of the whole frame on disk.
    pub(crate) fn frame_bytes(&self) -> usize {
        padded(FRAME_HEADER_BYTES + self.body_bytes)
    }

    /// The offset after the frame.
    pub(crate) fn end_offset(&self) -> u64 {
        match self.kind {
            FrameKind::Records { count } => self.base_offset + u64::from(count),
            FrameKind::Mark => self.base_offset,
            FrameKind::Gap { lost } => self.base_offset + lost,
        }
    }
}

/// `bytes` rounded up to whole blocks.
pub(crate) fn padded(bytes: usize) -> usize {
    bytes.next_multiple_of(BLOCK_BYTES)
}

/// Makes `buffer` ready for a frame's body.
pub(crate) fn begin_frame(buffer: &mut AlignedBuffer) {
    buffer.clear();
    buffer.resize(FRAME_HEADER_BYTES);
}

/// Pads the body in `buffer`, and writes the header before it.
pub(crate) fn finish_frame(buffer: &mut AlignedBuffer, seed: FrameSeed, frame: &FrameFields) {
    let (flags, count) = match frame.kind {
        FrameKind::Records { count } => (0u8, count),
        FrameKind::Mark => (1, 0),
        FrameKind::Gap { lost } => {
            buffer.extend_from_slice(&lost.to_le_bytes());
            (2, 0)
        }
    };
    let body_bytes = u32::try_from(buffer.len() - FRAME_HEADER_BYTES).unwrap_or(u32::MAX);
    assert!(body_bytes < u32::MAX, "a frame is smaller than 4 GiB");
    buffer.resize(padded(buffer.len()));
    put(buffer, 0, MAGIC);
    buffer[4] = VERSION;
    buffer[5] = flags;
    put(buffer, 8, &body_bytes.to_le_bytes());
    put(buffer, 12, &count.to_le_bytes());
    put(buffer, 16, &seed.generation.to_le_bytes());
    put(buffer, 24, &frame.base_offset.to_le_bytes());
    put(buffer, 32, &frame.append_time_micros.to_le_bytes());
    put(buffer, 40, &frame.durable_offset.to_le_bytes());
    write_checksum(buffer, seed);
}

/// Makes a whole frame one of another segment, or of another life of its segment.
pub(crate) fn reseed_frame(buffer: &mut AlignedBuffer, seed: FrameSeed) {
    put(buffer, 16, &seed.generation.to_le_bytes());
    write_checksum(buffer, seed);
}

fn write_checksum(buffer: &mut AlignedBuffer, seed: FrameSeed) {
    let crc = crc32c(crc32c(seed.crc, &buffer[..CRC_AT]), &buffer[FRAME_HEADER_BYTES..]);
    put(buffer, CRC_AT, &crc.to_le_bytes());
}

/// What [`finish_frame`] writes into the header.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FrameFields {
    pub(crate) kind: FrameKind,
    pub(crate) base_offset: u64,
    pub(crate) append_time_micros: u64,
    pub(crate) durable_offset: u64,
}

/// Reads a header that looks like one. It proves nothing yet.
pub(crate) fn peek_header(block: &[u8]) -> Option<FrameHeader> {
    if block.len() < FRAME_HEADER_BYTES + 8 || &block[..4] != MAGIC || block[4] != VERSION {
        return None;
    }
    let count = u32_at(block, 12);
    let kind = match block[5] {
        0 if count > 0 => FrameKind::Records { count },
        1 => FrameKind::Mark,
        2 => FrameKind::Gap { lost: u64_at(block, FRAME_HEADER_BYTES) },
        _ => return None,
    };
    let header = FrameHeader {
        kind,
        body_bytes: u32_at(block, 8) as usize,
        generation: u64_at(block, 16),
        base_offset: u64_at(block, 24),
        append_time_micros: u64_at(block, 32),
        durable_offset: u64_at(block, 40),
    };
    let in_range = match kind {
        FrameKind::Records { .. } | FrameKind::Mark => true,
        FrameKind::Gap { lost } => lost <= 1 << 62,
    };
    (in_range && header.base_offset < 1 << 62).then_some(header)
}

/// Whether `frame`, as long as its header says, is a frame of this life of this segment.
pub(crate) fn verify_frame(frame: &[u8], seed: FrameSeed) -> bool {
    u64_at(frame, 16) == seed.generation
        && u32_at(frame, CRC_AT) == crc32c(crc32c(seed.crc, &frame[..CRC_AT]), &frame[FRAME_HEADER_BYTES..])
}

/// One verified commit: records of consecutive offsets with one append time. Cheap to clone.
///
/// A frame that repair put in the place of lost ones has offsets but no records.
#[derive(Debug, Clone)]
pub struct Frame {
    /// The first record's offset.
    pub base_offset: u64,
    /// How many offsets it covers.
    pub count: u64,
    /// When the commit was written, microseconds since the Unix epoch.
    pub append_time_micros: u64,
    /// The records, or nothing in a gap.
    body: Bytes,
}

impl Frame {
    /// The frame in `bytes`, which has been verified and is no mark.
    pub(crate) fn new(header: &FrameHeader, bytes: &Bytes) -> Self {
        assert!(header.kind != FrameKind::Mark, "a mark holds no offsets");
        let body = match header.kind {
            FrameKind::Records { .. } => {
                bytes.slice(FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + header.body_bytes)
            }
            FrameKind::Mark | FrameKind::Gap { .. } => Bytes::new(),
        };
        Self {
            base_offset: header.base_offset,
            count: header.end_offset() - header.base_offset,
            append_time_micros: header.append_time_micros,
            body,
        }
    }

    /// The offset after the last one.
    #[must_use]
    pub fn end_offset(&self) -> u64 {
        self.base_offset + self.count
    }

    /// Whether these offsets were lost and given up by an operator's repair.
    #[must_use]
    pub fn is_gap(&self) -> bool {
        self.body.is_empty()
    }

    /// What it takes in memory, however few of its records are held.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        padded(FRAME_HEADER_BYTES + self.body.len())
    }

    /// The records from `offset` on, sharing the frame's memory.
    pub fn records_from(&self, offset: u64) -> impl Iterator<Item = Record> + '_ {
        let mut at = 0;
        let mut next = self.base_offset;
        std::iter::from_fn(move || {
            while let Some(span) = decode_record(&self.body, at) {
                at = span.payload_end;
                let here = next;
                next += 1;
                if here >= offset {
                    return Some(Record {
                        offset: here,
                        append_time_micros: self.append_time_micros,
                        key: span.key,
                        payload: self.body.slice(span.payload_start..span.payload_end),
                    });
                }
            }
            None
        })
    }

    /// The record at `offset`, when it is in this frame.
    #[must_use]
    pub fn record(&self, offset: u64) -> Option<Record> {
        (offset >= self.base_offset).then(|| self.records_from(offset).next()).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LogId;
    use crate::record::{Group, Key};

    fn seed() -> FrameSeed {
        FrameSeed::new(LogId([1; 16]), 0, 5)
    }

    fn frame_of(payloads: &[&[u8]]) -> AlignedBuffer {
        let mut group = Group::new();
        for (i, payload) in payloads.iter().enumerate() {
            let key = (i % 2 == 1).then_some(Key { hash: i as u128, fingerprint: 9 });
            group.push(key, |out| out.extend_from_slice(payload));
        }
        let mut buffer = AlignedBuffer::with_capacity(0);
        begin_frame(&mut buffer);
        buffer.extend_from_slice(&group.bytes);
        let kind = FrameKind::Records { count: payloads.len() as u32 };
        let fields = FrameFields { kind, base_offset: 10, append_time_micros: 3, durable_offset: 10 };
        finish_frame(&mut buffer, seed(), &fields);
        buffer
    }

    #[test]
    fn records_come_back() {
        let buffer = frame_of(&[b"a", b"", b"ccc"]);
        assert!(verify_frame(&buffer, seed()));
        let header = peek_header(&buffer).unwrap();
        assert_eq!(header.frame_bytes(), buffer.len());
        let frame = Frame::new(&header, &Bytes::copy_from_slice(&buffer));
        let all: Vec<_> =
            frame.records_from(0).map(|r| (r.offset, r.payload.to_vec(), r.key.map(|k| k.hash))).collect();
        assert_eq!(all, [(10, b"a".to_vec(), None), (11, vec![], Some(1)), (12, b"ccc".to_vec(), None)]);
        assert_eq!(frame.record(12).unwrap().payload, "ccc");
        assert!(frame.record(9).is_none() && frame.record(13).is_none());
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let good = frame_of(&[b"hello", b"world"]);
        for bit in 0..good.len() * 8 {
            let mut bad = good.to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            let seen =
                peek_header(&bad).is_some_and(|h| h.frame_bytes() == bad.len() && verify_frame(&bad, seed()));
            assert!(!seen, "bit {bit}");
        }
    }

    #[test]
    fn other_lives_and_zeros_never_verify() {
        let frame = frame_of(&[b"x"]);
        let log = LogId([1; 16]);
        assert!(!verify_frame(&frame, FrameSeed::new(log, 0, 6)), "another generation");
        assert!(!verify_frame(&frame, FrameSeed::new(log, 1, 5)), "another segment");
        assert!(!verify_frame(&frame, FrameSeed::new(LogId([2; 16]), 0, 5)), "another log");
        assert!(peek_header(&[0; BLOCK_BYTES]).is_none());
        assert!(!verify_frame(&[0; BLOCK_BYTES], seed()));
    }
}
