//! Damage to what was acknowledged: it is found, named by segment and offset, and repaired only on an operator's word.

use std::path::PathBuf;

use super::ledger::{group, number_of};
use super::{SEGMENT_BYTES, SimulatedLog, directory, files, options};
use crate::disk::simulated::SimulatedDisk;
use crate::disk::{BLOCK_BYTES, Disk};
use crate::error::{DamageKind, OpenError, ReadError};
use crate::offline::{clean, repair, verify};
use crate::segment::{parse_segment_name, segment_name};

/// A log of several segments whose end is marked.
fn whole_log(records: u32) -> SimulatedDisk {
    let disk = SimulatedDisk::new(1);
    let log = SimulatedLog::open(&disk, options()).expect("a new log");
    for number in 0..records {
        log.append(group(&[number], 5_000, None)).expect("appended");
        log.maintain();
    }
    log.mark();
    drop(log);
    disk
}

fn numbers(log: &SimulatedLog) -> Vec<u32> {
    log.read_all().expect("readable").iter().map(|record| number_of(&record.payload)).collect()
}

/// What a disk says of itself when a log is opened, read whole and verified: the first offset that it finds hurt.
fn complaint(disk: &SimulatedDisk) -> Option<(PathBuf, u64)> {
    let damage = match SimulatedLog::open(disk, options()) {
        Err(OpenError::Damaged(damage)) => Some(damage),
        Err(other) => panic!("damage is named: {other}"),
        Ok(log) => match log.read_all() {
            Err(ReadError::Damaged(damage)) => Some(damage),
            Err(other) => panic!("damage is named: {other}"),
            Ok(_) => None,
        },
    };
    let report = verify(disk, &directory(), &mut |_| {}).expect("verifies");
    assert_eq!(
        report.damage.is_empty(),
        damage.is_none(),
        "verifying and using agree: {damage:?} {report:?}"
    );
    damage.map(|damage| (damage.segment, damage.offset))
}

/// Every frame of a segment as (position, end, first offset).
fn frames(disk: &SimulatedDisk, base: u64) -> Vec<(u64, u64, u64)> {
    let frames = crate::offline::inspect_segment(disk, &directory(), base).expect("inspected");
    frames.iter().map(|frame| (frame.position, frame.position + frame.bytes, frame.base_offset)).collect()
}

fn bases(disk: &SimulatedDisk) -> Vec<u64> {
    let name = |path: &PathBuf| path.file_name().and_then(|name| parse_segment_name(&name.to_string_lossy()));
    files(disk, "log").iter().filter_map(name).collect()
}

#[test]
fn every_flipped_bit_of_what_was_acknowledged_is_found_and_named() {
    let long = std::env::var_os("TEST_LONG").is_some();
    let disk = whole_log(20);
    assert!(bases(&disk).len() >= 3);
    assert_eq!(complaint(&disk), None);
    let mut tried = 0u64;
    for base in bases(&disk) {
        let path = directory().join(segment_name(base));
        let mut regions = frames(&disk, base);
        let is_last = Some(&base) == bases(&disk).last();
        let mark = regions.last().copied().filter(|_| is_last);
        regions.insert(0, (0, BLOCK_BYTES as u64, base));
        for (start, end, offset) in regions {
            // Headers to the bit; of the rest every bit in a long run, and a spread of them in a short one.
            let step = |bit: u64| if long || bit < (start + 72) * 8 { 1 } else { 61 };
            let mut bit = start * 8;
            while bit < end * 8 {
                tried += 1;
                let hurt = disk.fork();
                hurt.flip_bit(&path, bit).expect("there is such a file");
                let expected = (Some((start, end, offset)) != mark).then(|| (path.clone(), offset));
                assert_eq!(complaint(&hurt), expected, "bit {bit} of {}", path.display());
                bit += step(bit);
            }
        }
    }
    println!("{tried} flips, found and named all");
}

#[test]
fn a_flip_in_the_last_acknowledged_frame_is_damage_after_an_idle_moment_and_torn_before() {
    let disk = SimulatedDisk::new(1);
    let log = SimulatedLog::open(&disk, options()).expect("a new log");
    log.append(group(&[0], 100, None)).expect("appended");
    log.append(group(&[1], 100, None)).expect("appended");
    let path = directory().join(segment_name(0));
    let (start, ..) = frames(&disk, 0)[1];
    let unmarked = disk.kill();
    unmarked.flip_bit(&path, (start + 80) * 8).expect("flipped");
    let torn = SimulatedLog::open(&unmarked, options()).expect("nothing says that it was acknowledged");
    assert_eq!(numbers(&torn), [0]);
    log.mark();
    let marked = disk.kill();
    marked.flip_bit(&path, (start + 80) * 8).expect("flipped");
    let damaged = SimulatedLog::open(&marked, options()).err().expect("the mark says that it was");
    assert!(matches!(damaged, OpenError::Damaged(damage) if damage.offset == 1 && damage.position == start));
}

#[test]
fn missing_doubled_and_foreign_segments_are_named() {
    let disk = whole_log(40);
    let all = bases(&disk);
    for base in &all {
        let hurt = disk.fork();
        hurt.remove(&directory().join(segment_name(*base))).expect("removed");
        let error = SimulatedLog::open(&hurt, options()).err().expect("a missing segment is damage");
        assert!(
            matches!(&error, OpenError::Damaged(damage) if damage.kind == DamageKind::Missing && damage.offset == *base),
            "{base}: {error}"
        );
    }
    let second = disk.read_file(&directory().join(segment_name(all[1]))).expect("read");
    let doubled = disk.fork();
    doubled.write_file(&directory().join(segment_name(all[2])), &second);
    let error = SimulatedLog::open(&doubled, options()).err().expect("a doubled segment is damage");
    assert!(matches!(error, OpenError::Damaged(damage) if damage.kind == DamageKind::Foreign));
    let other = whole_log(40);
    let foreign = disk.fork();
    let stranger = other.read_file(&directory().join(segment_name(all[1]))).expect("read");
    foreign.write_file(&directory().join(segment_name(all[1])), &stranger);
    let error = SimulatedLog::open(&foreign, options()).err().expect("another log's segment is damage");
    assert!(matches!(error, OpenError::Damaged(damage) if damage.kind == DamageKind::Foreign));
}

#[test]
fn swapped_zeroed_and_stale_blocks_are_named() {
    let disk = whole_log(8);
    let path = directory().join(segment_name(0));
    let found = frames(&disk, 0);
    let bytes = disk.read_file(&path).expect("read");
    let ((first, first_end, _), (second, second_end, offset)) = (found[1], found[2]);
    let mut swapped = bytes.clone();
    swapped[first as usize..first_end as usize].copy_from_slice(&bytes[second as usize..second_end as usize]);
    let mut zeroed = bytes.clone();
    zeroed[second as usize..second_end as usize].fill(0);
    let mut doubled = bytes.clone();
    doubled[second as usize..second_end as usize].copy_from_slice(&bytes[first as usize..first_end as usize]);
    for (what, hurt_bytes, hurt_offset) in
        [("swapped", swapped, found[1].2), ("zeroed", zeroed, offset), ("doubled", doubled, offset)]
    {
        let hurt = disk.fork();
        hurt.write_file(&path, &hurt_bytes);
        assert_eq!(complaint(&hurt), Some((path.clone(), hurt_offset)), "{what}");
    }
}

#[test]
fn repair_names_what_is_gone_keeps_the_rest_and_every_offset() {
    let disk = whole_log(30);
    let all = bases(&disk);
    let hurt_base = all[1];
    let (start, _, offset) = frames(&disk, hurt_base)[2];
    disk.flip_bit(&directory().join(segment_name(hurt_base)), (start + 100) * 8).expect("flipped");
    disk.remove(&directory().join(segment_name(all[2]))).expect("removed");
    disk.flip_bit(&directory().join(segment_name(all[0])), 9).expect("a header");
    let after_hole = all[3];
    let report = repair(&disk, &directory(), &mut |_| {}).expect("repaired");
    let lost: Vec<_> = report.lost.iter().map(|lost| (lost.from, lost.to)).collect();
    assert_eq!(lost, [(offset, offset + 1), (all[2], after_hole)], "exactly what is gone is named");
    assert_eq!(report.quarantined.len(), 2, "the two damaged files were set aside");
    let log = SimulatedLog::open(&disk.power_cut(), options()).expect("it opens again, durably");
    let expected: Vec<u32> = (0..30)
        .filter(|n| u64::from(*n) != offset && !(all[2]..after_hole).contains(&u64::from(*n)))
        .collect();
    assert_eq!(numbers(&log), expected);
    assert!(log.read_all().expect("readable").iter().all(|r| r.offset == u64::from(number_of(&r.payload))));
    assert_eq!(log.durable_offset(), 30, "offsets go on where they were");
    drop(log);
    let again = repair(&disk, &directory(), &mut |_| {}).expect("repaired");
    assert!(again.lost.is_empty() && again.quarantined.is_empty(), "a whole log is left alone: {again:?}");
    let verified = verify(&disk, &directory(), &mut |_| {}).expect("verified");
    assert_eq!(verified.damage, []);
    assert_eq!(verified.given_up, lost, "the gaps stay on record");
    let cleaned = clean(&disk, &directory()).expect("cleaned");
    assert_eq!(cleaned.removed.len(), 2);
    assert!(cleaned.bytes >= 2 * SEGMENT_BYTES);
}

#[test]
fn repair_of_a_lost_tail_gives_up_only_what_was_acknowledged() {
    let disk = SimulatedDisk::new(1);
    let log = SimulatedLog::open(&disk, options()).expect("a new log");
    for number in 0..4 {
        log.append(group(&[number], 100, None)).expect("appended");
    }
    log.mark();
    drop(log);
    let path = directory().join(segment_name(0));
    let (start, ..) = frames(&disk, 0)[3];
    disk.flip_bit(&path, (start + 70) * 8).expect("flipped");
    let report = repair(&disk, &directory(), &mut |_| {}).expect("repaired");
    assert_eq!(report.lost.iter().map(|lost| (lost.from, lost.to)).collect::<Vec<_>>(), [(3, 4)]);
    let log = SimulatedLog::open(&disk, options()).expect("it opens");
    assert_eq!(numbers(&log), [0, 1, 2]);
    log.append(group(&[9], 100, None)).expect("appended");
    let last = log.read_all().expect("readable").pop().expect("a record");
    assert_eq!((last.offset, number_of(&last.payload)), (4, 9), "the lost offset is not given again");
}

#[test]
fn a_lost_manifest_is_rebuilt_only_on_request() {
    let disk = whole_log(20);
    disk.remove(&directory().join("MANIFEST")).expect("removed");
    let error = SimulatedLog::open(&disk, options()).err().expect("no silent fresh start");
    assert!(matches!(error, OpenError::ManifestDamaged { .. }));
    let report = repair(&disk, &directory(), &mut |_| {}).expect("repaired");
    assert!(report.manifest_rebuilt && report.lost.is_empty());
    assert_eq!(numbers(&SimulatedLog::open(&disk, options()).expect("opens")).len(), 20);
}
