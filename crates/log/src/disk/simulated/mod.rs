//! A disk in memory that can lose, keep, tear, reorder, damage, fill up and fail, the same way each time for
//! one seed.
//!
//! # The model
//! **A file** has two views and a list between them. The *cache* is what
//! [`File::read_at`](super::File::read_at) shows. The *medium* is what is surely there after power loss. The
//! list holds the *pending* changes in the order they were made: sectors of 512 bytes and lengths. A sector
//! is kept or lost as a whole; nothing larger is. A length is kept or lost independently of the data, so that
//! a file may be long and empty, or hold data that its length hides (and that then is gone).
//!
//! **Names** are kept the same way: creations, renames and removals are pending until their directory is
//! synced, each kept or lost on its own, whatever became of the file's content. A rename is never half done;
//! one between directories is made durable by a sync of either. A pending change whose predecessor is lost
//! still does what it can: a kept rename of a lost creation leaves the new name.
//!
//! **A crash** applies a chosen subset of the pending changes to the medium, in their order, and drops the
//! rest ([`SimulatedDisk::crash`]). As they are independent, that covers every order in which a disk may
//! write them. A write that was never finished is pending like any other, hence torn in every way.
//!
//! **Promised** (and what a subset can therefore not undo):
//! - `sync` returned Ok: what *this handle* wrote before, and what handles wrote that are closed or whose
//!   process is gone. Not what another open handle wrote: the kernel would write that too, but tell a failure
//!   to either one.
//! - `write_durable_at` returned Ok: its sectors, and a length that reaches them. With
//!   [`DurableWrites::Buffered`] it is a write and a sync.
//! - `sync_directory` returned Ok: the names in that directory. `create_directory` returned Ok: the directory
//!   and its parents.
//!
//! **Not promised**: any order between pending changes, of one file or of several; a new file's name once
//! only the file is synced; zeros where a length was extended and not synced ([`Unwritten::OldBytes`]);
//! anything after a failed sync ([`FailedData`]).
//!
//! **Reads of the medium** ([`File::read_medium_at`](super::File::read_medium_at)) find the medium with the
//! dirty pages written out under them, as the kernel does it, yet a power cut still loses these. Pages that a
//! failed sync has marked clean are not among them: there the cache shows bytes that the medium does not
//! have, until the cache is dropped.
//!
//! **A kill** ([`SimulatedDisk::kill`]) keeps cache and pending changes, and closes handles and locks. A
//! power cut after it loses what was only cached.
//!
//! **Space**: with a [`Capacity`], first writes to a block fail with `ENOSPC` once it is used up, after the
//! part that found room; overwrites and names do not, nor empty files, as measured on ext4.
//!
//! **Left out**: torn sectors; errors of `close`; hard links; permissions; times; misdirected writes (use
//! [`SimulatedDisk::write_file`]).
//!
//! # Steps
//! Every call of a `Disk` or `File` method counts as one step, from 1. Faults are armed by step or by kind of
//! call, power fails at a step, and the trace names steps. Runs are repeatable as long as the code under test
//! calls from one thread.
//!
//! # Finding every crash
//! Either run the workload again for each step with [`SimulatedDisk::crash_at_step`], or, much faster, run it
//! once with [`SimulatedDisk::record_crash_points`] and crash each recorded moment in every way of
//! [`SimulatedDisk::crash_choices`].

mod crash;
mod fault;
mod files;
mod image;
mod inode;
mod machine;
mod namespace;
mod operation;
mod random;
mod storage;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::DurableWrites;
use machine::{Machine, Shared};
use random::Random;
use storage::Storage;

pub use crash::{CrashChoice, CrashChoices, CrashPoint, CrashSampling, PendingUnit, UnitChange, Unwritten};
pub use fault::{Effect, ErrorCode, FailedData, When};
pub use image::SECTOR_BYTES;
pub use operation::{Injected, Operation, OperationKind};
pub use storage::Capacity;

/// A disk in memory. Clones are handles on the same disk; [`SimulatedDisk::fork`] makes another.
#[derive(Clone)]
pub struct SimulatedDisk {
    shared: Arc<Shared>,
}

impl SimulatedDisk {
    /// An empty disk with room for all. `seed` decides what [`FailedData::PartlyLost`] keeps.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::with_durable_writes(seed, DurableWrites::Direct)
    }

    /// The same, with durable writes past or through the page cache.
    #[must_use]
    pub fn with_durable_writes(seed: u64, durable_writes: DurableWrites) -> Self {
        Self::from_machine(Machine::new(Storage::new(durable_writes), Random::new(seed)))
    }

    fn from_machine(machine: Machine) -> Self {
        Self { shared: Shared::new(machine) }
    }

    fn from_storage(storage: Storage, random: Random) -> Self {
        Self::from_machine(Machine::new(storage, random))
    }
}

/// # Faults
impl SimulatedDisk {
    /// Arms a fault. When several hit one call, the first armed wins.
    ///
    /// # Panics
    /// When the effect cannot happen to the kind of call that `when` names.
    pub fn inject(&self, when: When, effect: Effect) {
        self.shared.lock().faults.arm(when, effect);
    }

    /// Disarms every fault. What they did stays done.
    pub fn clear_faults(&self) {
        self.shared.lock().faults.clear();
    }

    /// How many calls a fault has hit, so that a test can tell that its fault took place.
    #[must_use]
    pub fn faults_hit(&self) -> u64 {
        self.shared.lock().faults.hits()
    }

    /// Limits the space, or lifts the limit. Files that are larger already stay.
    pub fn set_capacity(&self, capacity: Option<Capacity>) {
        self.shared.lock().storage.capacity = capacity;
    }

    /// Evicts the page cache: where a failed sync left bytes that are not on the medium, reads now show the
    /// medium.
    pub fn drop_caches(&self) {
        self.shared.lock().storage.drop_caches();
    }

    /// From now on each call of this kind stops in its middle, its effect pending, until it is released: a
    /// slow disk. Several durable writes can so be in flight at once, and end in any order.
    pub fn hold(&self, kind: OperationKind) {
        self.shared.lock().holds.insert(kind);
    }

    /// Waits until `count` calls are held at once. False when that has not happened after 30 seconds.
    #[must_use]
    pub fn wait_until_held(&self, count: usize) -> bool {
        self.shared.wait_until_held(count)
    }

    /// The steps of the calls that are held now, in the order they began.
    #[must_use]
    pub fn held(&self) -> Vec<u64> {
        self.shared.lock().held.iter().copied().collect()
    }

    /// Lets one held call go on.
    pub fn release(&self, step: u64) {
        self.shared.lock().held.remove(&step);
        self.shared.notify();
    }

    /// Lets every held call go on, and holds no more.
    pub fn release_all(&self) {
        let mut machine = self.shared.lock();
        machine.holds.clear();
        machine.held.clear();
        drop(machine);
        self.shared.notify();
    }
}

/// # Crashes
impl SimulatedDisk {
    /// Lets the power fail at the call numbered `step`: its effect is pending, and it and every later call
    /// return an error, "the machine is off". What is found afterwards is told by [`SimulatedDisk::crash`].
    pub fn crash_at_step(&self, step: u64) {
        self.shared.lock().power_fails_at = Some(step);
    }

    /// Lets the power fail now, for calls that are held too.
    pub fn power_off(&self) {
        self.shared.lock().is_off = true;
        self.shared.notify();
    }

    /// Whether the power has failed.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.shared.lock().is_off
    }

    /// From now on keeps the disk as it is in the middle of each call that can change it.
    pub fn record_crash_points(&self) {
        self.shared.lock().crash_points = Some(Vec::new());
    }

    /// The moments recorded so far, and an end to the recording.
    #[must_use]
    pub fn take_crash_points(&self) -> Vec<CrashPoint> {
        self.shared.lock().crash_points.take().unwrap_or_default()
    }

    /// The changes that are not durable, in the order they were made.
    #[must_use]
    pub fn pending(&self) -> Vec<PendingUnit> {
        self.shared.lock().storage.pending()
    }

    /// The crashes worth trying now.
    #[must_use]
    pub fn crash_choices(&self, sampling: CrashSampling) -> CrashChoices {
        CrashChoices::new(&self.pending(), sampling)
    }

    /// The disk as found after power loss with the choice's changes on the medium; switched on, without
    /// faults, at step 0. This one stays as it is.
    #[must_use]
    pub fn crash(&self, choice: &CrashChoice) -> Self {
        let machine = self.shared.lock();
        Self::from_storage(machine.storage.crashed(choice), machine.random.clone())
    }

    /// The disk as found after power loss that left only what was durable.
    #[must_use]
    pub fn power_cut(&self) -> Self {
        self.crash(&CrashChoice::nothing())
    }

    /// The disk as a new process finds it after kill -9: page cache and pending changes are as they were,
    /// locks are free; without faults, at step 0. This one stays as it is.
    #[must_use]
    pub fn kill(&self) -> Self {
        let machine = self.shared.lock();
        Self::from_storage(machine.storage.without_handles(), machine.random.clone())
    }

    /// A copy to experiment on, with the same step, faults ahead and pending changes, but no open files,
    /// locks, holds or trace.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self::from_machine(self.shared.lock().fork())
    }

    /// What a choice keeps and loses, in words, for a failing test to print.
    #[must_use]
    pub fn describe(&self, choice: &CrashChoice) -> String {
        let lines = self.pending().into_iter().map(|unit| {
            let fate = if choice.keeps(unit.id) { "kept" } else { "lost" };
            format!("{fate}  {unit}\n")
        });
        format!("unwritten sectors: {:?}\n{}", choice.unwritten, lines.collect::<String>())
    }
}

/// # Trace
impl SimulatedDisk {
    /// How many calls there were.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.shared.lock().steps
    }

    /// The newest 10,000 calls.
    #[must_use]
    pub fn trace(&self) -> Vec<Operation> {
        self.shared.lock().trace.iter().cloned().collect()
    }
}

/// # Surgery
///
/// Not counted as steps, and never failing by a fault.
impl SimulatedDisk {
    /// Flips a bit of a file in the cache and on the medium. Bit 0 is the lowest of the first byte; one past
    /// the end changes nothing.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn flip_bit(&self, path: &Path, bit: u64) -> io::Result<()> {
        self.shared.lock().storage.flip_bit(path, bit)
    }

    /// A file's bytes as a process would read them.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn read_file(&self, path: &Path) -> io::Result<Vec<u8>> {
        let machine = self.shared.lock();
        let inode = machine.storage.inode(machine.storage.names.file(path)?)?;
        let mut bytes = vec![0; image::to_index(inode.cache().len())];
        inode.cache().read(&mut bytes, 0);
        Ok(bytes)
    }

    /// Puts a file in place, durable, with its directories. Pending changes of its content are dropped.
    pub fn write_file(&self, path: &Path, bytes: &[u8]) {
        self.shared.lock().storage.put(path, bytes);
    }

    /// A file's length as a process would see it.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn file_len(&self, path: &Path) -> io::Result<u64> {
        let machine = self.shared.lock();
        let inode = machine.storage.names.file(path)?;
        Ok(machine.storage.inode(inode)?.cache().len())
    }

    /// Every file, in order.
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        self.shared.lock().storage.names.files().map(|(path, _)| path.to_owned()).collect()
    }
}

impl fmt::Debug for SimulatedDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedDisk").field("files", &self.paths()).field("steps", &self.steps()).finish()
    }
}
