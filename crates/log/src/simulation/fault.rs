//! Every call of a workload fails in every way that it can: with EIO, for want of room, half done, and lying about it.

use std::collections::BTreeSet;

use super::SimulatedLog;
use super::ledger::{Ledger, Outcome, group, number_of};
use super::workload::{Deed, Life, options};
use crate::core::Status;
use crate::disk::DurableWrites;
use crate::disk::simulated::{Effect, ErrorCode, FailedData, OperationKind, SimulatedDisk, When};

const DEEDS: [Deed; 14] = [
    Deed::AppendOne,
    Deed::AppendKeyed(1),
    Deed::Mark,
    Deed::TwoInFlight,
    Deed::Roll,
    Deed::Maintain,
    Deed::AppendKeyed(2),
    Deed::KillAndReopen,
    Deed::AppendMany,
    Deed::Roll,
    Deed::Maintain,
    Deed::AppendKeyed(1),
    Deed::Reopen,
    Deed::TwoInFlight,
];

/// All that can go wrong with a call.
fn effects(kind: OperationKind) -> Vec<Effect> {
    let mut effects = vec![Effect::Fails(ErrorCode::InputOutput), Effect::Fails(ErrorCode::NoSpace)];
    if matches!(kind, OperationKind::Write | OperationKind::WriteDurable) {
        effects.push(Effect::Short { bytes: 512, error: ErrorCode::InputOutput });
        effects.push(Effect::Short { bytes: 4_096, error: ErrorCode::NoSpace });
    }
    // A directory's failed sync leaves its names to a later one: where it would lose them, the journal has been aborted and
    // the file system takes no more writes at all.
    if kind == OperationKind::SyncDirectory {
        effects.push(Effect::SyncFails { error: ErrorCode::InputOutput, data: FailedData::KeptDirty });
    }
    if matches!(kind, OperationKind::Sync | OperationKind::WriteDurable) {
        for data in [FailedData::Lost, FailedData::PartlyLost, FailedData::KeptDirty] {
            effects.push(Effect::SyncFails { error: ErrorCode::InputOutput, data });
            effects.push(Effect::SyncFails { error: ErrorCode::NoSpace, data });
        }
    }
    if matches!(kind, OperationKind::Read | OperationKind::ReadMedium) {
        effects.push(Effect::FlipsBit(4_321));
        effects.push(Effect::FlipsBit(70));
    }
    effects
}

/// The kinds of all calls of the workload, in order.
fn kinds(durable_writes: DurableWrites) -> Vec<OperationKind> {
    let disk = SimulatedDisk::with_durable_writes(1, durable_writes);
    let mut life = Life::begin(&disk).expect("a new log");
    for deed in DEEDS {
        life.live(deed).expect("nothing fails here");
        see(&life, &mut BTreeSet::new());
    }
    disk.trace().iter().map(|operation| operation.kind).collect()
}

/// Reads the log as its readers do; what they have seen must never vanish.
fn see(life: &Life, seen: &mut BTreeSet<u32>) {
    if let Some(Ok(records)) = life.log.as_ref().map(SimulatedLog::read_all) {
        seen.extend(records.iter().map(|record| number_of(&record.payload)));
    }
}

/// Lives the workload with one fault, and then kills it, cuts the power, and both.
fn live_with(durable_writes: DurableWrites, step: u64, effect: Effect) {
    let disk = SimulatedDisk::with_durable_writes(1, durable_writes);
    disk.inject(When::Step(step), effect);
    let mut seen = BTreeSet::new();
    let mut ledger = Ledger::default();
    if let Ok(mut life) = Life::begin(&disk) {
        for deed in DEEDS {
            if life.live(deed).is_err() {
                // It says why it does not open, and opens when the fault is gone.
                disk.clear_faults();
                life.open().unwrap_or_else(|error| panic!("{error}: {effect:?} at step {step}"));
            }
            see(&life, &mut seen);
        }
        assert!(disk.faults_hit() > 0, "{effect:?} at step {step} hit nothing");
        disk.clear_faults();
        recover_from_full_disk(&life, step, effect);
        see(&life, &mut seen);
        ledger = life.ledger.clone();
    }
    disk.clear_faults();
    let context = |after: &str| format!("{effect:?} at step {step} ({durable_writes:?}), then {after}");
    let cut = check(&disk.power_cut(), &ledger, &seen, &|| context("a power cut"));
    let killed = disk.kill();
    let mut seen_after_kill = check(&killed, &ledger, &seen, &|| context("a kill"));
    seen_after_kill.extend(&cut.intersection(&seen).copied().collect::<BTreeSet<_>>());
    check(&killed.power_cut(), &ledger, &seen_after_kill, &|| context("a kill, a start and a power cut"));
}

/// A log that is not poisoned takes events again by itself once there is room.
fn recover_from_full_disk(life: &Life, step: u64, effect: Effect) {
    let Some(log) = &life.log else { return };
    if matches!(log.status(), Status::Poisoned { .. }) {
        let for_want_of_room = format!("{effect:?}").contains("NoSpace");
        assert!(
            !for_want_of_room,
            "a full disk poisons the log: {effect:?} at step {step}: {:?}",
            log.status()
        );
        return;
    }
    log.maintain();
    let answer = log.append(group(&[1_000_000], 100, None));
    assert!(answer.is_ok(), "{effect:?} at step {step}: {answer:?}");
}

/// Opens a disk as the next process would, checks it against what publishers and readers know, and tells what it shows.
fn check(
    disk: &SimulatedDisk,
    ledger: &Ledger,
    seen: &BTreeSet<u32>,
    context: &dyn Fn() -> String,
) -> BTreeSet<u32> {
    let mut ledger = ledger.clone();
    // Appended to see whether the log still takes events.
    ledger.expect_possibly(1_000_000, 100);
    let log = SimulatedLog::open(disk, options()).unwrap_or_else(|error| panic!("{error}\n{}", context()));
    ledger.check(&log, u64::MAX, context);
    let shown: BTreeSet<u32> =
        log.read_all().expect("readable").iter().map(|record| number_of(&record.payload)).collect();
    let oldest = shown.first().copied().unwrap_or(u32::MAX);
    let vanished: Vec<_> = seen.difference(&shown).filter(|number| **number > oldest).collect();
    assert!(vanished.is_empty(), "{vanished:?} had been read and vanished\n{}", context());
    shown
}

fn fail_every_call(durable_writes: DurableWrites) {
    let mut tried = 0;
    for (at, kind) in kinds(durable_writes).into_iter().enumerate() {
        for effect in effects(kind) {
            live_with(durable_writes, at as u64 + 1, effect);
            tried += 1;
        }
    }
    println!("{durable_writes:?}: {tried} faults, lost 0, vanished 0");
}

#[test]
fn every_call_fails_in_every_way_with_direct_writes() {
    fail_every_call(DurableWrites::Direct);
}

#[test]
fn every_call_fails_in_every_way_with_buffered_writes() {
    fail_every_call(DurableWrites::Buffered);
}

#[test]
fn after_a_failed_sync_nothing_is_acknowledged_and_a_restart_tells_what_is_there() {
    let disk = SimulatedDisk::new(1);
    let mut life = Life::begin(&disk).expect("a new log");
    life.live(Deed::AppendOne).expect("appended");
    disk.inject(
        When::Call { kind: OperationKind::WriteDurable, nth: 1 },
        Effect::SyncFails { error: ErrorCode::InputOutput, data: FailedData::Lost },
    );
    life.live(Deed::AppendOne).expect("answered");
    life.live(Deed::AppendOne).expect("answered");
    let outcomes: Vec<_> = life.ledger.publishes.iter().map(|publish| publish.outcome.clone()).collect();
    assert!(matches!(outcomes[0], Outcome::Acked { .. }));
    assert_eq!(outcomes[1..], [Outcome::Unknown, Outcome::Refused("other")]);
    let log = life.log.as_ref().expect("open");
    assert!(matches!(log.status(), Status::Poisoned { .. }), "it says why it takes no events");
    assert_eq!(log.read_all().expect("reads go on").len(), 1);
}
