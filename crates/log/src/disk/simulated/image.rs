//! The bytes of a file, shared by every copy of the disk until one of them writes: a copy costs two reference
//! counts, so that thousands of crashes a second can be tried.

use std::iter;
use std::ops::Range;
use std::sync::Arc;

use crate::disk::BLOCK_BYTES;

/// What a disk writes as a whole or not at all.
pub const SECTOR_BYTES: usize = 512;

type Block = Arc<[u8; BLOCK_BYTES]>;

#[derive(Debug, Clone, Default)]
pub(super) struct Image {
    length: u64,
    /// A block that was never written takes no space and reads as zeros. There may be blocks past the length:
    /// data that reached the medium when the new length did not.
    blocks: Arc<Vec<Option<Block>>>,
}

impl Image {
    pub(super) fn len(&self) -> u64 {
        self.length
    }

    /// Reads up to the length; returns how many bytes.
    pub(super) fn read(&self, buffer: &mut [u8], position: u64) -> usize {
        let count = to_index(self.length.saturating_sub(position)).min(buffer.len());
        for piece in pieces(position, count) {
            let target = &mut buffer[piece.buffer];
            match self.blocks.get(piece.block) {
                Some(Some(block)) => target.copy_from_slice(&block[piece.start..piece.start + target.len()]),
                _ => target.fill(0),
            }
        }
        count
    }

    /// Writes without changing the length.
    pub(super) fn write(&mut self, bytes: &[u8], position: u64) {
        let blocks = Arc::make_mut(&mut self.blocks);
        for piece in pieces(position, bytes.len()) {
            if blocks.len() <= piece.block {
                blocks.resize(piece.block + 1, None);
            }
            let block = blocks[piece.block].get_or_insert_with(|| Arc::new([0; BLOCK_BYTES]));
            let source = &bytes[piece.buffer];
            Arc::make_mut(block)[piece.start..piece.start + source.len()].copy_from_slice(source);
        }
    }

    /// Cuts (what was past the cut is gone for good) or extends.
    pub(super) fn set_len(&mut self, length: u64) {
        let cuts = length < self.length;
        self.length = length;
        if cuts {
            self.discard_past_length();
        }
    }

    /// Forgets data past the length, so that a later extension reads as zeros.
    pub(super) fn discard_past_length(&mut self) {
        let length = to_index(self.length);
        if self.blocks.len() * BLOCK_BYTES <= length {
            return;
        }
        let blocks = Arc::make_mut(&mut self.blocks);
        blocks.truncate(length.div_ceil(BLOCK_BYTES));
        if !length.is_multiple_of(BLOCK_BYTES)
            && let Some(Some(last)) = blocks.last_mut()
        {
            Arc::make_mut(last)[length % BLOCK_BYTES..].fill(0);
        }
    }

    /// One whole sector, whatever the length.
    pub(super) fn sector(&self, sector: u64) -> [u8; SECTOR_BYTES] {
        let start = to_index(sector) * SECTOR_BYTES;
        let mut bytes = [0; SECTOR_BYTES];
        if let Some(Some(block)) = self.blocks.get(start / BLOCK_BYTES) {
            bytes.copy_from_slice(&block[start % BLOCK_BYTES..start % BLOCK_BYTES + SECTOR_BYTES]);
        }
        bytes
    }

    /// The space it takes.
    pub(super) fn allocated_bytes(&self) -> u64 {
        (self.blocks.iter().flatten().count() * BLOCK_BYTES) as u64
    }

    pub(super) fn is_allocated(&self, block: usize) -> bool {
        matches!(self.blocks.get(block), Some(Some(_)))
    }
}

/// The part of a transfer that falls into one block.
struct Piece {
    block: usize,
    start: usize,
    buffer: Range<usize>,
}

fn pieces(position: u64, count: usize) -> impl Iterator<Item = Piece> {
    let first = to_index(position);
    let mut done = 0;
    iter::from_fn(move || {
        if done == count {
            return None;
        }
        let start = (first + done) % BLOCK_BYTES;
        let length = (BLOCK_BYTES - start).min(count - done);
        let piece = Piece { block: (first + done) / BLOCK_BYTES, start, buffer: done..done + length };
        done += length;
        Some(piece)
    })
}

/// A position as an index. Simulated files are limited to what memory can index, so nothing is lost.
pub(super) fn to_index(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_is_not_undone_by_an_extension() {
        let mut image = Image::default();
        image.set_len(3 * BLOCK_BYTES as u64);
        image.write(&[7; 3 * BLOCK_BYTES], 0);
        image.set_len(100);
        image.set_len(3 * BLOCK_BYTES as u64);
        let mut bytes = vec![1; 3 * BLOCK_BYTES];
        assert_eq!(image.read(&mut bytes, 0), 3 * BLOCK_BYTES);
        assert!(bytes[..100].iter().all(|byte| *byte == 7));
        assert!(bytes[100..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn copies_do_not_see_each_others_writes() {
        let mut image = Image::default();
        image.set_len(10_000);
        image.write(&[1; 10_000], 0);
        let mut copy = image.clone();
        copy.write(&[2; 10], 4_090);
        let mut bytes = [0; 12];
        image.read(&mut bytes, 4_089);
        assert_eq!(bytes, [1; 12]);
        copy.read(&mut bytes, 4_089);
        assert_eq!(bytes, [1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1]);
    }

    #[test]
    fn holes_read_as_zeros_and_take_no_space() {
        let mut image = Image::default();
        image.set_len(1 << 20);
        image.write(&[9], 500_000);
        assert_eq!(image.allocated_bytes(), BLOCK_BYTES as u64);
        let mut bytes = [5; 4];
        assert_eq!(image.read(&mut bytes, (1 << 20) - 2), 2);
        assert_eq!(bytes, [0, 0, 5, 5]);
    }
}
