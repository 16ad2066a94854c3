//! What counts, and for how long.

use super::*;

#[test]
fn a_record_counts_until_it_is_older_than_the_window() {
    let (mut index, _) = open(&SimulatedDisk::new(1), u64::MAX);
    let entry = record(spread(1), 0, 5_000);
    index.insert(entry);
    for _ in ["in memory", "in a file"] {
        assert_eq!(index.get(entry.key_hash, 5_000 + WINDOW_MICROS).unwrap(), Some(entry));
        assert_eq!(index.get(entry.key_hash, 5_001 + WINDOW_MICROS).unwrap(), None);
        // A caller whose clock stands still asks with the record's own time.
        assert_eq!(index.get(entry.key_hash, 5_000).unwrap(), Some(entry));
        if index.files.is_empty() {
            seal(&mut index, 0, 1);
        }
    }
}

#[test]
fn the_newest_record_of_a_key_wins_wherever_the_records_are() {
    let (mut index, _) = open(&SimulatedDisk::new(1), u64::MAX);
    let key = spread(7);
    for round in 0..6_u64 {
        let newest = record(key, round, 10 + round);
        index.insert(newest);
        assert_eq!(index.get(key, 20).unwrap(), Some(newest), "active, round {round}");
        let task = index.seal(round, round + 1).unwrap();
        assert_eq!(index.get(key, 20).unwrap(), Some(newest), "sealing, round {round}");
        let sealed = task.run().unwrap();
        index.finish_seal(sealed).remove().unwrap();
        assert_eq!(index.get(key, 20).unwrap(), Some(newest), "in a file, round {round}");
        merge_all(&mut index, 20);
        assert_eq!(index.get(key, 20).unwrap(), Some(newest), "merged, round {round}");
    }
    assert!(index.files.len() < 4, "merges took place");
}

#[test]
fn files_go_when_their_newest_record_has_left_the_window() {
    let disk = SimulatedDisk::new(1);
    let (mut index, _) = open(&disk, u64::MAX);
    insert_and_seal(&mut index, 100..110);
    // No keys, so no time: it goes with a later file, not before.
    seal(&mut index, 110, 120);
    insert_and_seal(&mut index, 120..130);
    let names = file_names(&disk);

    assert!(index.expire(109 + WINDOW_MICROS).paths.is_empty(), "offset 109 still counts");
    assert_eq!(index.files.len(), 3);
    index.expire(110 + WINDOW_MICROS).remove().unwrap();
    assert_eq!(index.files.len(), 2);
    assert_eq!(file_names(&disk), names[1..]);
    index.expire(130 + WINDOW_MICROS).remove().unwrap();
    assert_eq!((index.files.len(), index.len()), (0, 0));
    assert!(file_names(&disk).is_empty());
}

#[test]
fn a_file_that_a_merge_works_on_expires_afterwards() {
    let disk = SimulatedDisk::new(1);
    let (mut index, _) = open(&disk, u64::MAX);
    for base in [0, 10, 20, 30] {
        insert_and_seal(&mut index, base..base + 10);
    }
    let task = index.merge_task(0).unwrap();
    assert!(index.merge_task(0).is_none(), "no file is merged twice at once");
    assert!(index.expire(9_000).paths.is_empty());
    let merged = merge(task).unwrap();
    assert!(index.merge_task(0).is_none(), "nor before the result was taken over");
    index.finish_merge(merged).remove().unwrap();
    index.expire(9_000).remove().unwrap();
    assert_eq!(index.files.len(), 0);
    assert!(file_names(&disk).is_empty());
}

#[test]
fn merging_sheds_what_has_left_the_window() {
    let (mut index, _) = open(&SimulatedDisk::new(1), u64::MAX);
    for base in [0, 10, 20, 30] {
        insert_and_seal(&mut index, base..base + 10);
    }
    // Times are offsets: 15 of 40 are too old.
    merge_all(&mut index, 15 + WINDOW_MICROS);
    assert_eq!((index.files.len(), index.len()), (1, 25));
    // Now half of the rest, so that the file is worth being written again, under its own name.
    let now = 29 + WINDOW_MICROS;
    merge_all(&mut index, now);
    assert_eq!((index.files.len(), index.len()), (1, 11));
    for offset in 0..40 {
        let found = index.get(spread(offset), now).unwrap().map(|entry| entry.offset);
        assert_eq!(found, (offset >= 29).then_some(offset));
    }
}

#[test]
fn a_truncated_tail_is_forgotten_and_can_be_written_again() {
    let (mut index, _) = open(&SimulatedDisk::new(1), u64::MAX);
    for offset in 0..10 {
        index.insert(record(spread(offset), offset, offset));
    }
    index.truncate_active(6);
    index.truncate_active(8);
    for offset in 0..10 {
        assert_eq!(index.get(spread(offset), 10).unwrap().is_some(), offset < 6);
    }
    let again = record(spread(9), 6, 11);
    index.insert(again);
    seal(&mut index, 0, 7);
    assert_eq!(index.get(spread(9), 11).unwrap(), Some(again));
    assert_eq!(index.len(), 7);
}

#[test]
fn keys_that_share_their_high_bits_are_told_apart_across_pages() {
    let (mut index, _) = open(&SimulatedDisk::new(1), u64::MAX);
    // Three pages and more of the same high word, between others.
    let high = u128::from(u64::MAX / 2) << 64;
    let keys: Vec<u128> =
        (0..50).map(spread).chain((0..400).map(|low| high | (low * 2))).chain([0, u128::MAX]).collect();
    for (offset, key) in (0..).zip(&keys) {
        index.insert(record(*key, offset, 0));
    }
    seal(&mut index, 0, 1_000);
    for (offset, key) in (0..).zip(&keys) {
        assert_eq!(index.get(*key, 0).unwrap().map(|entry| entry.offset), Some(offset));
    }
    for low in 0..400 {
        assert_eq!(index.get(high | (low * 2 + 1), 0).unwrap(), None);
    }
}

#[test]
fn parts_that_wait_for_their_files_answer_until_these_are_there() {
    let disk = SimulatedDisk::new(1);
    let (mut index, _) = open(&disk, u64::MAX);
    let key = spread(1);
    let records = [record(key, 0, 5), record(key, 10, 6)];
    let tasks = records.map(|entry| {
        index.insert(entry);
        index.insert(record(spread(entry.offset + 100), entry.offset + 1, 6));
        index.seal(entry.offset, entry.offset + 10).unwrap()
    });
    // What an attempt in this process left is no obstacle.
    disk.write_file(&directory().join(file_name::temporary(&(0..10))), b"half");
    for task in tasks.iter().rev() {
        assert_eq!(index.get(key, 6).unwrap(), Some(records[1]));
        assert!(index.get(spread(100), 6).unwrap().is_some() && index.get(spread(110), 6).unwrap().is_some());
        index.finish_seal(task.run().unwrap()).remove().unwrap();
    }
    assert_eq!(index.get(key, 6).unwrap(), Some(records[1]));
    assert_eq!((index.files.len(), index.len()), (2, 4));
}

#[test]
#[should_panic(expected = "sealed parts take no more keys")]
fn a_record_of_a_sealed_part_comes_too_late() {
    let (mut index, _) = open(&SimulatedDisk::new(1), u64::MAX);
    seal(&mut index, 0, 10);
    index.insert(record(spread(1), 9, 0));
}
