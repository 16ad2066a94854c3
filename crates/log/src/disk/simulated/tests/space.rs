//! What a full disk refuses.

use std::io::ErrorKind;
use std::path::Path;

use super::{BLOCK, disk_with_file, filled, path};
use crate::disk::simulated::Capacity;
use crate::disk::{BLOCK_BYTES, Disk};

#[test]
fn a_full_disk_takes_overwrites_and_names_but_no_new_blocks() {
    let (disk, file) = disk_with_file();
    disk.set_capacity(Some(Capacity { bytes: 3 * BLOCK, copy_on_write: false }));
    assert_eq!(disk.available_bytes(Path::new("/d")).unwrap(), BLOCK);
    let error = file.write_at(&[2; 3 * BLOCK_BYTES], BLOCK).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    assert_eq!(file.len().unwrap(), 3 * BLOCK, "the part that found room is written");
    file.write_durable_at(&filled(BLOCK_BYTES, 3), 0).unwrap();
    file.set_len(10 * BLOCK).unwrap();
    assert_eq!(file.write_at(&[1], 9 * BLOCK).unwrap_err().kind(), ErrorKind::StorageFull, "filling a hole");
    let empty = disk.create(&path("empty")).unwrap();
    assert_eq!(empty.write_at(&[1], 0).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(disk.create_directory(&path("sub")).unwrap_err().kind(), ErrorKind::StorageFull);
    file.set_len(2 * BLOCK).unwrap();
    empty.write_at(&[1], 0).unwrap();
}

#[test]
fn removed_files_give_their_space_back_once_closed() {
    let (disk, file) = disk_with_file();
    disk.set_capacity(Some(Capacity { bytes: 2 * BLOCK, copy_on_write: false }));
    disk.remove(&path("file")).unwrap();
    disk.sync_directory(Path::new("/d")).unwrap();
    assert_eq!(disk.available_bytes(Path::new("/d")).unwrap(), 0);
    drop(file);
    assert_eq!(disk.available_bytes(Path::new("/d")).unwrap(), 2 * BLOCK);
}

#[test]
fn copy_on_write_needs_space_for_overwrites() {
    let (disk, file) = disk_with_file();
    disk.set_capacity(Some(Capacity { bytes: 3 * BLOCK, copy_on_write: true }));
    file.write_durable_at(&filled(BLOCK_BYTES, 2), BLOCK).unwrap();
    let error = file.write_durable_at(&filled(2 * BLOCK_BYTES, 3), 0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    let bytes = disk.power_cut().read_file(&path("file")).unwrap();
    assert_eq!((bytes[0], bytes[BLOCK_BYTES]), (3, 2));
}

#[test]
fn absurd_positions_take_no_memory() {
    let (_disk, file) = disk_with_file();
    assert_eq!(file.write_at(&[1], u64::MAX).unwrap_err().kind(), ErrorKind::FileTooLarge);
    assert_eq!(file.set_len(u64::MAX).unwrap_err().kind(), ErrorKind::FileTooLarge);
    assert_eq!(file.read_at(&mut [0; 10], u64::MAX).unwrap(), 0);
}
