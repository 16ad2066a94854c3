//! Kills, forks, recorded crashes, surgery and traces.

use std::collections::BTreeSet;
use std::io;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::{BLOCK, disk_with_file, every_crash, fail_sync, filled, medium, path};
use crate::disk::simulated::{
    CrashChoice, CrashSampling, Effect, ErrorCode, FailedData, OperationKind, SECTOR_BYTES, SimulatedDisk,
    When,
};
use crate::disk::{BLOCK_BYTES, Disk};

#[test]
fn a_kill_keeps_what_a_following_power_cut_loses() {
    let (disk, file) = disk_with_file();
    let _lock = disk.lock(&path("lock")).unwrap();
    file.write_at(&[2; SECTOR_BYTES], 0).unwrap();
    let killed = disk.kill();
    assert_eq!(killed.read_file(&path("file")).unwrap()[0], 2);
    drop(killed.lock(&path("lock")).unwrap());
    assert_eq!(killed.power_cut().read_file(&path("file")).unwrap()[0], 1);
    // The medium is read with the dirty pages under it, and that makes nothing durable.
    let reopened = killed.open(&path("file")).unwrap();
    assert_eq!(medium(reopened.as_ref(), BLOCK_BYTES)[0], 2);
    assert_eq!(killed.power_cut().read_file(&path("file")).unwrap()[0], 1);
    reopened.sync().unwrap();
    assert_eq!(killed.power_cut().read_file(&path("file")).unwrap()[0], 2);
    assert_eq!(disk.power_cut().read_file(&path("file")).unwrap()[0], 1, "the first disk is another");
}

#[test]
fn forks_part_and_keep_the_faults_ahead() {
    let (disk, file) = disk_with_file();
    file.write_at(&[2; SECTOR_BYTES], 0).unwrap();
    disk.inject(When::Step(disk.steps() + 2), Effect::Fails(ErrorCode::InputOutput));
    let fork = disk.fork();
    assert_eq!(fork.pending(), disk.pending());
    file.sync().unwrap();
    assert_eq!(fork.pending().len(), 1);
    let other = fork.open(&path("file")).unwrap();
    other.write_at(&[3; SECTOR_BYTES], 0).unwrap_err();
    other.write_at(&[3; SECTOR_BYTES], 0).unwrap();
    assert_eq!(disk.read_file(&path("file")).unwrap()[0], 2);
}

#[test]
fn recorded_points_show_each_call_half_done() {
    let (disk, file) = disk_with_file();
    disk.record_crash_points();
    file.write_at(&[2; SECTOR_BYTES], 0).unwrap();
    file.len().unwrap();
    file.sync().unwrap();
    file.write_durable_at(&filled(BLOCK_BYTES, 3), BLOCK).unwrap();
    disk.rename(&path("file"), &path("renamed")).unwrap();
    let points = disk.take_crash_points();
    let first = points[0].step;
    let pending: Vec<(u64, usize)> =
        points.iter().map(|point| (point.step - first, point.disk.pending().len())).collect();
    assert_eq!(pending, [(0, 1), (2, 1), (3, 8), (4, 1)], "reads are no crash points");
    assert_eq!(points[1].disk.power_cut().read_file(&path("file")).unwrap()[0], 1, "a sync under way");
    assert_eq!(points[2].disk.power_cut().read_file(&path("file")).unwrap()[0], 2, "has ended");
    assert!(disk.take_crash_points().is_empty());
}

#[test]
fn rerunning_to_every_step_finds_what_recording_finds() {
    let workload = |disk: &SimulatedDisk| -> io::Result<()> {
        let file = disk.create(&path("a"))?;
        file.write_at(&[5; 2 * SECTOR_BYTES], 0)?;
        file.sync()?;
        disk.sync_directory(Path::new("/d"))?;
        disk.rename(&path("a"), &path("b"))?;
        file.write_at(&[6; 100], 50)?;
        disk.sync_directory(Path::new("/d"))
    };
    let contents = |disk: &SimulatedDisk| -> BTreeSet<Vec<(PathBuf, Vec<u8>)>> {
        let content = |crashed: &SimulatedDisk| {
            crashed
                .paths()
                .into_iter()
                .map(|path| (path.clone(), crashed.read_file(&path).unwrap()))
                .collect()
        };
        every_crash(disk).iter().map(content).collect()
    };
    let empty = || {
        let disk = SimulatedDisk::new(3);
        disk.create_directory(Path::new("/d")).unwrap();
        disk
    };
    let recorded = empty();
    recorded.record_crash_points();
    workload(&recorded).unwrap();
    let points = recorded.take_crash_points();
    assert_eq!(points.len(), 7);
    for point in points {
        let rerun = empty();
        rerun.crash_at_step(point.step);
        workload(&rerun).unwrap_err();
        assert_eq!(contents(&rerun), contents(&point.disk), "at step {}", point.step);
    }
}

#[test]
fn large_crashes_are_sampled_with_every_bias() {
    let (disk, file) = disk_with_file();
    file.write_at(&[2; BLOCK_BYTES], 0).unwrap();
    file.write_at(&[3; BLOCK_BYTES], BLOCK).unwrap();
    let sampling = CrashSampling { samples: 200, ..CrashSampling::default() };
    let choices = disk.crash_choices(sampling);
    assert!(!choices.is_exhaustive());
    let choices: Vec<CrashChoice> = choices.collect();
    assert_eq!(choices.len(), 200);
    assert_eq!(choices, disk.crash_choices(sampling).collect::<Vec<_>>(), "the same seed draws the same");
    let units = disk.pending();
    let kept: Vec<Vec<bool>> =
        choices.iter().map(|choice| units.iter().map(|unit| choice.keeps(unit.id)).collect()).collect();
    let count = |kept: &[bool]| kept.iter().filter(|kept| **kept).count();
    assert_eq!((count(&kept[0]), count(&kept[1])), (0, 16));
    let edges = |kept: &[bool]| kept.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!(kept.iter().any(|kept| edges(kept) == 1 && kept[0]), "a prefix");
    assert!(kept.iter().any(|kept| edges(kept) == 1 && !kept[0]), "a suffix");
    assert!(kept.iter().any(|kept| count(kept) == 15), "all but one");
    let torn = |part: &[bool]| (1..8).contains(&count(part));
    assert!(kept.iter().any(|kept| torn(&kept[..8]) && count(&kept[8..]) == 8), "the first call torn");
    assert!(kept.iter().any(|kept| torn(&kept[..8]) && torn(&kept[8..])), "both torn");
    let lost_words = disk.describe(&choices[0]);
    assert_eq!(lost_words.matches("lost  step").count(), 16, "{lost_words}");
}

#[test]
fn surgery_changes_cache_and_medium_and_is_no_step() {
    let (disk, file) = disk_with_file();
    let steps = disk.steps();
    disk.flip_bit(&path("file"), 8 * 600 + 1).unwrap();
    disk.flip_bit(&path("file"), 8 * 2 * BLOCK + 1).unwrap();
    assert_eq!(disk.read_file(&path("file")).unwrap()[600], 3);
    assert_eq!(disk.power_cut().read_file(&path("file")).unwrap()[600], 3);
    assert_eq!(disk.file_len(&path("file")).unwrap(), 2 * BLOCK);
    file.write_at(&[4; 10], 600).unwrap();
    disk.flip_bit(&path("file"), 8 * 600).unwrap();
    file.sync().unwrap();
    assert_eq!(
        disk.power_cut().read_file(&path("file")).unwrap()[600..602],
        [5, 4],
        "a sync does not undo it"
    );
    disk.write_file(&path("file"), b"new");
    assert_eq!(disk.power_cut().read_file(&path("file")).unwrap(), b"new");
    assert_eq!(disk.steps(), steps + 2);
    assert_eq!(disk.flip_bit(&path("missing"), 0).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn the_trace_tells_what_happened() {
    let (disk, file) = disk_with_file();
    disk.inject(When::Call { kind: OperationKind::Write, nth: 1 }, Effect::Fails(ErrorCode::InputOutput));
    file.write_at(&[2; 10], 20).unwrap_err();
    file.sync().unwrap();
    let trace: Vec<String> = disk.trace().iter().map(ToString::to_string).collect();
    assert_eq!(
        trace,
        [
            "     1 Open /d/file",
            "     2 Write /d/file at 20 for 10 <- Fails(InputOutput)",
            "     3 Sync /d/file"
        ]
    );
}

#[test]
fn the_same_seed_gives_the_same_disk() {
    let run = |seed| {
        let disk = SimulatedDisk::new(seed);
        disk.write_file(&path("file"), &[1; 16 * BLOCK_BYTES]);
        let file = disk.open(&path("file")).unwrap();
        file.write_at(&[2; 16 * BLOCK_BYTES], 0).unwrap();
        disk.inject(When::Every(OperationKind::Sync), fail_sync(FailedData::PartlyLost));
        file.sync().unwrap_err();
        disk.power_cut().read_file(&path("file")).unwrap()
    };
    assert!(run(1) == run(1));
    assert!(run(1) != run(2));
}
