//! What one background thread does for the log: indexes of sealed segments, merging and expiring keys, retention, and waiting
//! out a full disk. None of it holds up a commit for longer than a hand-over.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::core::{Core, Status};
use crate::error::OpenError;
use crate::frame::{Frame, FrameKind};
use crate::key_index::{Entry, Rebuild, Retired, SealTask};
use crate::key_rebuild::rebuild_keys;
use crate::opening::recover_tail;
use crate::options::SyncMode;
use crate::segment::Segment;
use crate::sparse_index::Place;
use crate::tail_scan::Tail;

/// How often retention and the rest are looked at.
const TICK: Duration = Duration::from_millis(500);

/// Something to be done once.
pub(crate) enum Chore {
    /// A segment has been sealed: its index is to be written.
    SaveIndex(Arc<Segment>),
    /// Keys have been sealed: they are to be written. Every one of their offsets is durable.
    SaveKeys(SealTask),
}

/// What is to be done, and when to stop.
#[derive(Default)]
pub(crate) struct Chores {
    state: Mutex<State>,
    changed: Condvar,
    stop: AtomicBool,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Chore>,
    failed: Vec<Chore>,
    closed: bool,
}

impl Chores {
    /// Adds a chore. There are as many as segments were sealed since the thread last came round: few.
    pub(crate) fn add(&self, chore: Chore) {
        self.state.lock().waiting.push_back(chore);
        self.changed.notify_one();
    }

    /// Adds a chore that failed, for the next tick.
    fn retry_later(&self, chore: Chore) {
        self.state.lock().failed.push(chore);
    }

    /// The next chore; `None` after `patience`, or when closed.
    fn next(&self, patience: Duration) -> Option<Chore> {
        let mut state = self.state.lock();
        if state.waiting.is_empty() && !state.closed {
            self.changed.wait_for(&mut state, patience);
        }
        if state.waiting.is_empty() && !state.closed {
            let failed = std::mem::take(&mut state.failed);
            state.waiting.extend(failed);
            return None;
        }
        state.waiting.pop_front()
    }

    fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    /// Lets the thread end when its chores are done; a merge is given up.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.stop.store(true, Ordering::Release);
        self.changed.notify_all();
    }
}

/// Removes what the key index no longer asks, outside the committer's lock.
fn retire(retired: Retired) {
    if let Err(error) = retired.remove() {
        // They are superseded: the next opening drops them.
        tracing::warn!(%error, "key files that are no longer needed cannot be removed");
    }
}

impl Core {
    /// Does chores until closed. Runs on its own thread.
    pub(crate) fn run_maintenance_thread(&self) {
        let patience = match self.options.sync {
            SyncMode::Interval(interval) => interval.min(TICK),
            SyncMode::Commit | SyncMode::Never => TICK,
        };
        let mut last_tick = Instant::now();
        loop {
            match self.chores.next(patience) {
                Some(chore) => self.run_chore(chore),
                None if self.chores.is_closed() => return,
                None => {}
            }
            self.merge_keys();
            if last_tick.elapsed() >= patience {
                last_tick = Instant::now();
                self.tick();
            }
        }
    }

    /// What is done every so often.
    fn tick(&self) {
        self.sync_at_interval();
        self.mend_keys();
        self.expire_keys();
        if let Err(error) = self.apply_retention() {
            tracing::error!(%error, "retention failed and will be tried again");
        }
        if self.status() == Status::DiskFull {
            self.wait_out_full_disk();
        }
    }

    /// Does all that waits, and a tick, on the caller's thread.
    #[cfg(test)]
    pub(crate) fn maintain_once(&self) {
        while let Some(chore) = self.chores.next(Duration::ZERO) {
            self.run_chore(chore);
        }
        self.merge_keys();
        self.tick();
    }

    fn run_chore(&self, chore: Chore) {
        match chore {
            Chore::SaveIndex(segment) => {
                if let Err(error) = segment.save_index(self.disk.as_ref(), &self.options.directory) {
                    // It is built again by whoever needs it.
                    tracing::warn!(%error, segment = %segment.path.display(), "the segment's index cannot be saved");
                }
                segment.unload_index();
            }
            Chore::SaveKeys(task) => self.save_keys(task),
        }
    }

    fn save_keys(&self, task: SealTask) {
        match task.run() {
            Ok(file) => {
                let retired = self.committer.lock().keys.finish_seal(file);
                retire(retired);
            }
            Err(error) if self.chores.is_closed() => {
                tracing::warn!(%error, "sealed keys cannot be written; the next start builds them again");
            }
            Err(error) => {
                tracing::error!(%error, "sealed keys cannot be written, stay in memory, and will be tried again");
                self.chores.retry_later(Chore::SaveKeys(task));
            }
        }
    }

    fn merge_keys(&self) {
        let task = {
            let committer = self.committer.lock();
            committer.keys.merge_task(committer.last_append_time_micros)
        };
        let Some(task) = task else { return };
        match task.run(&self.chores.stop) {
            Ok(file) => {
                let retired = self.committer.lock().keys.finish_merge(file);
                retire(retired);
            }
            Err(error) if self.chores.is_closed() => tracing::debug!(%error, "merging keys was given up"),
            Err(error) => {
                tracing::error!(%error, "merging key files failed and will be tried again");
                self.committer.lock().damaged_keys = error.offsets_to_rebuild();
            }
        }
    }

    /// Builds a key file again that a look-up or a merge found damaged. Until then its keys are refused.
    fn mend_keys(&self) {
        let (rebuild, log_end) = {
            let mut committer = self.committer.lock();
            let Some(offsets) = committer.damaged_keys.take() else { return };
            (Rebuild::new(&committer.keys, offsets), self.in_flight.durable_offset())
        };
        let offsets = rebuild.offsets();
        match rebuild_keys(rebuild, &self.segments.snapshot(), log_end) {
            Ok(rebuilt) => {
                let retired = self.committer.lock().keys.finish_rebuild(rebuilt);
                retire(retired);
                let oldest = self.segments.oldest_offset();
                if offsets.start < oldest {
                    let to = oldest.min(offsets.end);
                    tracing::error!(
                        from = offsets.start,
                        to,
                        "keys of these offsets are forgotten: their segments are gone"
                    );
                }
            }
            Err(error) => {
                tracing::error!(%error, "the damaged keys cannot be built again yet");
                self.committer.lock().damaged_keys = Some(offsets);
            }
        }
    }

    fn expire_keys(&self) {
        let retired = {
            let mut committer = self.committer.lock();
            let now = committer.last_append_time_micros;
            committer.keys.expire(now)
        };
        retire(retired);
    }

    fn sync_at_interval(&self) {
        if !matches!(self.options.sync, SyncMode::Interval(_)) {
            return;
        }
        let segment = Arc::clone(&self.committer.lock().segment);
        if let Err(error) = segment.file.sync() {
            self.poison(&format!("syncing {} failed: {error}", segment.path.display()).into());
        }
    }

    /// Takes events again if there is room again.
    fn wait_out_full_disk(&self) {
        let reopened = self.in_flight.failure().map_or(Ok(()), |_| self.reopen_tail());
        if let Err(error) = reopened {
            tracing::debug!(%error, "the disk is still full");
            return;
        }
        if self.spares.failure().is_none() {
            self.set_disk_full(false);
        }
    }

    /// After a write that failed for want of room: looks at what is on the disk, as opening does, and goes on behind it.
    fn reopen_tail(&self) -> Result<(), OpenError> {
        let _turn = self.turn.lock();
        let mut committer = self.committer.lock();
        // What failed stays in flight until it has been answered.
        let _ = self.in_flight.drain();
        let segment = Arc::clone(&committer.segment);
        let durable_offset = self.in_flight.durable_offset();
        let mut found = Vec::new();
        let start = Tail::empty(&segment.header);
        let tail = recover_tail(
            segment.file.as_ref(),
            &segment.path,
            &segment.header,
            start,
            &mut |position, header, bytes| {
                if header.base_offset >= durable_offset && header.kind != FrameKind::Mark {
                    found.push((position, Frame::new(header, &bytes::Bytes::copy_from_slice(bytes))));
                }
            },
        )?;
        if tail.next_offset < durable_offset {
            return Err(OpenError::io(
                &segment.path,
                io::Error::other("acknowledged events are not on the disk"),
            ));
        }
        committer.keys.truncate_active(durable_offset);
        for (position, frame) in found {
            let append_time_micros = frame.append_time_micros;
            segment.note(Place { offset: frame.base_offset, position, append_time_micros });
            for record in frame.records_from(0) {
                if let Some(key) = record.key {
                    committer.keys.insert(Entry {
                        key_hash: key.hash,
                        fingerprint: key.fingerprint,
                        offset: record.offset,
                        append_time_micros,
                    });
                }
            }
        }
        committer.set_tail(&tail);
        self.in_flight.resume(tail.next_offset);
        Ok(())
    }
}
