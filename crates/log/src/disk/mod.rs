//! All the I/O that the log does goes through [`Disk`], so that a simulated disk can lose, tear, flip, fill
//! and fail.
//!
//! The contract is what POSIX and ext4 give, and no more:
//! - [`File::write_at`] and a new length are not durable until [`File::sync`] on the *same handle* returned Ok.
//! - [`File::write_durable_at`] is durable when it returns Ok; when it fails, any sectors of it may be on the
//!   disk.
//! - A created, renamed or removed name is not durable until [`Disk::sync_directory`] returned Ok.
//! - After a failed sync nothing is known of what was written since the last good one, and a later sync that
//!   returns Ok proves nothing about it.
//! - After a failed write the page cache may show bytes that are not on the medium; only
//!   [`File::read_medium_at`] after a good [`File::sync`] tells what is there.

mod aligned;
mod real;
#[cfg(any(test, feature = "simulated-disk"))]
pub mod simulated;
#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;

pub use aligned::AlignedBuffer;
pub use real::RealDisk;

/// Where a write can be torn, and what the kernel wants of direct I/O: positions, lengths and buffers are
/// multiples of this.
pub const BLOCK_BYTES: usize = 4096;

/// The most that [`File::write_zeros_at`] hands over at once. Static zeros cost no memory until they are read.
const ZERO_BYTES: usize = 1024 * 1024;
static ZEROS: [u8; ZERO_BYTES] = [0; ZERO_BYTES];

/// How [`File::write_durable_at`] reaches the medium.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DurableWrites {
    /// Past the page cache, durable at the write itself. Writes to one file may run side by side, since each
    /// hears of its own error. Falls back to `Buffered`, file by file, where the file system has no direct
    /// I/O.
    #[default]
    Direct,
    /// Through the page cache, then a sync. One write at a time for each file: the kernel reports a failed
    /// write-back once per descriptor, so of two threads on one descriptor the first to sync would take the
    /// error that belongs to the other. Further writers wait, so several in flight gain nothing.
    Buffered,
}

/// A file system.
pub trait Disk: Send + Sync + 'static {
    /// Creates a file that must not exist yet. The name is durable after [`Disk::sync_directory`].
    fn create(&self, path: &Path) -> io::Result<Box<dyn File>>;
    /// Opens an existing file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Box<dyn File>>;
    /// Opens an existing file for reading.
    fn open_read_only(&self, path: &Path) -> io::Result<Box<dyn File>>;
    /// Renames a file, replacing what has the new name. Durable after [`Disk::sync_directory`].
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file. Durable after [`Disk::sync_directory`].
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes a directory and its missing parents durable.
    fn create_directory(&self, path: &Path) -> io::Result<()>;
    /// Makes every creation, rename and removal in this directory durable.
    fn sync_directory(&self, path: &Path) -> io::Result<()>;
    /// The names of the files in a directory, in order.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;
    /// Bytes that this process may still write on the file system of `path`.
    fn available_bytes(&self, path: &Path) -> io::Result<u64>;
    /// Takes an exclusive lock on the file at `path`, creating it; it lasts until the value is dropped or the
    /// process ends. `ErrorKind::WouldBlock` when another process has it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>>;
}

/// An open file. Its methods may be called from several threads. Ones that want blocks answer
/// `ErrorKind::InvalidInput` to a position or length that is not a multiple of [`BLOCK_BYTES`].
pub trait File: Send + Sync {
    /// The length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether the length is 0.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Reads up to `buffer.len()` bytes at `position`; fewer only at the end of the file. May be served by
    /// the page cache.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize>;
    /// The same from the medium itself, past the page cache. Position and length are block-aligned. Call
    /// [`File::sync`] first: bytes that are still dirty count as read from the medium, yet a power cut loses
    /// them.
    fn read_medium_at(&self, buffer: &mut AlignedBuffer, position: u64) -> io::Result<usize>;
    /// Writes all of `bytes` at `position`; on failure any part of it may have been written. Not durable
    /// until `sync`.
    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()>;
    /// Writes zeros, as [`File::write_at`]: a file filled this way has its blocks allocated *and* written, so
    /// that later overwrites need neither space nor a metadata commit.
    fn write_zeros_at(&self, position: u64, bytes: u64) -> io::Result<()> {
        let mut written = 0;
        while written < bytes {
            let piece = usize::try_from(bytes - written).unwrap_or(ZERO_BYTES).min(ZERO_BYTES);
            self.write_at(&ZEROS[..piece], position + written)?;
            written += piece as u64;
        }
        Ok(())
    }
    /// Writes all of `bytes` at `position` and returns once they, and the length, are durable. Position and
    /// length are block-aligned. An error belongs to this very write, whatever other threads write; see
    /// [`DurableWrites`].
    fn write_durable_at(&self, bytes: &AlignedBuffer, position: u64) -> io::Result<()>;
    /// Makes what this handle wrote, and the length, durable.
    fn sync(&self) -> io::Result<()>;
    /// Cuts or extends the file; an extension reads as zeros.
    fn set_len(&self, bytes: u64) -> io::Result<()>;
}

/// Proof that this process alone has a directory.
pub trait Lock: Send + Sync {}

/// Refuses what direct I/O would refuse, on every disk and in every mode, so that no caller comes to rely on
/// less.
fn check_block_aligned(position: u64, bytes: usize) -> io::Result<()> {
    let block_bytes = BLOCK_BYTES as u64;
    if position.is_multiple_of(block_bytes) && bytes.is_multiple_of(BLOCK_BYTES) {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("{bytes} bytes at {position} are not whole blocks of {BLOCK_BYTES}"),
    ))
}
