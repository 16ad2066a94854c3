//! Long random lives against a simple model: the ledger of what was acknowledged is what the log holds.

use proptest::prelude::*;

use super::ledger::Outcome;
use super::workload::{Deed, Life};
use crate::disk::simulated::{CrashSampling, SimulatedDisk};

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        4 => Just(Deed::AppendOne),
        2 => Just(Deed::AppendMany),
        4 => (0..12u32).prop_map(Deed::AppendKeyed),
        1 => Just(Deed::Roll),
        2 => Just(Deed::TwoInFlight),
        1 => Just(Deed::Mark),
        2 => Just(Deed::Maintain),
        1 => Just(Deed::Reopen),
        1 => Just(Deed::KillAndReopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whatever happens, in whatever order, every publish is acknowledged once, reads show just that, and a power cut at the
    /// end takes nothing of it.
    #[test]
    fn a_random_life_agrees_with_its_ledger(deeds in prop::collection::vec(deed(), 1..80), seed in any::<u64>()) {
        let disk = SimulatedDisk::new(seed);
        let mut life = Life::begin(&disk).expect("a new log");
        for deed in &deeds {
            life.live(*deed).expect("nothing fails here");
            let log = life.log.as_ref().expect("open");
            life.ledger.check(log, u64::MAX, &|| format!("after {deed:?}"));
        }
        let all_acked = life.ledger.publishes.iter().all(|publish| matches!(publish.outcome, Outcome::Acked { .. }));
        prop_assert!(all_acked, "nothing fails, so everything is acknowledged");
        let sampling = CrashSampling { exhaustive_units: 4, samples: 4, seed };
        for choice in disk.crash_choices(sampling) {
            let found = Life::begin(&disk.crash(&choice)).expect("opens");
            let log = found.log.as_ref().expect("open");
            life.ledger.check(log, u64::MAX, &|| disk.describe(&choice));
        }
    }
}
