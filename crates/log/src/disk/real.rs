//! The machine's own file system.
//!
//! Buffered I/O goes through `std`, so through libc, where a preloaded library can inject faults; only what
//! `std` lacks (locks, cache advice, free space) goes through `rustix`.

mod file;

use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use super::{Disk, DurableWrites, File, Lock};
use file::{Access, RealFile};

/// Events are nobody else's business, whatever the directory that the operator chose allows.
const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;

/// The machine's own file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk {
    durable_writes: DurableWrites,
}

impl RealDisk {
    /// The file system, with `durable_writes` for every file opened for writing.
    #[must_use]
    pub fn new(durable_writes: DurableWrites) -> Self {
        Self { durable_writes }
    }
}

impl Disk for RealDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(FILE_MODE).open(path)?;
        match RealFile::new(file, Access::ReadWrite, self.durable_writes) {
            Ok(file) => Ok(Box::new(file)),
            Err(error) => {
                // A caller that tries again must not find the name taken.
                fs::remove_file(path)?;
                Err(error)
            }
        }
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Box::new(RealFile::new(file, Access::ReadWrite, self.durable_writes)?))
    }

    fn open_read_only(&self, path: &Path) -> io::Result<Box<dyn File>> {
        Ok(Box::new(RealFile::new(fs::File::open(path)?, Access::ReadOnly, self.durable_writes)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    /// Each level is created and made durable before the next, so that only the deepest existing directory
    /// can be the leftover of a process that was killed between the two; its name is therefore synced too.
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        let mut missing = Vec::new();
        let mut existing = path;
        while !existing.try_exists()? {
            missing.push(existing);
            existing = parent_of(existing);
        }
        match self.sync_directory(parent_of(existing)) {
            // A directory whose parent we may not even read was not made by us.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            outcome => outcome?,
        }
        for directory in missing.into_iter().rev() {
            match DirBuilder::new().mode(DIRECTORY_MODE).create(directory) {
                // Another process made it in between; its name may still need the sync below.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                outcome => outcome?,
            }
            self.sync_directory(parent_of(directory))?;
        }
        if !fs::metadata(path)?.is_dir() {
            return Err(io::Error::from(io::ErrorKind::NotADirectory));
        }
        Ok(())
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        fs::File::open(path)?.sync_all()
    }

    /// A name that is not UTF-8 cannot be one of ours; it is listed with replacement characters rather than
    /// hidden.
    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            if !entry.file_type()?.is_dir() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn available_bytes(&self, path: &Path) -> io::Result<u64> {
        let status = rustix::fs::statvfs(path)?;
        if status.f_blocks == 0 {
            return Ok(u64::MAX); // A file system that does not count its space has no limit of its own.
        }
        Ok(status.f_bavail.saturating_mul(status.f_frsize))
    }

    /// `flock`: it goes with the open file, so the kernel lets it go however the process ends. The file stays
    /// behind: to remove it would let a third process lock a new file while a second waits on the old one.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(FILE_MODE)
            .open(path)?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Box::new(RealLock { _file: file }))
    }
}

/// Closing the descriptor releases the lock.
struct RealLock {
    _file: fs::File,
}

impl Lock for RealLock {}

/// The directory that holds the name of `path`. The parent of a bare name is the current directory, that of
/// `/` is `/`.
fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None if path.as_os_str().is_empty() => Path::new("."),
        None => path,
    }
}

/// The path by which the kernel opens a descriptor's own file anew, whatever has become of its name.
fn descriptor_path(descriptor: i32) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{descriptor}"))
}
