//! What became of the messages of one call, told message by message from librdkafka's thread.
//!
//! Every message carries a [`Ticket`], which is handed in exactly once: with its delivery report, when it could not be queued,
//! or, whatever else happens to it, when it is dropped. So a call always ends, and one that nobody waits for any more still
//! holds its share of the queue's room until librdkafka is through with it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rdkafka::error::RDKafkaErrorCode;
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::time::Instant;

/// What librdkafka says of a message. An error is of it, or of the brokers.
pub(super) type Report = Result<(), RDKafkaErrorCode>;

/// The messages of one call.
#[derive(Debug)]
pub(super) struct Call {
    reports: Mutex<Vec<Option<Report>>>,
    missing: AtomicUsize,
    complete: Notify,
    /// Given back when nothing of the call is left with librdkafka.
    _room: Arc<OwnedSemaphorePermit>,
}

/// One message of a call.
#[derive(Debug)]
pub(super) struct Ticket {
    call: Option<Arc<Call>>,
    index: usize,
}

impl Call {
    /// A call of so many messages, and their tickets.
    pub(super) fn new(messages: usize, room: Arc<OwnedSemaphorePermit>) -> (Arc<Self>, Vec<Ticket>) {
        let call = Arc::new(Self {
            reports: Mutex::new(vec![None; messages]),
            missing: AtomicUsize::new(messages),
            complete: Notify::new(),
            _room: room,
        });
        let tickets = (0..messages).map(|index| Ticket { call: Some(Arc::clone(&call)), index });
        let tickets = tickets.collect();
        (call, tickets)
    }

    /// Waits until there is a report of every message, at most until then. Those without one have none in the answer.
    pub(super) async fn reports(&self, deadline: Instant) -> Vec<Option<Report>> {
        let complete = async {
            while self.missing.load(Ordering::Acquire) > 0 {
                self.complete.notified().await;
            }
        };
        // What is missing at the deadline is told by the answer itself.
        let _ = tokio::time::timeout_at(deadline, complete).await;
        std::mem::take(&mut *self.lock())
    }

    fn hand_in(&self, index: usize, report: Report) {
        if let Some(place) = self.lock().get_mut(index) {
            *place = Some(report);
        }
        if self.missing.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.complete.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Option<Report>>> {
        // A report is stored whole, so a panic elsewhere has broken nothing.
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    pub(super) fn hand_in(mut self, report: Report) {
        if let Some(call) = self.call.take() {
            call.hand_in(self.index, report);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(call) = self.call.take() {
            call.hand_in(self.index, Err(RDKafkaErrorCode::DestroyBroker));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::Semaphore;

    use super::*;

    async fn call(messages: usize) -> (Arc<Call>, Vec<Ticket>, Arc<Semaphore>) {
        let room = Arc::new(Semaphore::new(1));
        let permit = Arc::clone(&room).acquire_owned().await.unwrap();
        let (call, tickets) = Call::new(messages, Arc::new(permit));
        (call, tickets, room)
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(30)
    }

    #[tokio::test]
    async fn reports_come_in_any_order_and_a_dropped_ticket_is_one() {
        let (call, mut tickets, _room) = call(3).await;
        let reporting = std::thread::spawn(move || {
            tickets.pop().unwrap().hand_in(Ok(()));
            tickets.remove(0).hand_in(Err(RDKafkaErrorCode::InvalidRecord));
            drop(tickets);
        });
        let reports = call.reports(soon()).await;
        reporting.join().unwrap();
        let lost = Err(RDKafkaErrorCode::DestroyBroker);
        assert_eq!(reports, [Some(Err(RDKafkaErrorCode::InvalidRecord)), Some(lost), Some(Ok(()))]);
    }

    #[tokio::test]
    async fn a_call_without_messages_is_complete() {
        let (call, _, _room) = call(0).await;
        assert_eq!(call.reports(soon()).await, []);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_missing_at_the_deadline_is_told_and_keeps_its_room() {
        let (call, mut tickets, room) = call(2).await;
        tickets.pop().unwrap().hand_in(Ok(()));
        assert_eq!(call.reports(soon()).await, [None, Some(Ok(()))]);
        drop(call);
        assert_eq!(room.available_permits(), 0, "librdkafka has a message yet");
        tickets.pop().unwrap().hand_in(Ok(()));
        assert_eq!(room.available_permits(), 1);
    }
}
