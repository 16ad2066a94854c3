//! Commits that are on their way to the disk: several at once, acknowledged in the order in which they were prepared.
//!
//! A commit that is on the disk before its predecessor waits for it. One that fails takes every later one with it: their
//! frames may be on the disk, but behind a hole, so all of them are *unknown*, and nothing more is acknowledged until the
//! tail has been looked at again.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use tokio::sync::{oneshot, watch};

use crate::commit_queue::Answer;
use crate::error::AppendError;
use crate::frame::Frame;
use crate::frame_cache::FrameCache;
use crate::segment::Segment;
use crate::sparse_index::Place;

/// A publisher and what it will hear if the commit succeeds.
pub(crate) struct Reply {
    pub(crate) waiter: oneshot::Sender<Answer>,
    pub(crate) answer: Answer,
}

/// A commit's turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sequence(u64);

/// What came of a commit's write.
pub(crate) enum Written {
    /// It is durable. `None` where there was nothing to write, or only a mark.
    Durable(Option<Committed>),
    /// It is not known to be.
    Failed(Arc<str>),
}

/// A durable frame and its place.
pub(crate) struct Committed {
    pub(crate) frame: Frame,
    pub(crate) segment: Arc<Segment>,
    pub(crate) position: u64,
}

struct Commit {
    replies: Vec<Reply>,
    written: Option<Written>,
}

#[derive(Default)]
struct State {
    /// The sequence of the first in `commits`.
    first: u64,
    commits: VecDeque<Commit>,
    failure: Option<Arc<str>>,
}

/// The commits in flight, and the durable offset that they move.
pub(crate) struct InFlight {
    state: Mutex<State>,
    changed: Condvar,
    durable: watch::Sender<u64>,
    cache: Arc<FrameCache>,
}

impl InFlight {
    pub(crate) fn new(durable_offset: u64, cache: Arc<FrameCache>) -> Self {
        Self {
            state: Mutex::default(),
            changed: Condvar::new(),
            durable: watch::Sender::new(durable_offset),
            cache,
        }
    }

    pub(crate) fn durable_offset(&self) -> u64 {
        *self.durable.borrow()
    }

    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.durable.subscribe()
    }

    /// Gives a commit its turn. Called in the order in which commits are prepared.
    pub(crate) fn enter(&self, replies: Vec<Reply>) -> Sequence {
        let mut state = self.state.lock();
        let sequence = Sequence(state.first + state.commits.len() as u64);
        state.commits.push_back(Commit { replies, written: None });
        sequence
    }

    /// Says what came of a commit, and answers all whose turn it now is.
    pub(crate) fn finish(&self, sequence: Sequence, written: Written) {
        let mut state = self.state.lock();
        let Some(at) = sequence.0.checked_sub(state.first).and_then(|at| usize::try_from(at).ok()) else {
            return;
        };
        let Some(commit) = state.commits.get_mut(at) else {
            return;
        };
        assert!(commit.written.is_none(), "a commit finishes once");
        commit.written = Some(written);
        let mut answered = Vec::new();
        let mut durable_offset = None;
        while let Some(Commit { written: Some(_), .. }) = state.commits.front() {
            let Some(Commit { mut replies, written: Some(written) }) = state.commits.pop_front() else {
                break;
            };
            state.first += 1;
            match written {
                Written::Failed(why) => {
                    state.failure.get_or_insert(why);
                }
                Written::Durable(Some(committed)) if state.failure.is_none() => {
                    durable_offset = Some(self.publish(committed));
                }
                Written::Durable(_) => {}
            }
            if let Some(why) = &state.failure {
                for reply in &mut replies {
                    reply.answer = Err(AppendError::Unknown { why: Arc::clone(why) });
                }
            }
            answered.append(&mut replies);
        }
        // Under the lock, so that the durable offset never goes backwards.
        if let Some(offset) = durable_offset {
            self.durable.send_replace(offset);
        }
        let drained = state.commits.is_empty();
        drop(state);
        if drained {
            self.changed.notify_all();
        }
        answer(answered);
    }

    /// Lets readers have a durable frame.
    fn publish(&self, committed: Committed) -> u64 {
        let Committed { frame, segment, position } = committed;
        let append_time_micros = frame.append_time_micros;
        segment.note(Place { offset: frame.base_offset, position, append_time_micros });
        let end = frame.end_offset();
        self.cache.push_tail(frame);
        end
    }

    /// Waits until nothing is in flight; what failed, if something did.
    pub(crate) fn drain(&self) -> Result<(), Arc<str>> {
        let mut state = self.state.lock();
        while !state.commits.is_empty() {
            self.changed.wait(&mut state);
        }
        state.failure.clone().map_or(Ok(()), Err)
    }

    /// Why acknowledgements have ended.
    pub(crate) fn failure(&self) -> Option<Arc<str>> {
        self.state.lock().failure.clone()
    }

    /// Ends acknowledgements: all in flight are unknown.
    pub(crate) fn fail(&self, why: &Arc<str>) {
        let mut state = self.state.lock();
        let why = Arc::clone(state.failure.get_or_insert_with(|| Arc::clone(why)));
        state.first += state.commits.len() as u64;
        let mut replies: Vec<Reply> = state.commits.drain(..).flat_map(|commit| commit.replies).collect();
        drop(state);
        self.changed.notify_all();
        for reply in &mut replies {
            reply.answer = Err(AppendError::Unknown { why: Arc::clone(&why) });
        }
        answer(replies);
    }

    /// Begins again behind a tail that has been looked at: what is there is durable, what is not is gone.
    pub(crate) fn resume(&self, durable_offset: u64) {
        let mut state = self.state.lock();
        assert!(state.commits.is_empty(), "only a drained log resumes");
        assert!(durable_offset >= self.durable_offset(), "what was durable stays");
        state.failure = None;
        self.durable.send_replace(durable_offset);
    }
}

/// Wakes the publishers.
fn answer(replies: Vec<Reply>) {
    for Reply { waiter, answer } in replies {
        // A publisher that has gone away does not want to know.
        let _ = waiter.send(answer);
    }
}
