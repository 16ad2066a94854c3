//! One suite for every disk: what the log may rely on must hold on the real one, in both modes, and on the
//! simulated one.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use super::simulated::SimulatedDisk;
use super::{AlignedBuffer, BLOCK_BYTES, Disk, DurableWrites, RealDisk};

const BLOCK: u64 = BLOCK_BYTES as u64;

/// A directory of its own for one test, gone at its end.
pub(super) struct ScratchDirectory {
    path: PathBuf,
}

impl ScratchDirectory {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("eventrelay-disk-{}-{number}", process::id()));
        // A leftover of a process that was killed and had the same id.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Self { path }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ScratchDirectory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Runs a check on every disk, in an empty existing directory.
fn on_every_disk(check: impl Fn(&dyn Disk, &Path)) {
    for durable_writes in [DurableWrites::Direct, DurableWrites::Buffered] {
        let scratch = ScratchDirectory::new();
        check(&RealDisk::new(durable_writes), scratch.path());
        let simulated = SimulatedDisk::with_durable_writes(1, durable_writes);
        simulated.create_directory(Path::new("/scratch")).unwrap();
        check(&simulated, Path::new("/scratch"));
    }
}

fn filled(bytes: usize, value: u8) -> AlignedBuffer {
    let mut buffer = AlignedBuffer::zeroed(bytes);
    buffer.fill(value);
    buffer
}

fn kind<T>(result: std::io::Result<T>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

#[test]
fn a_file_is_created_once_and_opened_only_if_there() {
    on_every_disk(|disk, directory| {
        let path = directory.join("file");
        assert_eq!(kind(disk.open(&path)), Some(ErrorKind::NotFound));
        assert_eq!(kind(disk.open_read_only(&path)), Some(ErrorKind::NotFound));
        disk.create(&path).unwrap().write_at(b"kept", 0).unwrap();
        assert_eq!(kind(disk.create(&path)), Some(ErrorKind::AlreadyExists));
        assert_eq!(disk.open(&path).unwrap().len().unwrap(), 4, "a refused creation leaves the file alone");
        assert_eq!(kind(disk.create(&directory.join("missing/file"))), Some(ErrorKind::NotFound));
    });
}

#[test]
fn reads_end_with_the_file_and_gaps_are_zeros() {
    on_every_disk(|disk, directory| {
        let file = disk.create(&directory.join("file")).unwrap();
        assert!(file.is_empty().unwrap());
        file.write_at(b"abc", 0).unwrap();
        file.write_at(b"xyz", 5_000).unwrap();
        assert_eq!(file.len().unwrap(), 5_003);
        let mut bytes = [1; 10];
        assert_eq!(file.read_at(&mut bytes, 4_997).unwrap(), 6);
        assert_eq!(&bytes[..6], b"\0\0\0xyz");
        assert_eq!(file.read_at(&mut bytes, 5_003).unwrap(), 0);
        assert_eq!(file.read_at(&mut bytes, 1 << 40).unwrap(), 0);
    });
}

#[test]
fn a_cut_forgets_and_an_extension_is_zeros() {
    on_every_disk(|disk, directory| {
        let file = disk.create(&directory.join("file")).unwrap();
        file.write_at(&[7; 10_000], 0).unwrap();
        file.set_len(5_000).unwrap();
        file.set_len(10_000).unwrap();
        file.sync().unwrap();
        let mut bytes = vec![1; 10_001];
        assert_eq!(file.read_at(&mut bytes, 0).unwrap(), 10_000);
        assert!(bytes[..5_000].iter().all(|byte| *byte == 7));
        assert!(bytes[5_000..10_000].iter().all(|byte| *byte == 0));
        let mut medium = AlignedBuffer::zeroed(3 * BLOCK_BYTES);
        assert_eq!(file.read_medium_at(&mut medium, 0).unwrap(), 10_000);
        assert_eq!(medium[..10_000], bytes[..10_000]);
    });
}

#[test]
fn durable_writes_are_seen_by_every_reader() {
    on_every_disk(|disk, directory| {
        let path = directory.join("file");
        let file = disk.create(&path).unwrap();
        file.write_zeros_at(0, 8 * BLOCK).unwrap();
        file.sync().unwrap();
        let reader = disk.open_read_only(&path).unwrap();
        let mut bytes = vec![0; 2 * BLOCK_BYTES];
        reader.read_at(&mut bytes, 2 * BLOCK).unwrap();
        file.write_durable_at(&filled(BLOCK_BYTES, 9), 3 * BLOCK).unwrap();
        reader.read_at(&mut bytes, 2 * BLOCK).unwrap();
        assert!(bytes[..BLOCK_BYTES].iter().all(|byte| *byte == 0));
        assert!(bytes[BLOCK_BYTES..].iter().all(|byte| *byte == 9), "the zeros that were cached are stale");
        let mut medium = AlignedBuffer::zeroed(BLOCK_BYTES);
        assert_eq!(reader.read_medium_at(&mut medium, 3 * BLOCK).unwrap(), BLOCK_BYTES);
        assert_eq!(medium[..], [9; BLOCK_BYTES]);
    });
}

#[test]
fn a_durable_write_extends_the_file() {
    on_every_disk(|disk, directory| {
        let file = disk.create(&directory.join("file")).unwrap();
        file.write_durable_at(&filled(2 * BLOCK_BYTES, 4), BLOCK).unwrap();
        assert_eq!(file.len().unwrap(), 3 * BLOCK);
        let mut medium = AlignedBuffer::zeroed(4 * BLOCK_BYTES);
        assert_eq!(file.read_medium_at(&mut medium, 0).unwrap(), 3 * BLOCK_BYTES);
        assert_eq!(medium[..BLOCK_BYTES], [0; BLOCK_BYTES]);
        assert!(medium[BLOCK_BYTES..3 * BLOCK_BYTES].iter().all(|byte| *byte == 4));
    });
}

#[test]
fn what_direct_io_would_refuse_is_refused_everywhere() {
    on_every_disk(|disk, directory| {
        let file = disk.create(&directory.join("file")).unwrap();
        let invalid = Some(ErrorKind::InvalidInput);
        assert_eq!(kind(file.write_durable_at(&filled(BLOCK_BYTES, 1), 512)), invalid);
        assert_eq!(kind(file.write_durable_at(&filled(512, 1), 0)), invalid);
        assert_eq!(kind(file.read_medium_at(&mut AlignedBuffer::zeroed(BLOCK_BYTES), 1)), invalid);
        assert_eq!(kind(file.read_medium_at(&mut AlignedBuffer::zeroed(100), 0)), invalid);
        assert_eq!(file.len().unwrap(), 0);
        file.write_durable_at(&AlignedBuffer::zeroed(0), 0).unwrap();
        assert_eq!(file.read_medium_at(&mut AlignedBuffer::zeroed(0), 0).unwrap(), 0);
    });
}

#[test]
fn zeros_overwrite_exactly_their_range() {
    on_every_disk(|disk, directory| {
        let file = disk.create(&directory.join("file")).unwrap();
        let length = 2 * 1024 * 1024 + 300;
        file.write_at(&vec![5; length], 0).unwrap();
        file.write_zeros_at(100, length as u64 - 200).unwrap();
        let mut bytes = vec![1; length];
        assert_eq!(file.read_at(&mut bytes, 0).unwrap(), length);
        assert!(bytes[..100].iter().chain(&bytes[length - 100..]).all(|byte| *byte == 5));
        assert!(bytes[100..length - 100].iter().all(|byte| *byte == 0));
        assert_eq!(file.len().unwrap(), length as u64);
    });
}

#[test]
fn a_read_only_file_takes_no_writes() {
    on_every_disk(|disk, directory| {
        let path = directory.join("file");
        disk.create(&path).unwrap().write_at(b"abc", 0).unwrap();
        let file = disk.open_read_only(&path).unwrap();
        assert!(file.write_at(b"x", 0).is_err());
        assert!(file.write_durable_at(&filled(BLOCK_BYTES, 1), 0).is_err());
        assert!(file.set_len(0).is_err());
        let mut bytes = [0; 3];
        file.read_at(&mut bytes, 0).unwrap();
        assert_eq!(&bytes, b"abc");
    });
}

#[test]
fn a_rename_replaces_and_open_files_follow() {
    on_every_disk(|disk, directory| {
        let (old, new) = (directory.join("old"), directory.join("new"));
        let file = disk.create(&old).unwrap();
        file.write_at(b"moved", 0).unwrap();
        let replaced = disk.create(&new).unwrap();
        replaced.write_at(b"replaced", 0).unwrap();
        disk.rename(&old, &new).unwrap();
        disk.sync_directory(directory).unwrap();
        assert_eq!(disk.list(directory).unwrap(), ["new"]);
        assert_eq!(disk.open(&new).unwrap().len().unwrap(), 5);
        assert_eq!(replaced.len().unwrap(), 8, "an open file outlives its name");
        file.write_durable_at(&filled(BLOCK_BYTES, 6), 0).unwrap();
        assert_eq!(disk.open(&new).unwrap().len().unwrap(), BLOCK);
        assert_eq!(kind(disk.rename(&old, &new)), Some(ErrorKind::NotFound));
        disk.rename(&new, &new).unwrap();
        assert_eq!(disk.list(directory).unwrap(), ["new"]);
    });
}

#[test]
fn a_removed_file_is_gone_by_name_only() {
    on_every_disk(|disk, directory| {
        let path = directory.join("file");
        let file = disk.create(&path).unwrap();
        file.write_at(b"still", 0).unwrap();
        disk.remove(&path).unwrap();
        assert_eq!(kind(disk.open(&path)), Some(ErrorKind::NotFound));
        assert_eq!(kind(disk.remove(&path)), Some(ErrorKind::NotFound));
        let mut bytes = [0; 5];
        file.read_at(&mut bytes, 0).unwrap();
        assert_eq!(&bytes, b"still");
        file.sync().unwrap();
        let again = disk.create(&path).unwrap();
        assert_eq!(again.len().unwrap(), 0);
    });
}

#[test]
fn directories_are_made_with_their_parents_and_list_files_in_order() {
    on_every_disk(|disk, directory| {
        let deep = directory.join("a/b/c");
        assert_eq!(kind(disk.list(&deep)), Some(ErrorKind::NotFound));
        assert_eq!(kind(disk.sync_directory(&deep)), Some(ErrorKind::NotFound));
        disk.create_directory(&deep).unwrap();
        disk.create_directory(&deep).unwrap();
        for name in ["10", "2", "1"] {
            disk.create(&deep.join(name)).unwrap();
        }
        disk.create_directory(&deep.join("sub")).unwrap();
        disk.create(&deep.join("sub/deeper")).unwrap();
        assert_eq!(disk.list(&deep).unwrap(), ["1", "10", "2"]);
        assert_eq!(disk.list(directory).unwrap(), Vec::<String>::new());
        disk.sync_directory(&deep).unwrap();
        assert!(disk.create_directory(&deep.join("1")).is_err(), "a file is there");
        assert!(disk.create_directory(&deep.join("1/under")).is_err());
    });
}

#[test]
fn a_lock_is_held_by_one_until_dropped() {
    on_every_disk(|disk, directory| {
        let path = directory.join("lock");
        let lock = disk.lock(&path).unwrap();
        assert_eq!(kind(disk.lock(&path)), Some(ErrorKind::WouldBlock));
        let other = disk.lock(&directory.join("other")).unwrap();
        drop(lock);
        let again = disk.lock(&path).unwrap();
        assert_eq!(kind(disk.lock(&path)), Some(ErrorKind::WouldBlock));
        drop((again, other));
        assert_eq!(disk.list(directory).unwrap(), ["lock", "other"]);
    });
}

#[test]
fn free_space_is_told_for_what_exists() {
    on_every_disk(|disk, directory| {
        assert!(disk.available_bytes(directory).unwrap() > 0);
        assert_eq!(kind(disk.available_bytes(&directory.join("missing"))), Some(ErrorKind::NotFound));
    });
}

#[test]
fn real_files_and_directories_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = ScratchDirectory::new();
    let disk = RealDisk::default();
    let directory = scratch.path().join("data");
    disk.create_directory(&directory).unwrap();
    disk.create(&directory.join("file")).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o077;
    assert_eq!(mode(&directory), 0);
    assert_eq!(mode(&directory.join("file")), 0);
}
