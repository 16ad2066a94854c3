//! What failing calls leave behind.

use std::io::ErrorKind;
use std::path::Path;

use super::{BLOCK, disk_with_file, disk_with_file_and, fail_sync, filled, medium, path, sectors};
use crate::disk::simulated::{CrashChoice, Effect, ErrorCode, FailedData, OperationKind, SECTOR_BYTES, When};
use crate::disk::{BLOCK_BYTES, Disk, DurableWrites};

#[test]
fn a_failed_sync_leaves_bytes_that_are_not_on_the_medium() {
    let (disk, file) = disk_with_file();
    file.write_at(&[2; SECTOR_BYTES], 0).unwrap();
    disk.inject(When::Call { kind: OperationKind::Sync, nth: 1 }, fail_sync(FailedData::Lost));
    assert_eq!(file.sync().unwrap_err().raw_os_error(), Some(5));
    assert_eq!(disk.faults_hit(), 1);
    file.sync().unwrap();
    // A new process sees them too, and its sync is no help.
    let killed = disk.kill();
    let reopened = killed.open(&path("file")).unwrap();
    reopened.sync().unwrap();
    let mut byte = [0];
    reopened.read_at(&mut byte, 0).unwrap();
    assert_eq!(byte, [2]);
    assert_eq!(medium(reopened.as_ref(), BLOCK_BYTES)[0], 1);
    assert_eq!(killed.crash(&CrashChoice::everything()).read_file(&path("file")).unwrap()[0], 1);
    killed.drop_caches();
    reopened.read_at(&mut byte, 0).unwrap();
    assert_eq!(byte, [1], "the page was clean, so it can be evicted");
}

#[test]
fn a_failed_sync_may_keep_pages_dirty() {
    let (disk, file) = disk_with_file();
    file.write_at(&[2; SECTOR_BYTES], 0).unwrap();
    disk.inject(When::Step(disk.steps() + 1), fail_sync(FailedData::KeptDirty));
    file.sync().unwrap_err();
    assert_eq!(disk.power_cut().read_file(&path("file")).unwrap()[0], 1);
    file.sync().unwrap();
    assert_eq!(disk.power_cut().read_file(&path("file")).unwrap()[0], 2);
}

#[test]
fn a_failed_sync_may_have_written_some_sectors() {
    let (disk, file) = disk_with_file();
    file.write_at(&[2; 2 * BLOCK_BYTES], 0).unwrap();
    disk.inject(When::Every(OperationKind::Sync), fail_sync(FailedData::PartlyLost));
    file.sync().unwrap_err();
    let found = sectors(&disk.power_cut().read_file(&path("file")).unwrap());
    assert!(found.contains(&1) && found.contains(&2), "{found:?}");
    assert_eq!(sectors(&medium(file.as_ref(), 2 * BLOCK_BYTES)), found);
    assert!(disk.pending().is_empty());
}

#[test]
fn a_failed_direct_write_leaves_no_dirty_pages() {
    for data in [FailedData::Lost, FailedData::PartlyLost, FailedData::KeptDirty] {
        let (disk, file) = disk_with_file();
        disk.inject(When::Call { kind: OperationKind::WriteDurable, nth: 2 }, fail_sync(data));
        file.write_durable_at(&filled(BLOCK_BYTES, 2), 0).unwrap();
        file.write_durable_at(&filled(BLOCK_BYTES, 3), BLOCK).unwrap_err();
        let cached = sectors(&disk.read_file(&path("file")).unwrap());
        assert_eq!(cached, sectors(&medium(file.as_ref(), 2 * BLOCK_BYTES)), "what is read is on the medium");
        assert_eq!(cached, sectors(&disk.power_cut().read_file(&path("file")).unwrap()));
        assert_eq!(cached[..8], [2; 8]);
        assert_eq!(cached[8..].contains(&3), data == FailedData::PartlyLost);
    }
}

#[test]
fn a_failed_buffered_durable_write_is_readable_and_lost() {
    let (disk, file) = disk_with_file_and(DurableWrites::Buffered);
    disk.inject(When::Every(OperationKind::WriteDurable), fail_sync(FailedData::Lost));
    file.write_durable_at(&filled(BLOCK_BYTES, 2), 0).unwrap_err();
    assert_eq!(disk.read_file(&path("file")).unwrap()[0], 2);
    assert_eq!(medium(file.as_ref(), BLOCK_BYTES)[0], 1);
    assert_eq!(disk.crash(&CrashChoice::everything()).read_file(&path("file")).unwrap()[0], 1);
}

#[test]
fn a_failed_directory_sync_may_lose_names_for_good() {
    let (disk, _file) = disk_with_file();
    disk.create(&path("new")).unwrap();
    disk.inject(When::Call { kind: OperationKind::SyncDirectory, nth: 1 }, fail_sync(FailedData::Lost));
    disk.sync_directory(Path::new("/d")).unwrap_err();
    disk.sync_directory(Path::new("/d")).unwrap();
    assert_eq!(disk.list(Path::new("/d")).unwrap(), ["file", "new"]);
    assert_eq!(disk.power_cut().list(Path::new("/d")).unwrap(), ["file"]);
}

#[test]
fn a_failed_call_does_nothing() {
    let (disk, file) = disk_with_file();
    disk.inject(When::EveryChangeFrom(disk.steps() + 1), Effect::Fails(ErrorCode::ReadOnly));
    let errors = [
        file.write_at(&[2; 10], 0),
        file.write_durable_at(&filled(BLOCK_BYTES, 2), 0),
        file.set_len(1),
        file.sync(),
        disk.rename(&path("file"), &path("other")),
        disk.remove(&path("file")),
        disk.create(&path("new")).map(drop),
        disk.create_directory(&path("sub")),
        disk.sync_directory(Path::new("/d")),
        disk.lock(&path("lock")).map(drop),
    ];
    for (index, outcome) in errors.into_iter().enumerate() {
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::ReadOnlyFilesystem, "call {index}");
    }
    assert!(disk.pending().is_empty());
    let mut bytes = [0; 4];
    file.read_at(&mut bytes, 0).unwrap();
    assert_eq!(bytes, [1; 4], "reads go on");
    assert_eq!(disk.paths(), [path("file")]);
    disk.clear_faults();
    file.write_at(&[2; 10], 0).unwrap();
}

#[test]
fn a_short_write_leaves_its_first_part() {
    let (disk, file) = disk_with_file();
    let short = |bytes| Effect::Short { bytes, error: ErrorCode::NoSpace };
    disk.inject(When::Call { kind: OperationKind::Write, nth: 2 }, short(600));
    file.write_at(&[2; 1_000], 0).unwrap();
    assert_eq!(file.write_at(&[3; 1_000], 0).unwrap_err().kind(), ErrorKind::StorageFull);
    let bytes = disk.read_file(&path("file")).unwrap();
    assert_eq!((bytes[599], bytes[600], bytes[1_000]), (3, 2, 1));
    disk.inject(When::Call { kind: OperationKind::WriteDurable, nth: 1 }, short(1_100));
    file.write_durable_at(&filled(BLOCK_BYTES, 4), BLOCK).unwrap_err();
    let bytes = sectors(&disk.power_cut().read_file(&path("file")).unwrap());
    assert_eq!(bytes[8..], [4, 4, 1, 1, 1, 1, 1, 1], "whole sectors of a direct write have arrived");
}

#[test]
fn a_misfitting_fault_is_still_a_fault() {
    let (disk, file) = disk_with_file();
    disk.inject(When::Step(disk.steps() + 1), Effect::FlipsBit(0));
    assert_eq!(file.write_at(&[2], 0).unwrap_err().raw_os_error(), Some(5));
}

#[test]
fn reads_can_lie_without_harm_to_the_medium() {
    let (disk, file) = disk_with_file();
    file.write_at(&[2; BLOCK_BYTES], BLOCK).unwrap();
    let read = OperationKind::Read;
    disk.inject(When::Call { kind: read, nth: 1 }, Effect::FlipsBit(9));
    disk.inject(When::Call { kind: read, nth: 2 }, Effect::Misdirected { position: BLOCK });
    disk.inject(When::Call { kind: read, nth: 3 }, Effect::Fails(ErrorCode::InputOutput));
    disk.inject(When::Call { kind: OperationKind::ReadMedium, nth: 1 }, Effect::FlipsBit(0));
    let mut bytes = [0; 3];
    let mut next = || file.read_at(&mut bytes, 0).map(|count| bytes[..count].to_vec());
    assert_eq!(next().unwrap(), [1, 3, 1]);
    assert_eq!(next().unwrap(), [2, 2, 2]);
    assert_eq!(next().unwrap_err().raw_os_error(), Some(5));
    assert_eq!(next().unwrap(), [1, 1, 1]);
    assert_eq!(medium(file.as_ref(), BLOCK_BYTES)[..2], [0, 1]);
    assert_eq!(medium(file.as_ref(), BLOCK_BYTES)[..2], [1, 1]);
}
