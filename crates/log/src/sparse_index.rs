//! Where in a segment an offset or a time is found: one entry for about every 64 KiB of frames.
//!
//! The active segment's index grows in memory. A sealed segment's is kept in `<base>.index`, loaded when a reader first needs it:
//!
//! ```text
//! byte  0        8         16       32          40            48          52     56       64
//!       ┌────────┬─────────┬────────┬───────────┬─────────────┬───────────┬──────┬────────┬──────────────────────────────────┐
//!       │ERLOGIDX│ version │ log id │ base      │ generation  │ entries   │ crc  │ zeros  │ entries: offset u64, position u64,│
//!       │        │ u64 = 1 │ 16 B   │ offset u64│ u64         │ u32       │ u32  │        │ append time µs u64                │
//!       └────────┴─────────┴────────┴───────────┴─────────────┴───────────┴──────┴────────┴──────────────────────────────────┘
//! ```
//!
//! `crc` is CRC-32C over all but itself. The index is derived: a missing, damaged or foreign one is built again by walking the
//! segment, and it is only a place to begin, since every frame is verified as it is read.

use std::io;
use std::path::Path;

use crate::checksum::crc32c;
use crate::disk::{BLOCK_BYTES, Disk, File};
use crate::frame_walker::FrameWalker;
use crate::segment_header::SegmentHeader;
use crate::wire::{bytes_at, put, u32_at, u64_at};

/// A new entry is made when this many bytes have passed since the last.
const ENTRY_EVERY_BYTES: u64 = 64 << 10;
const MAGIC: &[u8; 8] = b"ERLOGIDX";
const VERSION: u64 = 1;
const HEADER_BYTES: usize = 64;
const ENTRY_BYTES: usize = 24;
const CRC_AT: usize = 52;

/// A frame's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) offset: u64,
    pub(crate) position: u64,
    pub(crate) append_time_micros: u64,
}

/// Some of a segment's frames, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SparseIndex {
    entries: Vec<Place>,
}

impl SparseIndex {
    /// Takes note of a frame, if the last one noted is far enough behind. Frames come in order.
    pub(crate) fn note(&mut self, place: Place) {
        let far = self.entries.last().is_none_or(|last| place.position - last.position >= ENTRY_EVERY_BYTES);
        if far {
            self.entries.push(place);
        }
    }

    /// The last noted frame that begins at or before `offset`.
    pub(crate) fn before_offset(&self, offset: u64) -> Option<Place> {
        let after = self.entries.partition_point(|place| place.offset <= offset);
        after.checked_sub(1).map(|at| self.entries[at])
    }

    /// The last noted frame that was written before `micros`.
    pub(crate) fn before_time(&self, micros: u64) -> Option<Place> {
        let after = self.entries.partition_point(|place| place.append_time_micros < micros);
        after.checked_sub(1).map(|at| self.entries[at])
    }

    /// Builds it by walking a segment to the end of its valid frames.
    pub(crate) fn build(file: &dyn File, header: &SegmentHeader) -> io::Result<Self> {
        let mut index = Self::default();
        let mut walker = FrameWalker::new(file)?;
        let mut position = BLOCK_BYTES as u64;
        while let Some((frame, bytes)) = walker.frame_at(position, header.frame_seed())? {
            let append_time_micros = frame.append_time_micros;
            index.note(Place { offset: frame.base_offset, position, append_time_micros });
            position += bytes.len() as u64;
        }
        Ok(index)
    }

    /// Writes it beside its segment. It need not be durable.
    pub(crate) fn save(&self, disk: &dyn Disk, path: &Path, header: &SegmentHeader) -> io::Result<()> {
        let mut bytes = vec![0; HEADER_BYTES + self.entries.len() * ENTRY_BYTES];
        put(&mut bytes, 0, MAGIC);
        put(&mut bytes, 8, &VERSION.to_le_bytes());
        put(&mut bytes, 16, &header.log_id.0);
        put(&mut bytes, 32, &header.base_offset.to_le_bytes());
        put(&mut bytes, 40, &header.generation.to_le_bytes());
        put(&mut bytes, 48, &u32::try_from(self.entries.len()).unwrap_or(u32::MAX).to_le_bytes());
        for (place, out) in self.entries.iter().zip(bytes[HEADER_BYTES..].chunks_exact_mut(ENTRY_BYTES)) {
            put(out, 0, &place.offset.to_le_bytes());
            put(out, 8, &place.position.to_le_bytes());
            put(out, 16, &place.append_time_micros.to_le_bytes());
        }
        let crc = checksum(&bytes);
        put(&mut bytes, CRC_AT, &crc.to_le_bytes());
        let file = disk.create(path)?;
        file.write_at(&bytes, 0)
    }

    /// Reads the index beside a segment; `None` when there is none that belongs to it.
    pub(crate) fn load(disk: &dyn Disk, path: &Path, header: &SegmentHeader) -> Option<Self> {
        let file = disk.open_read_only(path).ok()?;
        let length = usize::try_from(file.len().ok()?).ok()?;
        if !(HEADER_BYTES..=64 << 20).contains(&length) {
            return None;
        }
        let mut bytes = vec![0; length];
        if file.read_at(&mut bytes, 0).ok()? != length {
            return None;
        }
        let belongs = &bytes[..8] == MAGIC
            && u64_at(&bytes, 8) == VERSION
            && bytes_at::<16>(&bytes, 16) == header.log_id.0
            && u64_at(&bytes, 32) == header.base_offset
            && u64_at(&bytes, 40) == header.generation
            && length == HEADER_BYTES + u32_at(&bytes, 48) as usize * ENTRY_BYTES
            && u32_at(&bytes, CRC_AT) == checksum(&bytes);
        let place = |entry: &[u8]| Place {
            offset: u64_at(entry, 0),
            position: u64_at(entry, 8),
            append_time_micros: u64_at(entry, 16),
        };
        belongs
            .then(|| Self { entries: bytes[HEADER_BYTES..].chunks_exact(ENTRY_BYTES).map(place).collect() })
    }
}

fn checksum(bytes: &[u8]) -> u32 {
    crc32c(crc32c(0, &bytes[..CRC_AT]), &bytes[CRC_AT + 4..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_last_place_at_or_before() {
        let mut index = SparseIndex::default();
        for i in 0..100u64 {
            index.note(Place { offset: i * 10, position: 4096 + i * 4096, append_time_micros: i });
        }
        assert_eq!(index.entries.len(), 7, "an entry for every 64 KiB");
        assert_eq!(index.before_offset(0).map(|p| p.offset), Some(0));
        assert_eq!(index.before_offset(159).map(|p| p.offset), Some(0));
        assert_eq!(index.before_offset(160).map(|p| p.offset), Some(160));
        assert_eq!(index.before_time(0), None);
        assert_eq!(index.before_time(17).map(|p| p.append_time_micros), Some(16));
    }
}
