//! Segment files made ready ahead of need: zero-filled or recycled, so that a commit only ever overwrites blocks that the file
//! system has allocated. That is faster than growing a file, and cannot run out of space.
//!
//! | name | what it is |
//! |---|---|
//! | `spare.new` | being zero-filled; removed at opening |
//! | `spare.ready` | durable, of full length; the next segment, and the reserve of a full disk |

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::disk::{Disk, File};
use crate::error::{Refusal, is_disk_full};

pub(crate) const SPARE_NAME: &str = "spare.ready";
pub(crate) const SPARE_NEW_NAME: &str = "spare.new";
/// The most room that is left for the state store when a spare is made.
const RESERVE_LIMIT_BYTES: u64 = 16 << 20;
/// How long after a failure another try is made.
const RETRY_DELAY: Duration = Duration::from_millis(500);

/// The next segment's file.
pub(crate) struct Spare {
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn File>,
}

/// Makes spares, and hands them out.
pub(crate) struct Spares {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    segment_bytes: u64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    ready: Option<Spare>,
    /// Whether one is being made, outside the lock.
    making: bool,
    /// Whether one has been handed out and still has the spare's name.
    taken: bool,
    failure: Option<Refusal>,
    closed: bool,
}

impl Spares {
    pub(crate) fn new(disk: Arc<dyn Disk>, directory: PathBuf, segment_bytes: u64) -> Self {
        Self { disk, directory, segment_bytes, state: Mutex::default(), changed: Condvar::new() }
    }

    /// The spare, waiting while one is being made. What stands in the way, if none can be.
    pub(crate) fn take(&self) -> Result<Spare, Refusal> {
        let mut state = self.state.lock();
        loop {
            if let Some(spare) = state.ready.take() {
                state.taken = true;
                return Ok(spare);
            }
            if state.closed {
                return Err(Refusal::Closed);
            }
            if let Some(failure) = &state.failure {
                return Err(failure.clone());
            }
            self.changed.wait(&mut state);
        }
    }

    /// Says that the spare taken has another name now, so that the next can be made.
    pub(crate) fn taken_into_use(&self) {
        self.state.lock().taken = false;
        self.changed.notify_all();
    }

    /// Gives back a spare that could not be used.
    pub(crate) fn put_back(&self, spare: Spare) {
        let mut state = self.state.lock();
        state.taken = false;
        state.ready = Some(spare);
        drop(state);
        self.changed.notify_all();
    }

    /// Takes over the file at `path`, out of use, as the next spare; `false` when there is one already, or soon.
    pub(crate) fn recycle(&self, path: &Path) -> io::Result<bool> {
        let mut state = self.state.lock();
        if state.ready.is_some() || state.making || state.taken {
            return Ok(false);
        }
        let spare_path = self.directory.join(SPARE_NAME);
        self.disk.rename(path, &spare_path)?;
        self.disk.sync_directory(&self.directory)?;
        let file: Arc<dyn File> = Arc::from(self.disk.open(&spare_path)?);
        if file.len()? != self.segment_bytes {
            // Of another size since the setting changed: the next one to make a spare removes it.
            return Ok(true);
        }
        state.ready = Some(Spare { path: spare_path, file });
        state.failure = None;
        drop(state);
        self.changed.notify_all();
        Ok(true)
    }

    /// Whether making one failed, and it has not been made since.
    pub(crate) fn failure(&self) -> Option<Refusal> {
        self.state.lock().failure.clone()
    }

    /// Makes spares until closed. Runs on its own thread.
    pub(crate) fn run(&self) {
        loop {
            let mut state = self.state.lock();
            while !state.closed && (state.ready.is_some() || state.taken) {
                self.changed.wait(&mut state);
            }
            if state.closed {
                return;
            }
            state.making = true;
            drop(state);
            if !self.make_ready() {
                let mut state = self.state.lock();
                if !state.closed {
                    self.changed.wait_for(&mut state, RETRY_DELAY);
                }
            }
        }
    }

    /// Whether one is ready.
    #[cfg(test)]
    pub(crate) fn is_ready(&self) -> bool {
        self.state.lock().ready.is_some()
    }

    /// Makes one and has it ready, or takes note of what stands in the way. Whether it is ready.
    pub(crate) fn make_ready(&self) -> bool {
        let made = self.make();
        let mut state = self.state.lock();
        state.making = false;
        match made {
            Ok(spare) => {
                assert!(state.ready.is_none(), "one spare is made at a time");
                state.ready = Some(spare);
                state.failure = None;
            }
            Err(error) => {
                if state.failure.is_none() {
                    let directory = self.directory.display();
                    tracing::error!(%error, %directory, "cannot make room for the next segment");
                }
                state.failure = Some(match is_disk_full(&error) {
                    true => Refusal::DiskFull,
                    false => Refusal::Unavailable {
                        why: format!("cannot make room for a segment: {error}").into(),
                    },
                });
            }
        }
        let ready = state.ready.is_some();
        drop(state);
        self.changed.notify_all();
        ready
    }

    /// Makes one spare, durable with its name, or takes the one that is there.
    pub(crate) fn make(&self) -> io::Result<Spare> {
        let path = self.directory.join(SPARE_NAME);
        if self.disk.list(&self.directory)?.iter().any(|name| name == SPARE_NAME) {
            let file = self.disk.open(&path)?;
            if file.len()? == self.segment_bytes {
                return Ok(Spare { path, file: Arc::from(file) });
            }
            self.disk.remove(&path)?;
        }
        if self.disk.available_bytes(&self.directory)?
            < self.segment_bytes + self.segment_bytes.min(RESERVE_LIMIT_BYTES)
        {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let new_path = self.directory.join(SPARE_NEW_NAME);
        self.remove_leftover(&new_path)?;
        let file = self.disk.create(&new_path)?;
        if let Err(error) = file.write_zeros_at(0, self.segment_bytes).and_then(|()| file.sync()) {
            drop(file);
            // Half a spare must not take the room that others need.
            self.remove_leftover(&new_path)?;
            return Err(error);
        }
        drop(file);
        self.disk.rename(&new_path, &path)?;
        self.disk.sync_directory(&self.directory)?;
        Ok(Spare { file: Arc::from(self.disk.open(&path)?), path })
    }

    fn remove_leftover(&self, path: &Path) -> io::Result<()> {
        match self.disk.remove(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Makes no more.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.changed.notify_all();
    }
}
