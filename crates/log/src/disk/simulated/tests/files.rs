//! What a power loss does to the content of files.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;
use std::thread;

use super::{BLOCK, disk_with_file, disk_with_file_and, every_crash, filled, path, sectors};
use crate::disk::simulated::{CrashChoice, OperationKind, SECTOR_BYTES, Unwritten};
use crate::disk::{BLOCK_BYTES, Disk, DurableWrites};

#[test]
fn unsynced_sectors_are_kept_in_every_combination() {
    let (disk, file) = disk_with_file();
    file.write_at(&[2; 3 * SECTOR_BYTES], SECTOR_BYTES as u64).unwrap();
    let found: BTreeSet<Vec<u8>> = every_crash(&disk)
        .iter()
        .map(|crashed| sectors(&crashed.read_file(&path("file")).unwrap()))
        .collect();
    assert_eq!(found.len(), 8);
    for content in &found {
        assert_eq!(content[0], 1);
        assert!(content[4..].iter().all(|sector| *sector == 1));
    }
    assert!(found.iter().any(|content| content[1..4] == [1, 2, 1]), "the middle one alone");
    assert!(found.iter().any(|content| content[1..4] == [2, 1, 2]), "all but the middle one");
}

#[test]
fn a_sector_written_twice_is_found_in_any_of_its_versions() {
    let (disk, file) = disk_with_file();
    file.write_at(&[2; SECTOR_BYTES], 0).unwrap();
    file.write_at(&[3; SECTOR_BYTES], 0).unwrap();
    let found: BTreeSet<u8> =
        every_crash(&disk).iter().map(|crashed| crashed.read_file(&path("file")).unwrap()[0]).collect();
    assert_eq!(found, BTreeSet::from([1, 2, 3]));
}

#[test]
fn synced_writes_survive_and_later_ones_are_pending_again() {
    let (disk, file) = disk_with_file();
    file.write_at(&[2; SECTOR_BYTES], 0).unwrap();
    file.sync().unwrap();
    assert!(disk.pending().is_empty());
    file.write_at(&[3; SECTOR_BYTES], SECTOR_BYTES as u64).unwrap();
    assert_eq!(sectors(&disk.power_cut().read_file(&path("file")).unwrap())[..2], [2, 1]);
}

#[test]
fn small_writes_take_their_whole_sector_along() {
    let (disk, file) = disk_with_file();
    file.write_at(&[2; 20], 510).unwrap();
    let crashed = disk.crash(&CrashChoice::keeping([disk.pending()[1].id]));
    let bytes = crashed.read_file(&path("file")).unwrap();
    assert_eq!(bytes[505..535], [[1; 7].as_slice(), &[2; 18], &[1; 5]].concat());
}

#[test]
fn a_length_and_its_data_are_lost_independently() {
    let (disk, file) = disk_with_file();
    file.write_at(&[2; SECTOR_BYTES], 2 * BLOCK).unwrap();
    let found: BTreeSet<(usize, Option<u8>)> = every_crash(&disk)
        .iter()
        .map(|crashed| crashed.read_file(&path("file")).unwrap())
        .map(|bytes| (bytes.len(), bytes.get(2 * BLOCK_BYTES).copied()))
        .collect();
    let longer = 2 * BLOCK_BYTES + SECTOR_BYTES;
    let expected = [(2 * BLOCK_BYTES, None), (longer, Some(0)), (longer, Some(2)), (longer, Some(0xDB))];
    assert_eq!(found, BTreeSet::from(expected));
}

#[test]
fn data_that_its_length_hides_does_not_come_back() {
    let (disk, file) = disk_with_file();
    file.write_at(&[2; SECTOR_BYTES], 2 * BLOCK).unwrap();
    let data_only = CrashChoice::keeping([disk.pending()[0].id]);
    let crashed = disk.crash(&data_only);
    crashed.open(&path("file")).unwrap().set_len(3 * BLOCK).unwrap();
    assert!(crashed.read_file(&path("file")).unwrap()[2 * BLOCK_BYTES..].iter().all(|byte| *byte == 0));
}

#[test]
fn unwritten_sectors_may_show_a_removed_file() {
    let (disk, file) = disk_with_file();
    drop(file);
    disk.remove(&path("file")).unwrap();
    disk.sync_directory(Path::new("/d")).unwrap();
    let file = disk.create(&path("new")).unwrap();
    disk.sync_directory(Path::new("/d")).unwrap();
    file.set_len(3 * BLOCK).unwrap();
    let crashed = disk.crash(&CrashChoice::everything().with_unwritten(Unwritten::OldBytes));
    let bytes = crashed.read_file(&path("new")).unwrap();
    assert_eq!(bytes[..2 * BLOCK_BYTES], [1; 2 * BLOCK_BYTES]);
    assert!(bytes[2 * BLOCK_BYTES..].iter().all(|byte| *byte == 0xDB));
    file.sync().unwrap();
    let crashed = disk.crash(&CrashChoice::everything().with_unwritten(Unwritten::OldBytes));
    assert_eq!(crashed.read_file(&path("new")).unwrap(), [0; 3 * BLOCK_BYTES], "a synced extension is zeros");
}

#[test]
fn an_unsynced_cut_may_be_undone() {
    let (disk, file) = disk_with_file();
    file.set_len(BLOCK).unwrap();
    assert_eq!(disk.power_cut().file_len(&path("file")).unwrap(), 2 * BLOCK);
    assert_eq!(disk.crash(&CrashChoice::everything()).file_len(&path("file")).unwrap(), BLOCK);
    file.sync().unwrap();
    assert_eq!(disk.power_cut().file_len(&path("file")).unwrap(), BLOCK);
}

#[test]
fn a_sync_covers_its_own_handle_and_closed_ones() {
    let (disk, writer) = disk_with_file();
    writer.write_at(&[2; SECTOR_BYTES], 0).unwrap();
    let other = disk.open(&path("file")).unwrap();
    other.sync().unwrap();
    assert_eq!(
        disk.power_cut().read_file(&path("file")).unwrap()[0],
        1,
        "another handle's write is not covered"
    );
    drop(writer);
    other.sync().unwrap();
    assert_eq!(disk.power_cut().read_file(&path("file")).unwrap()[0], 2);
}

#[test]
fn a_durable_write_survives_with_its_length_and_nothing_else_does() {
    for durable_writes in [DurableWrites::Direct, DurableWrites::Buffered] {
        let (disk, file) = disk_with_file_and(durable_writes);
        let writer = disk.open(&path("file")).unwrap();
        file.write_at(&[9; SECTOR_BYTES], 0).unwrap();
        writer.write_durable_at(&filled(BLOCK_BYTES, 3), 2 * BLOCK).unwrap();
        let bytes = disk.power_cut().read_file(&path("file")).unwrap();
        assert_eq!(bytes, [[1; 2 * BLOCK_BYTES].as_slice(), &[3; BLOCK_BYTES]].concat());
    }
}

#[test]
fn a_durable_write_replaces_what_was_dirty_under_it() {
    let (disk, file) = disk_with_file();
    let writer = disk.open(&path("file")).unwrap();
    file.write_at(&[2; SECTOR_BYTES], 0).unwrap();
    writer.write_durable_at(&filled(BLOCK_BYTES, 3), 0).unwrap();
    for crashed in every_crash(&disk) {
        assert_eq!(crashed.read_file(&path("file")).unwrap()[0], 3, "the older bytes must not come back");
    }
}

#[test]
fn a_durable_write_is_torn_while_it_is_under_way() {
    let (disk, file) = disk_with_file();
    disk.crash_at_step(disk.steps() + 1);
    let error = file.write_durable_at(&filled(BLOCK_BYTES, 2), 0).unwrap_err();
    assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Other, "the machine is off"));
    assert!(disk.is_off());
    let found: BTreeSet<Vec<u8>> = every_crash(&disk)
        .iter()
        .map(|crashed| sectors(&crashed.read_file(&path("file")).unwrap()))
        .collect();
    assert_eq!(found.len(), 256);
    assert!(file.len().is_err(), "every later call fails");
    assert!(disk.list(Path::new("/d")).is_err());
}

#[test]
fn durable_writes_in_flight_end_in_any_order() {
    let (disk, _file) = disk_with_file();
    disk.hold(OperationKind::WriteDurable);
    thread::scope(|scope| {
        let start = |value: u8, position: u64, held: usize| {
            let file = disk.open(&path("file")).unwrap();
            let handle = scope.spawn(move || file.write_durable_at(&filled(BLOCK_BYTES, value), position));
            assert!(disk.wait_until_held(held));
            handle
        };
        let first = start(2, 0, 1);
        let second = start(3, BLOCK, 2);
        let steps = disk.held();
        disk.release(steps[1]);
        second.join().unwrap().unwrap();
        assert_eq!(disk.held(), steps[..1]);
        assert_eq!(disk.pending().len(), 8, "only the first is still pending");
        let bytes = disk.power_cut().read_file(&path("file")).unwrap();
        assert_eq!((bytes[0], bytes[BLOCK_BYTES]), (1, 3));
        disk.power_off();
        assert!(first.join().unwrap().is_err(), "a held call ends when the power fails");
    });
}

#[test]
fn a_sync_does_not_cover_direct_writes_under_way_nor_what_comes_after_its_begin() {
    let (disk, file) = disk_with_file();
    disk.hold(OperationKind::WriteDurable);
    disk.hold(OperationKind::Sync);
    let (disk, file) = (&disk, file.as_ref());
    thread::scope(|scope| {
        let write = scope.spawn(|| file.write_durable_at(&filled(BLOCK_BYTES, 2), 0));
        assert!(disk.wait_until_held(1));
        file.write_at(&[3; SECTOR_BYTES], BLOCK).unwrap();
        let sync = scope.spawn(|| file.sync());
        assert!(disk.wait_until_held(2));
        file.write_at(&[4; SECTOR_BYTES], BLOCK + SECTOR_BYTES as u64).unwrap();
        disk.release(disk.held()[1]);
        sync.join().unwrap().unwrap();
        let bytes = sectors(&disk.power_cut().read_file(&path("file")).unwrap());
        assert_eq!((bytes[0], bytes[8], bytes[9]), (1, 3, 1));
        disk.release_all();
        write.join().unwrap().unwrap();
        assert_eq!(disk.power_cut().read_file(&path("file")).unwrap()[0], 2);
    });
}
