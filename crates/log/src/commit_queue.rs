//! What waits for a commit, bounded by bytes, and which commit thread is to take it.
//!
//! A commit that carries little costs as much as one that carries much: a write, and two threads' going to sleep and waking.
//! So what arrives while a commit is on its way waits for that to end and goes with the next, taken by the thread that is
//! awake anyway. It gets a write of its own beside the others once it is [`OVERLAP_BYTES`], or when the commit before it
//! takes longer than [`OVERLAP_AFTER`]. (Measured, HTTP on two cores, 64 connections: a thread woken for every arrival
//! made 9,000 commits a second of 7 events each, which took as much of the processor as all of HTTP.)

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use smallvec::SmallVec;
use tokio::sync::{Semaphore, oneshot};

use crate::error::{AppendError, Refusal};
use crate::record::Group;

/// So much is worth a write of its own while others are on their way.
const OVERLAP_BYTES: usize = 64 << 10;
/// After so long a commit on its way is not waited for any more.
const OVERLAP_AFTER: Duration = Duration::from_micros(500);

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
    /// Bytes of `submissions`.
    bytes: usize,
    /// Groups that were taken, but did not fit the commit, wait with the turn.
    left_over: bool,
    /// Threads that wait for work.
    waiting: usize,
    /// Threads that prepare or write a commit.
    committing: usize,
    /// When the last of them began.
    began: Option<Instant>,
    closed: bool,
}

impl QueueState {
    fn has_work(&self) -> bool {
        self.left_over || !self.submissions.is_empty()
    }

    /// Whether a thread should commit now what waits.
    fn is_due(&self) -> bool {
        let overlaps = || {
            self.left_over
                || self.bytes >= OVERLAP_BYTES
                || self.began.is_some_and(|began| began.elapsed() >= OVERLAP_AFTER)
        };
        self.has_work() && (self.closed || self.committing == 0 || overlaps())
    }
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
        state.bytes += group.bytes();
        state.submissions.push_back(Submission { group, waiter });
        let wake = state.waiting > 0 && state.is_due();
        drop(state);
        if wake {
            self.arrived.notify_one();
        }
        Ticket { answer }
    }

    /// Waits until there is something to commit, or until the deadline. After [`Work::Commit`] the caller takes the turn,
    /// then [`CommitQueue::drain_into`], and in the end says [`CommitQueue::committed`].
    pub(crate) fn wait(&self, mut deadline: Option<Instant>) -> Work {
        let mut state = self.state.lock();
        loop {
            if state.is_due() {
                state.committing += 1;
                state.began = Some(Instant::now());
                return Work::Commit;
            }
            if state.closed {
                return Work::Closed;
            }
            state.waiting += 1;
            let timed_out = match deadline {
                None => {
                    self.arrived.wait(&mut state);
                    false
                }
                Some(at) => self.arrived.wait_until(&mut state, at).timed_out(),
            };
            state.waiting -= 1;
            if timed_out && !state.has_work() && state.committing == 0 {
                return Work::Idle;
            }
            if timed_out {
                // Whoever is committing looks after the log when it is idle.
                deadline = None;
            }
        }
    }

    /// Moves all that waits into `pending`. Called with the turn.
    pub(crate) fn drain_into(&self, pending: &mut VecDeque<Submission>) {
        let mut state = self.state.lock();
        pending.append(&mut state.submissions);
        state.bytes = 0;
        state.left_over = false;
    }

    /// Not all that was taken fitted the commit: another thread is to go on with it. Called with the turn.
    pub(crate) fn leave_over(&self) {
        self.state.lock().left_over = true;
        self.arrived.notify_one();
    }

    /// A thread's commit has ended, whatever came of it.
    pub(crate) fn committed(&self) {
        let mut state = self.state.lock();
        assert!(state.committing > 0, "a commit ends once");
        state.committing -= 1;
    }

    /// Gives back the room of groups that have been encoded or answered.
    pub(crate) fn release(&self, bytes: usize) {
        self.room.add_permits(bytes);
    }

    /// Has [`CommitQueue::wait`] return instead of waiting.
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
        drop(state);
        self.arrived.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn submit(queue: &CommitQueue, bytes: usize) -> Ticket {
        let mut group = Group::new();
        group.push(None, |out| out.resize(out.len() + bytes, 7));
        let reservation = queue.reserve(group.bytes()).await.expect("there is room");
        queue.push(reservation, group)
    }

    fn is_due(queue: &CommitQueue) -> bool {
        queue.state.lock().is_due()
    }

    /// Takes work that must be there.
    fn begin(queue: &CommitQueue) {
        assert!(is_due(queue), "nobody is to wait here");
        assert!(matches!(queue.wait(None), Work::Commit));
        queue.drain_into(&mut VecDeque::new());
    }

    #[tokio::test]
    async fn what_is_little_waits_for_the_commit_on_its_way() {
        let queue = CommitQueue::new(1 << 20);
        let _first = submit(&queue, 100).await;
        begin(&queue);
        let _second = submit(&queue, 100).await;
        // As if it had only just begun, however slow this machine is.
        queue.state.lock().began = None;
        assert!(!is_due(&queue));
        queue.committed();
        begin(&queue);
    }

    #[tokio::test]
    async fn what_is_much_does_not_wait() {
        let queue = CommitQueue::new(1 << 20);
        let _first = submit(&queue, 100).await;
        begin(&queue);
        let _second = submit(&queue, OVERLAP_BYTES).await;
        begin(&queue);
    }

    #[tokio::test]
    async fn nothing_waits_for_a_slow_commit() {
        let queue = CommitQueue::new(1 << 20);
        let _first = submit(&queue, 100).await;
        begin(&queue);
        queue.state.lock().began = Instant::now().checked_sub(OVERLAP_AFTER);
        let _second = submit(&queue, 100).await;
        begin(&queue);
    }

    #[tokio::test]
    async fn what_did_not_fit_is_gone_on_with_at_once() {
        let queue = CommitQueue::new(1 << 20);
        let _first = submit(&queue, 100).await;
        begin(&queue);
        assert!(!is_due(&queue));
        queue.leave_over();
        begin(&queue);
    }

    #[tokio::test]
    async fn a_closed_queue_is_emptied_first() {
        let queue = CommitQueue::new(1 << 20);
        let _first = submit(&queue, 100).await;
        begin(&queue);
        let _second = submit(&queue, 100).await;
        queue.close();
        begin(&queue);
        assert!(matches!(queue.wait(None), Work::Closed));
    }

    #[tokio::test]
    async fn a_thread_that_waits_is_woken_by_what_arrives() {
        let queue = std::sync::Arc::new(CommitQueue::new(1 << 20));
        let waiting = std::thread::spawn({
            let queue = std::sync::Arc::clone(&queue);
            move || matches!(queue.wait(None), Work::Commit)
        });
        while queue.state.lock().waiting == 0 {
            std::thread::yield_now();
        }
        let _ticket = submit(&queue, 100).await;
        assert!(waiting.join().expect("it ends"));
    }
}
