//! What an opening makes of the files it finds.

use super::*;

fn write_file(disk: &SimulatedDisk, offsets: Range<u64>) -> Vec<u8> {
    let mut entries: Vec<Entry> =
        offsets.clone().map(|offset| record(spread(offset), offset, offset)).collect();
    entries.sort_unstable_by_key(|entry| entry.key_hash);
    writer::write(&home(disk), &offsets, entries.len() as u64, |writer| {
        entries.into_iter().try_for_each(|entry| writer.push(entry))
    })
    .unwrap();
    disk.read_file(&path_of(&offsets)).unwrap()
}

/// A disk with an empty key directory.
fn empty_disk() -> SimulatedDisk {
    let disk = SimulatedDisk::new(1);
    open(&disk, 0);
    disk
}

#[test]
fn a_new_directory_covers_nothing() {
    let (index, coverage) = open(&SimulatedDisk::new(1), 100);
    assert_eq!((index.len(), index.files.len()), (0, 0));
    assert_eq!(coverage.missing(20..100), vec![20..100]);
    assert!(coverage.missing(100..100).is_empty());
}

#[test]
fn coverage_tells_the_gaps() {
    let disk = empty_disk();
    for offsets in [10..20, 20..30, 50..60] {
        write_file(&disk, offsets);
    }
    let (mut index, coverage) = open(&disk, 100);
    assert_eq!(coverage.covered, vec![10..30, 50..60]);
    assert_eq!(coverage.missing(0..100), vec![0..10, 30..50, 60..100]);
    assert_eq!(coverage.missing(15..55), vec![30..50]);
    assert_eq!(coverage.missing(32..40), vec![32..40]);
    assert!(coverage.missing(12..28).is_empty());

    // A gap is closed by rebuilding, and then the files are neighbours.
    let rebuilt = Rebuild::new(&index, 30..50).finish().unwrap();
    assert!(index.merge_task(0).is_none(), "a gap is not merged over");
    index.finish_rebuild(rebuilt).remove().unwrap();
    merge_all(&mut index, 0);
    assert_eq!(index.files.len(), 1);
    assert_eq!(open(&disk, 100).1.covered, vec![10..60]);
}

#[test]
fn inputs_that_outlived_their_merge_go() {
    let disk = empty_disk();
    for offsets in [0..10, 10..20, 20..30, 30..40, 0..40, 40..50] {
        write_file(&disk, offsets);
    }
    let (index, coverage) = open(&disk, 50);
    assert_eq!(coverage.covered, vec![0..50]);
    assert!(coverage.problems.is_empty());
    assert_eq!((index.files.len(), index.len()), (2, 50));
    assert_eq!(file_names(&disk), [file_name::complete(&(0..40)), file_name::complete(&(40..50))]);
}

#[test]
fn files_that_cannot_both_be_right_are_set_aside() {
    let disk = empty_disk();
    // The inner one is believed, as it contradicts nobody; 15..25 crosses both its neighbours.
    for offsets in [0..20, 2..8, 15..25, 20..30, 30..40] {
        write_file(&disk, offsets);
    }
    let (index, coverage) = open(&disk, 50);
    assert_eq!(coverage.covered, vec![2..8, 30..40]);
    let mut problems: Vec<_> = coverage.problems.iter().map(|problem| problem.offsets.clone()).collect();
    problems.sort_by_key(|offsets| offsets.start);
    assert_eq!(problems, vec![0..20, 15..25, 20..30]);
    for problem in &coverage.problems {
        assert_eq!(problem.set_aside, directory().join(file_name::damaged(&problem.offsets)));
        assert!(disk.read_file(&problem.set_aside).is_ok());
        assert!(matches!(problem.error, KeyIndexError::Damaged { .. }));
    }
    assert_eq!(index.len(), 16);
    assert!(open(&disk, 50).1.problems.is_empty(), "once");
}

#[test]
fn damaged_foreign_and_impossible_files_are_set_aside() {
    let disk = empty_disk();
    let bytes = write_file(&disk, 0..10);
    write_file(&disk, 10..20);
    write_file(&disk, 20..30);
    // A name that its header contradicts.
    disk.write_file(&path_of(&(30..40)), &bytes);
    // Records that the log does not have.
    write_file(&disk, 40..60);
    disk.flip_bit(&path_of(&(10..20)), 3).unwrap();
    let other = SimulatedDisk::new(1);
    open(&other, 0);
    let foreign = Home { log_id: [1; 16], ..home(&other) };
    writer::write(&foreign, &(20..30), 0, |_| Ok(())).unwrap();
    disk.write_file(&path_of(&(20..30)), &other.read_file(&path_of(&(20..30))).unwrap());

    let (_, coverage) = open(&disk, 50);
    assert_eq!(coverage.covered, vec![0..10]);
    let offsets: Vec<_> = coverage.problems.iter().map(|problem| problem.offsets.clone()).collect();
    assert_eq!(offsets, vec![10..20, 20..30, 30..40, 40..60]);
    let foreign = coverage.problems[1].error.to_string();
    assert!(foreign.ends_with("it belongs to another log"), "{foreign}");
}

#[test]
fn a_later_format_is_refused_and_left_alone() {
    let disk = empty_disk();
    let mut bytes = write_file(&disk, 0..10);
    bytes[8] = 2;
    let crc = crate::checksum::crc32c(0, &bytes[..4092]);
    bytes[4092..4096].copy_from_slice(&crc.to_le_bytes());
    disk.write_file(&path_of(&(0..10)), &bytes);
    let error = try_open(&disk, 10).err().unwrap();
    assert!(matches!(error, KeyIndexError::NewerVersion { version: 2, supported: 1, .. }), "{error}");
    assert_eq!(disk.read_file(&path_of(&(0..10))).unwrap(), bytes);
}

#[test]
fn remains_of_tasks_go_and_strangers_stay() {
    let disk = empty_disk();
    disk.write_file(&directory().join(file_name::temporary(&(0..10))), b"half");
    disk.write_file(&directory().join("README"), b"mine");
    disk.write_file(&directory().join(file_name::damaged(&(0..10))), b"evidence");
    open(&disk, 10);
    assert_eq!(file_names(&disk), [file_name::damaged(&(0..10)), "README".to_owned()]);
}
