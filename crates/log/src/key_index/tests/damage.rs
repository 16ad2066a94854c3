//! A key file that is not what was written is an error that names it, never another answer.

use super::*;
use crate::disk::simulated::{Effect, ErrorCode, OperationKind, When};
use error::Part;
use format::PAGE_BYTES;

const OFFSETS: Range<u64> = 40..150;

/// A file with the keys of `OFFSETS`: two entry pages.
fn disk_with_file() -> SimulatedDisk {
    let disk = SimulatedDisk::new(1);
    let (mut index, _) = open(&disk, u64::MAX);
    insert_and_seal(&mut index, OFFSETS);
    disk
}

fn open_file(disk: &SimulatedDisk) -> Result<KeyFile, KeyIndexError> {
    KeyFile::open(disk, &path_of(&OFFSETS), LOG_ID, OFFSETS)
}

/// The offsets in ascending order of their keys.
fn sorted_offsets() -> Vec<u64> {
    let mut offsets: Vec<u64> = OFFSETS.collect();
    offsets.sort_unstable_by_key(|offset| spread(*offset));
    offsets
}

#[test]
fn every_flipped_bit_is_found() {
    let disk = disk_with_file();
    let path = path_of(&OFFSETS);
    let bits = disk.file_len(&path).unwrap() * 8;
    let page_bits = PAGE_BYTES as u64 * 8;
    let offsets = sorted_offsets();
    let (first_page, second_page) = (&offsets[..102], &offsets[102..]);
    for bit in 0..bits {
        disk.flip_bit(&path, bit).unwrap();
        let opened = open_file(&disk);
        if (page_bits..3 * page_bits).contains(&bit) {
            let page = bit / page_bits - 1;
            let file = opened.unwrap();
            for (number, keys) in [first_page, second_page].into_iter().enumerate() {
                for offset in [keys[0], keys[keys.len() - 1]] {
                    match file.find(spread(offset)) {
                        Err(KeyIndexError::Damaged { part, offsets, .. }) => {
                            assert_eq!((part, offsets), (Part::Page(page), OFFSETS), "bit {bit}");
                            assert_eq!(number as u64, page, "bit {bit}");
                        }
                        found => {
                            assert_ne!(number as u64, page, "bit {bit} was not noticed");
                            assert_eq!(found.unwrap().map(|entry| entry.offset), Some(offset), "bit {bit}");
                        }
                    }
                }
            }
        } else {
            assert!(matches!(opened, Err(KeyIndexError::Damaged { .. })), "bit {bit} was not noticed");
        }
        disk.flip_bit(&path, bit).unwrap();
    }
}

#[test]
fn every_other_length_is_found() {
    let disk = disk_with_file();
    let path = path_of(&OFFSETS);
    let bytes = disk.read_file(&path).unwrap();
    for length in 0..bytes.len() {
        disk.write_file(&path, &bytes[..length]);
        assert!(matches!(open_file(&disk), Err(KeyIndexError::Damaged { .. })), "cut to {length}");
    }
    disk.write_file(&path, &[bytes.as_slice(), &[0]].concat());
    assert!(matches!(open_file(&disk), Err(KeyIndexError::Damaged { part: Part::File, .. })));
}

#[test]
fn a_page_in_the_wrong_place_is_found() {
    let disk = disk_with_file();
    let path = path_of(&OFFSETS);
    let good = disk.read_file(&path).unwrap();
    let mut swapped = good.clone();
    swapped[PAGE_BYTES..2 * PAGE_BYTES].copy_from_slice(&good[2 * PAGE_BYTES..3 * PAGE_BYTES]);
    disk.write_file(&path, &swapped);
    let found = open_file(&disk).unwrap().find(spread(sorted_offsets()[0]));
    assert!(matches!(found, Err(KeyIndexError::Damaged { part: Part::Page(0), .. })), "{found:?}");

    // The same page of a file with the same keys, but of another log.
    let other = SimulatedDisk::new(1);
    open(&other, 0);
    let home = Home { log_id: [9; 16], ..home(&other) };
    writer::write(&home, &OFFSETS, 110, |writer| {
        sorted_offsets()
            .into_iter()
            .try_for_each(|offset| writer.push(record(spread(offset), offset, offset)))
    })
    .unwrap();
    let foreign = other.read_file(&path).unwrap();
    let mut mixed = good.clone();
    mixed[PAGE_BYTES..2 * PAGE_BYTES].copy_from_slice(&foreign[PAGE_BYTES..2 * PAGE_BYTES]);
    disk.write_file(&path, &mixed);
    let found = open_file(&disk).unwrap().find(spread(sorted_offsets()[0]));
    assert!(matches!(found, Err(KeyIndexError::Damaged { part: Part::Page(0), .. })), "{found:?}");
}

#[test]
fn a_failing_or_lying_read_is_no_answer() {
    let disk = disk_with_file();
    let (index, _) = open(&disk, u64::MAX);
    let key = spread(sorted_offsets()[105]);
    let next_read = When::Call { kind: OperationKind::Read, nth: 1 };
    disk.inject(next_read, Effect::Fails(ErrorCode::InputOutput));
    match index.get(key, 0) {
        Err(error @ KeyIndexError::Unreadable { part: Part::Page(1), .. }) => {
            assert_eq!(error.offsets_to_rebuild(), Some(OFFSETS));
            let text = error.to_string();
            assert!(
                text.contains(path_of(&OFFSETS).to_str().unwrap()) && text.contains("entry page 1"),
                "{text}"
            );
        }
        other => panic!("{other:?}"),
    }
    disk.inject(next_read, Effect::FlipsBit(12_345));
    assert!(matches!(index.get(key, 0), Err(KeyIndexError::Damaged { part: Part::Page(1), .. })));
    disk.inject(next_read, Effect::Misdirected { position: PAGE_BYTES as u64 });
    assert!(matches!(index.get(key, 0), Err(KeyIndexError::Damaged { part: Part::Page(1), .. })));
    assert!(index.get(key, 0).unwrap().is_some(), "and the next good read answers");
}

#[test]
fn a_merge_of_a_damaged_file_fails_and_a_rebuilt_file_takes_its_place() {
    let disk = SimulatedDisk::new(1);
    let (mut index, _) = open(&disk, u64::MAX);
    for base in [0, 10, 20, 30] {
        insert_and_seal(&mut index, base..base + 10);
    }
    disk.flip_bit(&path_of(&(10..20)), PAGE_BYTES as u64 * 8 + 100).unwrap();
    let error = merge(index.merge_task(0).unwrap()).unwrap_err();
    let offsets = error.offsets_to_rebuild().unwrap();
    assert_eq!(offsets, 10..20);
    assert!(index.get(spread(15), 15).is_err());
    assert_eq!(file_names(&disk).len(), 4, "nothing is left of the merge");

    let mut rebuild = Rebuild::new(&index, offsets.clone());
    for offset in offsets {
        rebuild.add(record(spread(offset), offset, offset)).unwrap();
    }
    let rebuilt = rebuild.finish().unwrap();
    index.finish_rebuild(rebuilt).remove().unwrap();
    merge_all(&mut index, 0);
    assert_eq!((index.files.len(), index.len()), (1, 40));
    for offset in 0..40 {
        assert_eq!(index.get(spread(offset), 40).unwrap().map(|entry| entry.offset), Some(offset));
    }
}
