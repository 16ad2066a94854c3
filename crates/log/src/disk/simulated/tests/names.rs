//! What a power loss does to names.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{disk_with_file, every_crash, path};
use crate::disk::simulated::{SECTOR_BYTES, SimulatedDisk};
use crate::disk::{BLOCK_BYTES, Disk};

#[test]
fn a_new_name_needs_its_directory_synced() {
    let disk = SimulatedDisk::new(1);
    disk.create_directory(Path::new("/d")).unwrap();
    let file = disk.create(&path("file")).unwrap();
    file.write_at(b"content", 0).unwrap();
    file.sync().unwrap();
    assert!(disk.power_cut().paths().is_empty());
    assert_eq!(
        disk.power_cut().list(Path::new("/d")).unwrap(),
        Vec::<String>::new(),
        "the directory was made durable"
    );
    disk.sync_directory(Path::new("/")).unwrap();
    assert!(disk.power_cut().paths().is_empty(), "another directory's sync does not help");
    disk.sync_directory(Path::new("/d")).unwrap();
    assert_eq!(disk.power_cut().read_file(&path("file")).unwrap(), b"content");
}

#[test]
fn a_name_may_be_kept_without_its_content() {
    let disk = SimulatedDisk::new(1);
    disk.create_directory(Path::new("/d")).unwrap();
    disk.create(&path("file")).unwrap().write_at(b"content", 0).unwrap();
    disk.sync_directory(Path::new("/d")).unwrap();
    assert_eq!(disk.power_cut().read_file(&path("file")).unwrap(), b"");
}

#[test]
fn a_rename_is_whole_or_not_at_all_and_independent_of_content() {
    let (disk, file) = disk_with_file();
    disk.write_file(&path("target"), b"target");
    file.write_at(&[2; SECTOR_BYTES], 0).unwrap();
    disk.rename(&path("file"), &path("target")).unwrap();
    let found: BTreeSet<(Vec<PathBuf>, u8)> = every_crash(&disk)
        .iter()
        .map(|crashed| (crashed.paths(), crashed.read_file(&path("target")).unwrap()[0]))
        .collect();
    let both = vec![path("file"), path("target")];
    let renamed = vec![path("target")];
    assert_eq!(found, BTreeSet::from([(both, b't'), (renamed.clone(), 1), (renamed, 2)]));
}

#[test]
fn names_are_reordered() {
    let disk = SimulatedDisk::new(1);
    disk.create_directory(Path::new("/d")).unwrap();
    disk.create(&path("first")).unwrap();
    disk.create(&path("second")).unwrap();
    disk.remove(&path("first")).unwrap();
    let found: BTreeSet<Vec<String>> =
        every_crash(&disk).iter().map(|crashed| crashed.list(Path::new("/d")).unwrap()).collect();
    let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(
        found,
        BTreeSet::from([list(&[]), list(&["first"]), list(&["second"]), list(&["first", "second"])])
    );
}

#[test]
fn a_removed_file_may_come_back_with_its_durable_content() {
    let (disk, file) = disk_with_file();
    file.write_at(&[2; SECTOR_BYTES], 0).unwrap();
    drop(file);
    disk.remove(&path("file")).unwrap();
    assert!(disk.paths().is_empty());
    assert_eq!(disk.power_cut().read_file(&path("file")).unwrap(), [1; 2 * BLOCK_BYTES]);
    disk.sync_directory(Path::new("/d")).unwrap();
    assert!(disk.power_cut().paths().is_empty());
    assert!(disk.pending().is_empty(), "a file that is gone for good has nothing pending");
}

#[test]
fn a_rename_between_directories_is_one_change() {
    let (disk, _file) = disk_with_file();
    disk.create_directory(Path::new("/q")).unwrap();
    disk.rename(&path("file"), Path::new("/q/file")).unwrap();
    for crashed in every_crash(&disk) {
        assert_eq!(crashed.paths().len(), 1, "never in both, never in none");
    }
    disk.sync_directory(Path::new("/q")).unwrap();
    assert_eq!(disk.power_cut().paths(), [PathBuf::from("/q/file")]);
}

#[test]
fn a_directory_under_way_may_be_lost_with_what_it_holds() {
    let disk = SimulatedDisk::new(1);
    disk.crash_at_step(1);
    assert!(disk.create_directory(Path::new("/a/b")).is_err());
    let found: BTreeSet<(bool, bool)> = every_crash(&disk)
        .iter()
        .map(|crashed| (crashed.list(Path::new("/a")).is_ok(), crashed.list(Path::new("/a/b")).is_ok()))
        .collect();
    assert_eq!(found, BTreeSet::from([(false, false), (true, false), (true, true)]));
}
