//! An open file: one descriptor through the page cache and, where the file system has direct I/O, one past it.
//!
//! # Which descriptor does what
//! `read_at`, `write_at`, `set_len` and `sync` use the buffered descriptor. `write_durable_at` (in
//! [`DurableWrites::Direct`]) and `read_medium_at` use the direct one, opened `O_DIRECT`.
//!
//! Durable writes are `pwritev2` with `RWF_DSYNC`, which is `O_DSYNC` for one call: POSIX's `write` followed by
//! `fdatasync`, of just these bytes. On a block that is already written the kernel sends one write with forced unit
//! access (or a write and a cache flush), and the call returns the device's answer to *this* write. A buffered
//! write-back error, in contrast, is kept by the file and told once to each descriptor. (The flag goes with the call
//! because `rustix` has no `O_DSYNC` on Linux: its `OFlags::DSYNC` is `O_SYNC`, which syncs the file's times too.)
//!
//! # Coherence
//! The kernel writes out and drops the cached pages under a direct access, so the two descriptors see one
//! file as long as nobody writes the same range through both at once. The log does not: buffered writes
//! (zeros, the header) come before a segment is in use and are synced before its first direct write.
//!
//! # Falling back
//! A file system without direct I/O says `EINVAL` when the direct descriptor is opened or first used. Then durable
//! writes are `pwrite` and `fdatasync` on the buffered descriptor, under a lock (see
//! [`DurableWrites::Buffered`]), and reads of the medium first ask the kernel to drop the range from its
//! cache.

use std::fs::{self, OpenOptions};
use std::io::{self, IoSlice};
use std::num::NonZeroU64;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use rustix::fs::{Advice, OFlags};
use rustix::io::{Errno, ReadWriteFlags};

use super::descriptor_path;
use crate::disk::{AlignedBuffer, BLOCK_BYTES, DurableWrites, File, ZERO_BYTES, check_block_aligned};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    ReadOnly,
    ReadWrite,
}

#[derive(Debug)]
pub(super) struct RealFile {
    buffered: fs::File,
    access: Access,
    durable_writes: DurableWrites,
    /// `None` where the file system has no direct I/O.
    direct: OnceLock<Option<fs::File>>,
    /// Set when the file system opened the direct descriptor, and then refused to use it.
    direct_refused: AtomicBool,
    /// Held from a write to the answer of its sync, so that no other thread's sync takes the answer.
    buffered_sync: Mutex<()>,
}

impl RealFile {
    /// In direct mode the second descriptor of a writable file is opened now: running out of descriptors then
    /// fails the opening, which a caller can put off, and not a commit. Readers open theirs when they first
    /// ask for the medium.
    pub(super) fn new(buffered: fs::File, access: Access, durable_writes: DurableWrites) -> io::Result<Self> {
        let file = Self {
            buffered,
            access,
            durable_writes,
            direct: OnceLock::new(),
            direct_refused: AtomicBool::new(false),
            buffered_sync: Mutex::new(()),
        };
        if access == Access::ReadWrite && durable_writes == DurableWrites::Direct {
            file.direct()?;
        }
        Ok(file)
    }

    /// The direct descriptor, if the file system has such.
    fn direct(&self) -> io::Result<Option<&fs::File>> {
        if self.direct_refused.load(Ordering::Relaxed) {
            return Ok(None);
        }
        if let Some(direct) = self.direct.get() {
            return Ok(direct.as_ref());
        }
        let opened = self.open_direct()?;
        // Two threads may both get here; the descriptor of the later one is closed again.
        Ok(self.direct.get_or_init(|| opened).as_ref())
    }

    /// Opened through the buffered descriptor and not by name: a segment is renamed while it is open.
    fn open_direct(&self) -> io::Result<Option<fs::File>> {
        let opened = OpenOptions::new()
            .read(true)
            .write(self.access == Access::ReadWrite)
            .custom_flags(OFlags::DIRECT.bits().cast_signed())
            .open(descriptor_path(self.buffered.as_raw_fd()));
        match opened {
            Ok(file) => Ok(Some(file)),
            Err(error) if Errno::from_io_error(&error).is_some_and(is_unsupported) => Ok(None),
            // There is no /proc here.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// How many of the bytes were written past the page cache: all, unless the rest has to go through it.
    fn write_direct(
        &self,
        direct: &fs::File,
        bytes: &[u8],
        position: u64,
        flags: ReadWriteFlags,
    ) -> io::Result<usize> {
        let mut written = 0;
        while written < bytes.len() {
            let rest = [IoSlice::new(&bytes[written..])];
            match rustix::io::pwritev2(direct, &rest, position + written as u64, flags) {
                // A partial write goes on from its last whole block, for the next one must be aligned again.
                // Where a full disk cut it short, the next write says so.
                Ok(count) if count >= BLOCK_BYTES => written += count - count % BLOCK_BYTES,
                Ok(_) => break,
                Err(Errno::INTR) => {}
                Err(error) if is_unsupported(error) => {
                    self.direct_refused.store(true, Ordering::Relaxed);
                    break;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(written)
    }

    fn write_buffered_and_sync(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        let _alone = self.hold_buffered_sync();
        self.buffered.write_all_at(bytes, position)?;
        self.buffered.sync_data()
    }

    fn hold_buffered_sync(&self) -> MutexGuard<'_, ()> {
        // The lock guards no data that a panic could have left half-changed.
        self.buffered_sync.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None` when the file system turns out to have no direct I/O.
    fn read_direct(&self, direct: &fs::File, buffer: &mut [u8], position: u64) -> io::Result<Option<usize>> {
        let mut filled = 0;
        while filled < buffer.len() {
            match direct.read_at(&mut buffer[filled..], position + filled as u64) {
                Ok(count) => {
                    filled += count;
                    if count == 0 || !count.is_multiple_of(BLOCK_BYTES) {
                        return self.check_end_of_file(position, filled).map(Some);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if Errno::from_io_error(&error).is_some_and(is_unsupported) => {
                    self.direct_refused.store(true, Ordering::Relaxed);
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Some(filled))
    }

    /// A short direct read must be the end of the file: taken for it in the middle, it would hide what follows.
    fn check_end_of_file(&self, position: u64, filled: usize) -> io::Result<usize> {
        let length = self.len()?;
        if position + (filled as u64) < length {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("the medium gave {filled} bytes at {position} of a file of {length}"),
            ));
        }
        Ok(filled)
    }
}

impl File for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.buffered.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.buffered.read_at(&mut buffer[filled..], position + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn read_medium_at(&self, buffer: &mut AlignedBuffer, position: u64) -> io::Result<usize> {
        check_block_aligned(position, buffer.len())?;
        let Some(length) = NonZeroU64::new(buffer.len() as u64) else {
            return Ok(0);
        };
        if let Some(direct) = self.direct()?
            && let Some(count) = self.read_direct(direct, buffer, position)?
        {
            return Ok(count);
        }
        rustix::fs::fadvise(&self.buffered, position, Some(length), Advice::DontNeed)?;
        self.read_at(buffer, position)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.buffered.write_all_at(bytes, position)
    }

    /// Past the page cache, where that is possible: nobody reads them, they would push out what others read, and copying
    /// them takes more of the processor than writing them.
    fn write_zeros_at(&self, position: u64, bytes: u64) -> io::Result<()> {
        let zeros = AlignedBuffer::zeroed(usize::try_from(bytes).unwrap_or(ZERO_BYTES).min(ZERO_BYTES));
        let end = position + bytes;
        let mut position = position;
        while position < end {
            let piece = usize::try_from(end - position).unwrap_or(ZERO_BYTES).min(ZERO_BYTES);
            let written = match self.direct()? {
                Some(direct) if check_block_aligned(position, piece).is_ok() => {
                    self.write_direct(direct, &zeros[..piece], position, ReadWriteFlags::empty())?
                }
                _ => 0,
            };
            self.buffered.write_all_at(&zeros[written..piece], position + written as u64)?;
            position += piece as u64;
        }
        Ok(())
    }

    fn write_durable_at(&self, bytes: &AlignedBuffer, position: u64) -> io::Result<()> {
        check_block_aligned(position, bytes.len())?;
        let written = match self.durable_writes {
            DurableWrites::Buffered => 0,
            DurableWrites::Direct => match self.direct()? {
                Some(direct) => self.write_direct(direct, bytes, position, ReadWriteFlags::DSYNC)?,
                None => 0,
            },
        };
        if written < bytes.len() {
            self.write_buffered_and_sync(&bytes[written..], position + written as u64)?;
        }
        Ok(())
    }

    /// `fdatasync`, which leaves out times but includes the length, since the data cannot be read without it.
    fn sync(&self) -> io::Result<()> {
        let _alone = self.hold_buffered_sync();
        self.buffered.sync_data()
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.buffered.set_len(bytes)
    }
}

/// What file systems say to direct I/O that they do not have, or not with blocks of [`BLOCK_BYTES`], and what
/// sandboxes say that do not know the call.
fn is_unsupported(error: Errno) -> bool {
    matches!(error, Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::tests::ScratchDirectory;

    fn buffer(bytes: &[u8]) -> AlignedBuffer {
        let mut buffer = AlignedBuffer::with_capacity(bytes.len());
        buffer.extend_from_slice(bytes);
        buffer
    }

    fn new_file(scratch: &ScratchDirectory) -> fs::File {
        OpenOptions::new().read(true).write(true).create_new(true).open(scratch.path().join("file")).unwrap()
    }

    #[test]
    fn a_file_system_without_direct_io_gets_buffered_writes_and_reads() {
        let scratch = ScratchDirectory::new();
        let file = RealFile {
            buffered: new_file(&scratch),
            access: Access::ReadWrite,
            durable_writes: DurableWrites::Direct,
            direct: OnceLock::from(None),
            direct_refused: AtomicBool::new(false),
            buffered_sync: Mutex::new(()),
        };
        let bytes = buffer(&[7; 2 * BLOCK_BYTES]);
        file.write_durable_at(&bytes, BLOCK_BYTES as u64).unwrap();
        let mut read = AlignedBuffer::zeroed(4 * BLOCK_BYTES);
        assert_eq!(file.read_medium_at(&mut read, 0).unwrap(), 3 * BLOCK_BYTES);
        assert_eq!(&read[..BLOCK_BYTES], &[0; BLOCK_BYTES]);
        assert_eq!(&read[BLOCK_BYTES..3 * BLOCK_BYTES], &bytes[..]);
    }

    #[test]
    fn a_direct_descriptor_that_refuses_its_first_use_is_given_up() {
        let scratch = ScratchDirectory::new();
        let file = RealFile::new(new_file(&scratch), Access::ReadWrite, DurableWrites::Direct).unwrap();
        let Some(direct) = file.direct().unwrap() else {
            return; // No direct I/O where the tests run; the test above covers that.
        };
        // An unaligned write is what a file system refuses that has larger blocks than ours.
        let unaligned = &buffer(&[9; BLOCK_BYTES + 8])[8..];
        let refused = matches!(file.write_direct(direct, unaligned, 0, ReadWriteFlags::DSYNC), Ok(0));
        if refused {
            assert!(file.direct().unwrap().is_none(), "it is not tried again");
        }
        let bytes = buffer(&[3; BLOCK_BYTES]);
        file.write_durable_at(&bytes, 0).unwrap();
        let mut read = AlignedBuffer::zeroed(BLOCK_BYTES);
        assert_eq!(file.read_medium_at(&mut read, 0).unwrap(), BLOCK_BYTES);
        assert_eq!(read[..], bytes[..]);
    }

    #[test]
    fn the_direct_descriptor_follows_a_rename() {
        let scratch = ScratchDirectory::new();
        let file = RealFile::new(new_file(&scratch), Access::ReadWrite, DurableWrites::Buffered).unwrap();
        file.write_at(&[5; BLOCK_BYTES], 0).unwrap();
        file.sync().unwrap();
        fs::rename(scratch.path().join("file"), scratch.path().join("renamed")).unwrap();
        fs::write(scratch.path().join("file"), [1; BLOCK_BYTES]).unwrap();
        let mut read = AlignedBuffer::zeroed(BLOCK_BYTES);
        assert_eq!(file.read_medium_at(&mut read, 0).unwrap(), BLOCK_BYTES);
        assert_eq!(read[..], [5; BLOCK_BYTES]);
    }

    #[test]
    fn durable_writes_of_several_threads_all_arrive() {
        for durable_writes in [DurableWrites::Direct, DurableWrites::Buffered] {
            let scratch = ScratchDirectory::new();
            let file = RealFile::new(new_file(&scratch), Access::ReadWrite, durable_writes).unwrap();
            file.write_zeros_at(0, 8 * BLOCK_BYTES as u64).unwrap();
            file.sync().unwrap();
            std::thread::scope(|scope| {
                for block in 0..8_u8 {
                    let file = &file;
                    scope.spawn(move || {
                        let position = u64::from(block) * BLOCK_BYTES as u64;
                        file.write_durable_at(&buffer(&[block + 1; BLOCK_BYTES]), position).unwrap();
                    });
                }
            });
            let mut read = AlignedBuffer::zeroed(8 * BLOCK_BYTES);
            file.read_medium_at(&mut read, 0).unwrap();
            for (block, bytes) in read.chunks(BLOCK_BYTES).enumerate() {
                assert!(
                    bytes.iter().all(|byte| usize::from(*byte) == block + 1),
                    "block {block}, {durable_writes:?}"
                );
            }
        }
    }
}
