//! The machine around the disk: it counts calls, makes them fail, holds them up, and loses power.
//!
//! Each call has two halves. The first makes its effect visible and pending; the second, on success, makes
//! durable what the call promises. Between them lies [`Call::pause`]: there a crash point is recorded, the
//! power fails if it is to, and a held call waits.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::SimulatedDisk;
use super::crash::CrashPoint;
use super::fault::{Effect, Faults};
use super::operation::{Injected, Operation, OperationKind};
use super::random::Random;
use super::storage::Storage;

/// Older calls are forgotten.
const TRACED_OPERATIONS: usize = 10_000;

/// How long a test waits for a call that never comes.
const HELD_DEADLINE: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Machine {
    pub(super) storage: Storage,
    pub(super) faults: Faults,
    pub(super) random: Random,
    pub(super) locked: BTreeSet<super::inode::Id>,
    pub(super) steps: u64,
    pub(super) trace: VecDeque<Operation>,
    pub(super) power_fails_at: Option<u64>,
    pub(super) is_off: bool,
    pub(super) crash_points: Option<Vec<CrashPoint>>,
    /// Kinds of calls that wait in their middle.
    pub(super) holds: BTreeSet<OperationKind>,
    /// The calls that wait now.
    pub(super) held: BTreeSet<u64>,
    /// Direct writes in their middle.
    pub(super) under_way: BTreeSet<u64>,
}

impl Machine {
    /// A machine that was just switched on.
    pub(super) fn new(storage: Storage, random: Random) -> Self {
        Self {
            storage,
            random,
            faults: Faults::default(),
            locked: BTreeSet::new(),
            steps: 0,
            trace: VecDeque::new(),
            power_fails_at: None,
            is_off: false,
            crash_points: None,
            holds: BTreeSet::new(),
            held: BTreeSet::new(),
            under_way: BTreeSet::new(),
        }
    }

    /// The same machine at the same step with the same faults ahead, and no process on it.
    pub(super) fn fork(&self) -> Self {
        Self {
            faults: self.faults.clone(),
            steps: self.steps,
            power_fails_at: self.power_fails_at,
            ..Self::new(self.storage.without_handles(), self.random.clone())
        }
    }
}

#[derive(Debug)]
pub(super) struct Shared {
    machine: Mutex<Machine>,
    /// Told when a call is held or released, and when the machine goes off.
    changed: Condvar,
}

impl Shared {
    pub(super) fn new(machine: Machine) -> Arc<Self> {
        Arc::new(Self { machine: Mutex::new(machine), changed: Condvar::new() })
    }

    /// A test that panics while it holds the lock must still see its own failure, not this one.
    pub(super) fn lock(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn notify(&self) {
        self.changed.notify_all();
    }

    /// Waits until so many calls are held; false when that does not happen.
    pub(super) fn wait_until_held(&self, count: usize) -> bool {
        let waited =
            self.changed.wait_timeout_while(self.lock(), HELD_DEADLINE, |machine| machine.held.len() < count);
        let (machine, _) = waited.unwrap_or_else(PoisonError::into_inner);
        machine.held.len() >= count
    }

    /// Counts and traces a call, and fails it when it is to do nothing.
    pub(super) fn begin(
        &self,
        kind: OperationKind,
        path: &Path,
        position: u64,
        bytes: usize,
    ) -> io::Result<Call<'_>> {
        let mut machine = self.lock();
        if machine.is_off {
            return Err(machine_is_off());
        }
        machine.steps += 1;
        let step = machine.steps;
        let effect = machine.faults.count(step, kind);
        machine.is_off = machine.power_fails_at == Some(step);
        let injected =
            if machine.is_off { Some(Injected::PowerFailure) } else { effect.map(Injected::Fault) };
        if machine.trace.len() == TRACED_OPERATIONS {
            machine.trace.pop_front();
        }
        machine.trace.push_back(Operation { step, kind, path: path.to_owned(), position, bytes, injected });
        if machine.is_off {
            self.notify();
        } else if let Some(Effect::Fails(error)) = effect {
            return Err(error.to_error());
        }
        Ok(Call { shared: self, machine, kind, step, effect })
    }
}

/// A call in progress. The machine is locked for it, but for the time that it is held up.
pub(super) struct Call<'a> {
    shared: &'a Shared,
    pub(super) machine: MutexGuard<'a, Machine>,
    kind: OperationKind,
    pub(super) step: u64,
    pub(super) effect: Option<Effect>,
}

impl Call<'_> {
    /// The moment when the call's effect is pending.
    pub(super) fn pause(mut self) -> io::Result<Self> {
        let step = self.step;
        if self.kind.changes_disk() && self.machine.crash_points.is_some() {
            let disk = SimulatedDisk::from_machine(self.machine.fork());
            if let Some(points) = &mut self.machine.crash_points {
                points.push(CrashPoint { step, disk });
            }
        }
        if self.machine.holds.contains(&self.kind) && !self.machine.is_off {
            self.machine.held.insert(step);
            self.shared.notify();
            self.machine = self
                .shared
                .changed
                .wait_while(self.machine, |machine| machine.held.contains(&step) && !machine.is_off)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if self.machine.is_off { Err(machine_is_off()) } else { Ok(self) }
    }
}

fn machine_is_off() -> io::Error {
    io::Error::other("the machine is off")
}
