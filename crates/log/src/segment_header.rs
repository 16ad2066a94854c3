//! The first block of a segment file.
//!
//! ```text
//! byte   0        8         12          16        32            40           48         56             64         4092
//!        ┌────────┬─────────┬───────────┬─────────┬─────────────┬────────────┬──────────┬──────────────┬──────────┬─────┐
//!        │ERLOGSEG│ version │ block     │ log id  │ base offset │ generation │ previous │ created      │ zeros    │ crc │
//!        │        │ u32 = 1 │ bytes u32 │ 16 B    │ u64         │ u64        │ base u64 │ µs u64       │          │ u32 │
//!        └────────┴─────────┴───────────┴─────────┴─────────────┴────────────┴──────────┴──────────────┴──────────┴─────┘
//! ```
//!
//! All numbers are little-endian. `crc` is CRC-32C over bytes 0 to 4091. `previous base` is the base offset of the
//! segment before this one (of the log's first segment: its own), so that a missing middle segment is noticed.
//! `generation` differs each time a file is taken into use, so frames of an earlier life of a recycled file never verify.

use crate::LogId;
use crate::checksum::crc32c;
use crate::disk::{AlignedBuffer, BLOCK_BYTES};
use crate::wire::{bytes_at, put, u32_at, u64_at};

const MAGIC: &[u8; 8] = b"ERLOGSEG";
/// The version of the segment and frame format that this build writes and reads.
pub const FORMAT_VERSION: u32 = 1;
const CRC_AT: usize = BLOCK_BYTES - 4;

/// What the first block of a segment says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) log_id: LogId,
    pub(crate) base_offset: u64,
    pub(crate) generation: u64,
    pub(crate) previous_base: u64,
    pub(crate) created_micros: u64,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> AlignedBuffer {
        let mut block = AlignedBuffer::zeroed(BLOCK_BYTES);
        put(&mut block, 0, MAGIC);
        put(&mut block, 8, &FORMAT_VERSION.to_le_bytes());
        #[allow(clippy::cast_possible_truncation, reason = "4096")]
        put(&mut block, 12, &(BLOCK_BYTES as u32).to_le_bytes());
        put(&mut block, 16, &self.log_id.0);
        put(&mut block, 32, &self.base_offset.to_le_bytes());
        put(&mut block, 40, &self.generation.to_le_bytes());
        put(&mut block, 48, &self.previous_base.to_le_bytes());
        put(&mut block, 56, &self.created_micros.to_le_bytes());
        let crc = crc32c(0, &block[..CRC_AT]);
        put(&mut block, CRC_AT, &crc.to_le_bytes());
        block
    }

    /// Reads a header and says what is wrong with one that is none.
    pub(crate) fn decode(block: &[u8]) -> Result<Self, HeaderFault> {
        if block.len() < BLOCK_BYTES {
            return Err(HeaderFault::Short);
        }
        if u32_at(block, CRC_AT) != crc32c(0, &block[..CRC_AT]) || &block[..8] != MAGIC {
            return Err(HeaderFault::Checksum);
        }
        let version = u32_at(block, 8);
        if version != FORMAT_VERSION || u32_at(block, 12) as usize != BLOCK_BYTES {
            return Err(HeaderFault::Version(version));
        }
        Ok(Self {
            log_id: LogId(bytes_at(block, 16)),
            base_offset: u64_at(block, 32),
            generation: u64_at(block, 40),
            previous_base: u64_at(block, 48),
            created_micros: u64_at(block, 56),
        })
    }

    /// What the checksums of this segment's frames start from.
    pub(crate) fn frame_seed(&self) -> FrameSeed {
        FrameSeed::new(self.log_id, self.base_offset, self.generation)
    }
}

/// Why a block is no segment header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderFault {
    /// The file ends inside its header.
    #[error("the file ends inside its header")]
    Short,
    /// The checksum does not match.
    #[error("the segment header's checksum does not match")]
    Checksum,
    /// A format that this build does not read.
    #[error("format version {0} is not the one this build reads ({FORMAT_VERSION})")]
    Version(u32),
}

/// Ties a frame to one life of one segment of one log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameSeed {
    pub(crate) generation: u64,
    pub(crate) crc: u32,
}

impl FrameSeed {
    pub(crate) fn new(log_id: LogId, base_offset: u64, generation: u64) -> Self {
        let crc = crc32c(0, &log_id.0);
        let crc = crc32c(crc, &base_offset.to_le_bytes());
        Self { generation, crc: crc32c(crc, &generation.to_le_bytes()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> SegmentHeader {
        SegmentHeader {
            log_id: LogId([7; 16]),
            base_offset: 42,
            generation: 9,
            previous_base: 3,
            created_micros: 77,
        }
    }

    #[test]
    fn round_trip() {
        assert_eq!(SegmentHeader::decode(&header().encode()), Ok(header()));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let good = header().encode();
        for bit in 0..good.len() * 8 {
            let mut bad = good.to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::decode(&bad).is_err(), "bit {bit}");
        }
        assert_eq!(
            SegmentHeader::decode(&[0; BLOCK_BYTES]),
            Err(HeaderFault::Checksum),
            "zeros are no header"
        );
        assert_eq!(SegmentHeader::decode(&good[..100]), Err(HeaderFault::Short));
    }
}
