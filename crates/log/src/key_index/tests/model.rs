//! Any sequence of what the log can do, against a list of all records.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    /// Appends keyed records, as the committer does: only keys that are not known.
    Append {
        keys: Vec<u16>,
    },
    /// Appends a record without a key.
    AppendUnkeyed,
    /// The clock moves on.
    Wait {
        micros: u64,
    },
    /// Seals, and maybe runs the task at once.
    Seal {
        run: bool,
    },
    /// Runs one of the seal tasks that wait: one that failed is tried again after later ones.
    RunSeal {
        which: usize,
    },
    /// Runs a merge, maybe with other steps between its start and its end.
    StartMerge,
    FinishMerge,
    Expire,
    /// A commit fails: cuts up to this many records that are not sealed.
    CutTail {
        records: u64,
    },
    /// The process is killed, and opens what is there.
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let keys = prop_oneof![
        // Keys that come again and again.
        3 => prop::collection::vec(0..40_u16, 1..12),
        // More than a page of keys, half of which share their high word.
        1 => prop::collection::vec(0..600_u16, 100..260),
    ];
    let step = prop_oneof![
        6 => keys.prop_map(|keys| Step::Append { keys }),
        1 => Just(Step::AppendUnkeyed),
        3 => (1..700_u64).prop_map(|micros| Step::Wait { micros }),
        6 => any::<bool>().prop_map(|run| Step::Seal { run }),
        4 => any::<usize>().prop_map(|which| Step::RunSeal { which }),
        3 => Just(Step::StartMerge),
        3 => Just(Step::FinishMerge),
        2 => Just(Step::Expire),
        1 => (1..40_u64).prop_map(|records| Step::CutTail { records }),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..100)
}

/// Half of the keys are spread over all hashes, half share their high word.
fn key_hash(key: u16) -> u128 {
    if key.is_multiple_of(2) { spread(key.into()) } else { (7_u128 << 100) | u128::from(key) }
}

struct Run {
    disk: SimulatedDisk,
    index: KeyIndex,
    /// The log: the key of each offset, and when it was appended.
    log: Vec<(Option<u128>, u64)>,
    now_micros: u64,
    sealed_end: u64,
    seals: Vec<SealTask>,
    merge: Option<MergeTask>,
}

impl Run {
    fn new() -> Self {
        let disk = SimulatedDisk::new(1);
        let (index, _) = open(&disk, 0);
        Self { disk, index, log: Vec::new(), now_micros: 0, sealed_end: 0, seals: Vec::new(), merge: None }
    }

    fn end(&self) -> u64 {
        self.log.len() as u64
    }

    fn record(&self, offset: u64) -> Option<Entry> {
        let (key, micros) = self.log[usize::try_from(offset).unwrap()];
        key.map(|key| record(key, offset, micros))
    }

    fn expected(&self, key: u128) -> Option<Entry> {
        let newest =
            (0..self.end()).rev().filter_map(|offset| self.record(offset)).find(|e| e.key_hash == key);
        newest.filter(|entry| entry.append_time_micros + WINDOW_MICROS >= self.now_micros)
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Append { keys } => keys.into_iter().for_each(|key| self.append(key_hash(key))),
            Step::AppendUnkeyed => self.log.push((None, self.now_micros)),
            Step::Wait { micros } => self.now_micros += micros,
            Step::Seal { run } => {
                self.seals.extend(self.index.seal(self.sealed_end, self.end()));
                self.sealed_end = self.end();
                if run {
                    self.run_seal(self.seals.len().saturating_sub(1));
                }
            }
            Step::RunSeal { which } => self.run_seal(which.checked_rem(self.seals.len()).unwrap_or(0)),
            Step::StartMerge if self.merge.is_none() => self.merge = self.index.merge_task(self.now_micros),
            Step::StartMerge => assert!(self.index.merge_task(self.now_micros).is_none_or(|task| {
                let running = self.merge.as_ref().unwrap().offsets();
                task.offsets().end <= running.start || running.end <= task.offsets().start
            })),
            Step::FinishMerge => {
                if let Some(task) = self.merge.take() {
                    let merged = merge(task).unwrap();
                    self.index.finish_merge(merged).remove().unwrap();
                }
            }
            Step::Expire => self.index.expire(self.now_micros).remove().unwrap(),
            Step::CutTail { records } => {
                let end = self.end().saturating_sub(records).max(self.sealed_end);
                self.log.truncate(usize::try_from(end).unwrap());
                self.index.truncate_active(end);
            }
            Step::Restart => self.restart(),
        }
    }

    fn append(&mut self, key: u128) {
        let known = self.index.get(key, self.now_micros).unwrap();
        assert_eq!(known, self.expected(key));
        if known.is_none() {
            self.log.push((Some(key), self.now_micros));
            let offset = self.end() - 1;
            self.index.insert(record(key, offset, self.now_micros));
        }
    }

    fn run_seal(&mut self, which: usize) {
        if which < self.seals.len() {
            let sealed = self.seals.remove(which).run().unwrap();
            self.index.finish_seal(sealed).remove().unwrap();
        }
    }

    /// What was not sealed durably is read from the log again.
    fn restart(&mut self) {
        self.seals.clear();
        self.merge = None;
        self.disk = self.disk.power_cut();
        let end = self.end();
        let (index, coverage) = open(&self.disk, end);
        self.index = index;
        assert!(coverage.problems.is_empty());
        let files_end = coverage.covered.last().map_or(0, |covered| covered.end);
        for missing in coverage.missing(0..files_end) {
            let mut rebuild = Rebuild::new(&self.index, missing.clone());
            missing.filter_map(|offset| self.record(offset)).for_each(|entry| rebuild.add(entry).unwrap());
            self.index.finish_rebuild(rebuild.finish().unwrap()).remove().unwrap();
        }
        for offset in files_end..end {
            if let Some(entry) = self.record(offset) {
                self.index.insert(entry);
            }
        }
        self.sealed_end = files_end;
    }

    fn assert_all_keys(&self) {
        for key in (0..600).map(key_hash) {
            assert_eq!(self.index.get(key, self.now_micros).unwrap(), self.expected(key), "key {key:x}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 384, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn answers_as_a_list_of_all_records_would(steps in steps()) {
        let mut run = Run::new();
        for step in steps {
            run.step(step);
        }
        run.assert_all_keys();
        run.restart();
        run.assert_all_keys();
    }
}
