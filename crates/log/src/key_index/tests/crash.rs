//! Power loss and failing calls in the middle of every task.

use super::*;
use crate::disk::simulated::{CrashSampling, Effect, ErrorCode, FailedData, OperationKind, When};

const PER_FILE: u64 = 30;
const END: u64 = 4 * PER_FILE;

/// Whether a call that failed is made again.
#[derive(Clone, Copy, PartialEq)]
enum OnError {
    Panic,
    TryAgain,
}

/// Seals four files and merges them. Tells after which step which offsets have to survive.
fn work(disk: &SimulatedDisk, on_error: OnError) -> Vec<(u64, Range<u64>)> {
    let mut promised = Vec::new();
    let (mut index, _) = attempt(on_error, || try_open(disk, END));
    for base in (0..END).step_by(usize::try_from(PER_FILE).unwrap()) {
        let end = base + PER_FILE;
        for offset in base..end {
            index.insert(record(spread(offset), offset, offset));
        }
        let task = index.seal(base, end).unwrap();
        let sealed = attempt(on_error, || task.run().inspect_err(|_| assert_answers(&index, end)));
        remove(on_error, index.finish_seal(sealed));
        assert_answers(&index, end);
        promised.push((disk.steps(), base..end));
    }
    let merged = attempt(on_error, || {
        merge(index.merge_task(0).unwrap()).inspect_err(|_| assert_answers(&index, END))
    });
    remove(on_error, index.finish_merge(merged));
    assert_answers(&index, END);
    assert_eq!(index.files.len(), 1);
    promised
}

fn attempt<T>(on_error: OnError, mut call: impl FnMut() -> Result<T, KeyIndexError>) -> T {
    match call() {
        Err(_) if on_error == OnError::TryAgain => call().unwrap(),
        outcome => outcome.unwrap(),
    }
}

/// A file that could not be removed waits for the next opening.
fn remove(on_error: OnError, retired: Retired) {
    let removed = retired.remove();
    assert!(removed.is_ok() || on_error == OnError::TryAgain, "{removed:?}");
}

fn assert_answers(index: &KeyIndex, end: u64) {
    for offset in 0..END {
        // An error is no answer, so it may be asked for again.
        let found = index.get(spread(offset), 0).or_else(|_| index.get(spread(offset), 0)).unwrap();
        assert_eq!(found, (offset < end).then(|| record(spread(offset), offset, offset)));
    }
}

/// Opens, rebuilds what is missing as the log would, and checks that all is known.
fn recover(disk: &SimulatedDisk) -> Coverage {
    let (mut index, coverage) = open(disk, END);
    assert!(coverage.problems.is_empty(), "a crash damages nothing: {:?}", coverage.problems);
    for missing in coverage.missing(0..END) {
        let mut rebuild = Rebuild::new(&index, missing.clone());
        for offset in missing {
            rebuild.add(record(spread(offset), offset, offset)).unwrap();
        }
        index.finish_rebuild(rebuild.finish().unwrap()).remove().unwrap();
    }
    assert_answers(&index, END);
    for name in file_names(disk) {
        assert!(matches!(file_name::kind(&name), file_name::Kind::Complete(_)), "{name} is left over");
    }
    coverage
}

#[test]
fn power_loss_at_any_moment_loses_no_file_that_was_complete() {
    let disk = SimulatedDisk::new(1);
    disk.record_crash_points();
    let promised = work(&disk, OnError::Panic);
    let mut crashes = 0;
    for point in disk.take_crash_points() {
        let sampling = CrashSampling { exhaustive_units: 5, samples: 24, seed: point.step };
        for choice in point.disk.crash_choices(sampling) {
            let crashed = point.disk.crash(&choice);
            let coverage = recover(&crashed);
            for (step, offsets) in &promised {
                assert!(
                    *step >= point.step || coverage.missing(offsets.clone()).is_empty(),
                    "{offsets:?} is gone after power loss at step {}:\n{}",
                    point.step,
                    point.disk.describe(&choice)
                );
            }
            crashes += 1;
        }
        recover(&point.disk.kill());
    }
    assert!(crashes > 300, "only {crashes} crashes were tried");
}

#[test]
fn power_loss_while_a_killed_process_is_restarted_loses_no_file_that_was_complete() {
    let disk = SimulatedDisk::new(1);
    disk.record_crash_points();
    let promised = work(&disk, OnError::Panic);
    for point in disk.take_crash_points() {
        let sampling = CrashSampling { exhaustive_units: 5, samples: 16, seed: point.step };
        let killed = point.disk.kill();
        killed.record_crash_points();
        open(&killed, END);
        for during_open in killed.take_crash_points() {
            for choice in during_open.disk.crash_choices(sampling) {
                let coverage = recover(&during_open.disk.crash(&choice));
                for (_, offsets) in promised.iter().filter(|(step, _)| *step < point.step) {
                    assert!(
                        coverage.missing(offsets.clone()).is_empty(),
                        "{offsets:?} is gone after a kill at step {} and power loss while opening:\n{}",
                        point.step,
                        during_open.disk.describe(&choice)
                    );
                }
            }
        }
    }
}

#[test]
fn a_failed_removal_is_told_and_made_good_at_the_next_opening() {
    for kind in [OperationKind::Remove, OperationKind::SyncDirectory] {
        let disk = SimulatedDisk::new(1);
        let (mut index, _) = open(&disk, END);
        for base in (0..END).step_by(usize::try_from(PER_FILE).unwrap()) {
            insert_and_seal(&mut index, base..base + PER_FILE);
        }
        let merged = merge(index.merge_task(0).unwrap()).unwrap();
        let retired = index.finish_merge(merged);
        disk.inject(When::Call { kind, nth: 1 }, Effect::Fails(ErrorCode::InputOutput));
        assert!(matches!(retired.remove(), Err(KeyIndexError::Io { .. })));
        recover(&disk.power_cut());
        recover(&disk);
        assert_eq!(file_names(&disk).len(), 1);
    }
}

#[test]
fn a_failing_call_anywhere_changes_no_answer_and_can_be_made_again() {
    let clean = SimulatedDisk::new(1);
    work(&clean, OnError::Panic);
    for step in 1..=clean.steps() {
        for error in [ErrorCode::NoSpace, ErrorCode::InputOutput] {
            let disk = SimulatedDisk::new(1);
            disk.inject(When::Step(step), Effect::Fails(error));
            work(&disk, OnError::TryAgain);
            assert_eq!(disk.faults_hit(), 1);
            let coverage = recover(&disk);
            assert_eq!(coverage.covered, vec![0..END], "step {step}");
        }
    }
}

#[test]
fn a_failed_sync_is_not_believed_by_the_next_attempt() {
    for kind in [OperationKind::Sync, OperationKind::SyncDirectory] {
        let clean = SimulatedDisk::new(1);
        work(&clean, OnError::Panic);
        let calls = clean.trace().iter().filter(|call| call.kind == kind).count() as u64;
        for nth in 1..=calls {
            let disk = SimulatedDisk::new(1);
            let effect = Effect::SyncFails { error: ErrorCode::InputOutput, data: FailedData::Lost };
            disk.inject(When::Call { kind, nth }, effect);
            let promised = work(&disk, OnError::TryAgain);
            assert_eq!(disk.faults_hit(), 1);
            let coverage = recover(&disk.power_cut());
            for (_, offsets) in promised {
                assert!(coverage.missing(offsets.clone()).is_empty(), "{offsets:?}, {kind:?} {nth}");
            }
        }
    }
}
