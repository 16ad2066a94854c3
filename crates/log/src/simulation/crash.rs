//! Power fails at every step of a workload, and every legal subset of what was not synced is kept.

use super::SimulatedLog;
use super::ledger::{Ledger, group, number_of};
use super::workload::{Deed, EVERY_DEED, Life, options};
use crate::commit_queue::RecordOutcome;
use crate::disk::simulated::{CrashPoint, CrashSampling, SimulatedDisk};

/// How far a run goes: a few seconds by default, all that is possible with `TEST_LONG=1`.
fn long() -> bool {
    std::env::var_os("TEST_LONG").is_some()
}

/// How much has been tried.
#[derive(Default)]
struct Tally {
    moments: u64,
    crashes: u64,
}

/// Lives a workload, and crashes it at every step in many ways.
fn crash_everywhere(deeds: &[Deed], samples: usize, tally: &mut Tally) {
    let disk = SimulatedDisk::new(1);
    disk.record_crash_points();
    let mut life = Life::begin(&disk).expect("a new log");
    for deed in deeds {
        life.live(*deed).expect("nothing fails here");
    }
    let ledger = life.ledger.clone();
    drop(life);
    for point in disk.take_crash_points() {
        tally.moments += 1;
        let sampling = CrashSampling { exhaustive_units: 6, samples, seed: point.step };
        for (n, choice) in point.disk.crash_choices(sampling).enumerate() {
            tally.crashes += 1;
            let found = point.disk.crash(&choice);
            let context =
                || format!("{deeds:?}, crashed in step {}:\n{}", point.step, point.disk.describe(&choice));
            survive(&found, &ledger, &point, n.is_multiple_of(8), &context);
        }
    }
}

/// Opens what a crash left, checks it against the ledger, and, where asked, goes on with it.
fn survive(
    found: &SimulatedDisk,
    ledger: &Ledger,
    point: &CrashPoint,
    goes_on: bool,
    context: &dyn Fn() -> String,
) {
    let log = SimulatedLog::open(found, options()).unwrap_or_else(|error| panic!("{error}\n{}", context()));
    ledger.check(&log, point.step, context);
    if !goes_on {
        return;
    }
    let before: Vec<u32> = log.read_all().expect("readable").iter().map(|r| number_of(&r.payload)).collect();
    let end = log.durable_offset();
    // As long as the first of two commits in flight, so that the second would fall in line behind it if it were still there.
    let more = [u32::MAX - 1, u32::MAX];
    let appended =
        log.append(group(&more, 3_000, None)).unwrap_or_else(|error| panic!("{error}\n{}", context()));
    assert!(
        matches!(appended.records[0], RecordOutcome::Appended { offset, .. } if offset == end),
        "offsets go on where they ended\n{}",
        context()
    );
    drop(log);
    // What opening believed and cut must hold against a second power cut.
    let log = SimulatedLog::open(&found.power_cut(), options())
        .unwrap_or_else(|error| panic!("{error}\n{}", context()));
    let after: Vec<u32> = log.read_all().expect("readable").iter().map(|r| number_of(&r.payload)).collect();
    assert_eq!(
        after,
        [before, more.to_vec()].concat(),
        "a ghost, or a loss, after the second cut\n{}",
        context()
    );
    for publish in &ledger.publishes {
        check_key(&log, ledger, publish, point.step, context);
    }
}

/// A repeated key finds the first holder, whatever was lost.
fn check_key(
    log: &SimulatedLog,
    ledger: &Ledger,
    publish: &super::ledger::Publish,
    crashed: u64,
    context: &dyn Fn() -> String,
) {
    use super::ledger::Outcome;
    let (Some(key), Outcome::Acked { offsets, step }) = (publish.key, &publish.outcome) else { return };
    if *step >= crashed {
        return;
    }
    let number = ledger.first_with(key).expect("it was acknowledged");
    let again = log.append(group(&[number], publish.payload_bytes, Some(key))).expect("answered");
    assert!(
        matches!(again.records[0], RecordOutcome::Exists { offset, .. } if offset == offsets[0]),
        "the key of {number} was forgotten: {:?}\n{}",
        again.records[0],
        context()
    );
}

#[test]
fn power_fails_at_every_step_of_every_short_workload() {
    let mut tally = Tally::default();
    let mut deeds = EVERY_DEED.to_vec();
    deeds.push(Deed::AppendKeyed(2));
    let samples = if long() { 64 } else { 6 };
    for first in &deeds {
        for second in &deeds {
            crash_everywhere(&[*first, *second, Deed::AppendKeyed(1)], samples, &mut tally);
            if long() {
                for third in &deeds {
                    crash_everywhere(&[*first, *second, *third, Deed::AppendKeyed(1)], samples, &mut tally);
                }
            }
        }
    }
    println!("{} moments, {} crashes, lost 0", tally.moments, tally.crashes);
    assert!(tally.crashes > 10_000, "only {} crashes were tried", tally.crashes);
}

#[test]
fn power_fails_at_every_step_of_a_long_life() {
    use Deed::{
        AppendKeyed, AppendMany, AppendOne, KillAndReopen, Maintain, Mark, Reopen, Roll, TwoInFlight,
    };
    let mut tally = Tally::default();
    let deeds = [
        AppendOne,
        AppendKeyed(1),
        Mark,
        AppendMany,
        TwoInFlight,
        Roll,
        Maintain,
        AppendKeyed(2),
        AppendKeyed(1),
        Roll,
        Maintain,
        KillAndReopen,
        TwoInFlight,
        Roll,
        Maintain,
        AppendKeyed(2),
        Reopen,
        TwoInFlight,
        AppendKeyed(1),
        Roll,
        AppendOne,
        Maintain,
        Mark,
        TwoInFlight,
    ];
    crash_everywhere(&deeds, if long() { 256 } else { 24 }, &mut tally);
    println!("{} moments, {} crashes, lost 0", tally.moments, tally.crashes);
}
