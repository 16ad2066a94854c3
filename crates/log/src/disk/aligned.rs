//! A byte buffer whose content begins at a block boundary in memory, as direct I/O wants it, in safe code.

use std::fmt;
use std::ops::{Deref, DerefMut};

use super::BLOCK_BYTES;

/// Bytes that begin at a multiple of [`BLOCK_BYTES`] in memory. Its length may be anything.
pub struct AlignedBuffer {
    /// Allocated one block longer than asked, so that an aligned start always exists. Never reallocated in
    /// place.
    storage: Vec<u8>,
    start: usize,
}

impl AlignedBuffer {
    /// An empty buffer that holds `capacity` bytes without allocating again.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        let mut storage: Vec<u8> = Vec::with_capacity(capacity + BLOCK_BYTES);
        let start = storage.as_ptr().align_offset(BLOCK_BYTES);
        assert!(start < BLOCK_BYTES, "the allocator can align a byte pointer");
        storage.resize(start, 0);
        Self { storage, start }
    }

    /// `length` zero bytes.
    #[must_use]
    pub fn zeroed(length: usize) -> Self {
        let mut buffer = Self::with_capacity(length);
        buffer.resize(length);
        buffer
    }

    /// How many bytes fit without allocating again.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.storage.capacity() - BLOCK_BYTES
    }

    /// Makes room for `additional` more bytes, moving to a larger aligned allocation when needed.
    pub fn reserve(&mut self, additional: usize) {
        let needed = self.len() + additional;
        if needed > self.capacity() {
            let mut larger = Self::with_capacity(needed.max(self.capacity() * 2));
            larger.storage.extend_from_slice(self);
            *self = larger;
        }
    }

    /// Appends bytes.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        self.storage.extend_from_slice(bytes);
    }

    /// Sets the length; new bytes are zero.
    pub fn resize(&mut self, length: usize) {
        self.reserve(length.saturating_sub(self.len()));
        self.storage.resize(self.start + length, 0);
    }

    /// Empties it, keeping the allocation.
    pub fn clear(&mut self) {
        self.storage.truncate(self.start);
    }
}

impl Deref for AlignedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.storage[self.start..]
    }
}

impl DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.storage[self.start..]
    }
}

impl AsRef<[u8]> for AlignedBuffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for AlignedBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AlignedBuffer({} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_aligned_and_keeps_its_bytes_as_it_grows() {
        let mut buffer = AlignedBuffer::with_capacity(10);
        let mut expected = Vec::new();
        for piece in 0..200_u8 {
            buffer.extend_from_slice(&[piece; 777]);
            expected.extend_from_slice(&[piece; 777]);
            assert_eq!(buffer.as_ptr().align_offset(BLOCK_BYTES), 0);
        }
        assert_eq!(buffer[..], expected[..]);
    }

    #[test]
    fn it_does_not_move_within_its_capacity() {
        let mut buffer = AlignedBuffer::with_capacity(3 * BLOCK_BYTES);
        let start = buffer.as_ptr();
        buffer.resize(buffer.capacity());
        assert_eq!(buffer.as_ptr(), start);
        buffer.fill(9);
        buffer.clear();
        assert!(buffer.is_empty());
        buffer.resize(BLOCK_BYTES);
        assert_eq!(buffer.as_ptr(), start);
        assert_eq!(buffer[..], [0; BLOCK_BYTES], "old bytes do not come back");
    }
}
