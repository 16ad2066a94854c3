//! What waits for a commit, bounded by bytes.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use smallvec::SmallVec;
use tokio::sync::{Semaphore, oneshot};

use crate::error::{AppendError, Refusal};
use crate::record::Group;

/// A group that is durable.
#[derive(Debug)]
pub struct AppendedGroup {
    /// What became of each record, in the group's order.
    pub records: SmallVec<[RecordOutcome; 1]>,
}

/// Durable either way by the time it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordOutcome {
    /// It is in the log now.
    Appended {
        /// Where.
        offset: u64,
        /// Since when, microseconds since the Unix epoch.
        append_time_micros: u64,
    },
    /// Its key was known, with the same fingerprint: this is where the first holder is.
    Exists {
        /// Where.
        offset: u64,
        /// Since when, microseconds since the Unix epoch.
        append_time_micros: u64,
    },
}

/// What a publisher hears.
pub(crate) type Answer = Result<AppendedGroup, AppendError>;

/// A group on its way, and who waits for it.
pub(crate) struct Submission {
    pub(crate) group: Group,
    pub(crate) waiter: oneshot::Sender<Answer>,
}

/// Resolves once the group is durable, or will not be. Dropping it does not take the group back.
#[derive(Debug)]
pub struct Ticket {
    answer: oneshot::Receiver<Answer>,
}

impl Future for Ticket {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answer> {
        let answer = Pin::new(&mut self.answer).poll(context);
        answer.map(|heard| {
            heard.unwrap_or_else(|_| Err(AppendError::Unknown { why: "the log stopped".into() }))
        })
    }
}

/// The queue between publishers and the commit threads.
pub(crate) struct CommitQueue {
    state: Mutex<QueueState>,
    arrived: Condvar,
    room: Semaphore,
}

#[derive(Default)]
struct QueueState {
    submissions: VecDeque<Submission>,
    /// Whether a commit thread sleeps until something arrives.
    waiting: bool,
    closed: bool,
}

/// What a commit thread is to do next.
pub(crate) enum Work {
    /// Something waits.
    Commit,
    /// Nothing came until the deadline.
    Idle,
    /// Nothing waits and nothing will come.
    Closed,
}

/// Room in the commit queue. Given back when dropped, or when its group has been encoded.
#[derive(Debug)]
pub struct Reservation<'a> {
    room: &'a Semaphore,
    bytes: usize,
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.room.add_permits(self.bytes);
    }
}

impl CommitQueue {
    pub(crate) fn new(queue_bytes: usize) -> Self {
        Self { state: Mutex::default(), arrived: Condvar::new(), room: Semaphore::new(queue_bytes) }
    }

    /// Waits for room. Fair: who asked first is served first.
    pub(crate) async fn reserve(&self, bytes: usize) -> Result<Reservation<'_>, AppendError> {
        let count = u32::try_from(bytes).unwrap_or(u32::MAX);
        let permit =
            self.room.acquire_many(count).await.map_err(|_| AppendError::Refused(Refusal::Closed))?;
        permit.forget();
        Ok(Reservation { room: &self.room, bytes })
    }

    /// Bytes that wait now.
    pub(crate) fn free_bytes(&self) -> usize {
        self.room.available_permits()
    }

    /// Queues a group in the room reserved for it.
    pub(crate) fn push(&self, reservation: Reservation<'_>, group: Group) -> Ticket {
        assert!(reservation.bytes == group.bytes(), "a reservation is for its group");
        let (waiter, answer) = oneshot::channel();
        let mut state = self.state.lock();
        if state.closed {
            drop(state);
            // Nobody can have hung up: the receiver is in this function's hand.
            let _ = waiter.send(Err(AppendError::Refused(Refusal::Closed)));
            return Ticket { answer };
        }
        std::mem::forget(reservation);
        state.submissions.push_back(Submission { group, waiter });
        let wake = std::mem::take(&mut state.waiting);
        drop(state);
        if wake {
            self.arrived.notify_one();
        }
        Ticket { answer }
    }

    /// Moves all that waits into `pending`, sleeping until there is something. Called by one thread at a time.
    pub(crate) fn take(&self, pending: &mut VecDeque<Submission>, deadline: Option<Instant>) -> Work {
        let mut state = self.state.lock();
        loop {
            if !state.submissions.is_empty() {
                pending.append(&mut state.submissions);
                return Work::Commit;
            }
            if !pending.is_empty() {
                return Work::Commit;
            }
            if state.closed {
                return Work::Closed;
            }
            state.waiting = true;
            match deadline {
                None => self.arrived.wait(&mut state),
                Some(deadline) => {
                    if self.arrived.wait_until(&mut state, deadline).timed_out()
                        && state.submissions.is_empty()
                    {
                        state.waiting = false;
                        return if state.closed { Work::Closed } else { Work::Idle };
                    }
                }
            }
        }
    }

    /// Gives back the room of groups that have been encoded or answered.
    pub(crate) fn release(&self, bytes: usize) {
        self.room.add_permits(bytes);
    }

    /// Has [`CommitQueue::take`] return instead of waiting.
    #[cfg(test)]
    pub(crate) fn close_when_empty(&self) {
        self.state.lock().closed = true;
    }

    #[cfg(test)]
    pub(crate) fn reopen(&self) {
        self.state.lock().closed = false;
    }

    /// Takes nothing more.
    pub(crate) fn close(&self) {
        self.room.close();
        let mut state = self.state.lock();
        state.closed = true;
        state.waiting = false;
        drop(state);
        self.arrived.notify_all();
    }
}
