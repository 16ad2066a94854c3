//! Reads a segment frame by frame from the medium, past the page cache.
//!
//! Opening, verifying, repairing and rebuilding indexes all walk; readers do not (see [`crate::reader`]).

use std::io;

use crate::disk::{AlignedBuffer, BLOCK_BYTES, File};
use crate::frame::{FrameHeader, peek_header, verify_frame};
use crate::segment_header::FrameSeed;

/// How much is read at once.
const WINDOW_BYTES: usize = 1 << 20;

/// A window that moves over one segment file.
pub(crate) struct FrameWalker<'a> {
    file: &'a dyn File,
    file_bytes: u64,
    window: AlignedBuffer,
    window_start: u64,
    /// How much of the window the file filled.
    filled: usize,
}

impl<'a> FrameWalker<'a> {
    pub(crate) fn new(file: &'a dyn File) -> io::Result<Self> {
        let file_bytes = file.len()?;
        Ok(Self { file, file_bytes, window: AlignedBuffer::with_capacity(0), window_start: 0, filled: 0 })
    }

    /// Where the file ends.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// The verified frame that begins at `position`, or `None`.
    pub(crate) fn frame_at(
        &mut self,
        position: u64,
        seed: FrameSeed,
    ) -> io::Result<Option<(FrameHeader, &[u8])>> {
        let Some(header) = self.header_at(position)?.filter(|header| header.generation == seed.generation)
        else {
            return Ok(None);
        };
        let bytes = header.frame_bytes();
        if position + bytes as u64 > self.file_bytes {
            return Ok(None);
        }
        let frame = self.bytes_at(position, bytes)?;
        Ok((frame.len() == bytes && verify_frame(frame, seed)).then_some((header, frame)))
    }

    /// Reads from the medium again what is asked for next.
    pub(crate) fn forget_window(&mut self) {
        self.filled = 0;
    }

    /// What looks like a frame header at `position`, of whatever generation; not verified.
    pub(crate) fn header_at(&mut self, position: u64) -> io::Result<Option<FrameHeader>> {
        if position + BLOCK_BYTES as u64 > self.file_bytes {
            return Ok(None);
        }
        Ok(peek_header(self.bytes_at(position, BLOCK_BYTES)?))
    }

    /// `count` bytes at `position`; fewer at the end of the file.
    pub(crate) fn bytes_at(&mut self, position: u64, count: usize) -> io::Result<&[u8]> {
        assert!(position.is_multiple_of(BLOCK_BYTES as u64), "frames begin at block boundaries");
        let inside = position.checked_sub(self.window_start).and_then(|at| usize::try_from(at).ok());
        let start = match inside {
            Some(at) if at + count <= self.filled => at,
            _ => {
                self.window.resize(count.next_multiple_of(BLOCK_BYTES).max(WINDOW_BYTES));
                self.filled = self.file.read_medium_at(&mut self.window, position)?;
                self.window_start = position;
                0
            }
        };
        Ok(&self.window[start..(start + count).min(self.filled)])
    }
}
