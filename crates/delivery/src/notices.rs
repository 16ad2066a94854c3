//! What happens to subscriptions, told to who operates them.
//!
//! Dispatchers tell it and never wait: what there is no room for is dropped and counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;

/// How many notices wait to be taken.
const WAITING: usize = 1024;

/// Something that happened to a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Its tenant.
    pub tenant: String,
    /// Its name.
    pub subscription: String,
    /// What happened.
    pub what: Happened,
}

/// What happened to a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happened {
    /// Its target wants nothing more: it is disabled.
    Disabled {
        /// What the target said.
        reason: String,
    },
    /// Its target counts as down.
    BreakerOpened,
    /// Its target is up again.
    BreakerClosed,
    /// A delivery was given up.
    DeadLetter {
        /// The event's offset.
        offset: u64,
        /// When the event was appended, microseconds since the Unix epoch; unknown when the log no longer had it.
        append_time_micros: Option<u64>,
        /// The event's type, where it is an event.
        event_type: Option<String>,
        /// Attempts made.
        attempts: u32,
        /// Why it was given up.
        reason: String,
    },
}

/// Where dispatchers tell what happens. The default is nowhere.
#[derive(Debug, Clone, Default)]
pub struct Notices(Option<Told>);

#[derive(Debug, Clone)]
struct Told {
    queue: mpsc::Sender<Notice>,
    dropped: Arc<AtomicU64>,
}

impl Notices {
    /// A way to tell, and where it comes out.
    #[must_use]
    pub fn channel() -> (Self, mpsc::Receiver<Notice>) {
        let (queue, receiver) = mpsc::channel(WAITING);
        (Self(Some(Told { queue, dropped: Arc::default() })), receiver)
    }

    /// How many there was no room for, since this was last asked.
    #[must_use]
    pub fn take_dropped(&self) -> u64 {
        self.0.as_ref().map_or(0, |told| told.dropped.swap(0, Ordering::Relaxed))
    }

    pub(crate) fn tell(&self, tenant: &str, subscription: &str, what: Happened) {
        let Some(told) = &self.0 else { return };
        let notice = Notice { tenant: tenant.to_owned(), subscription: subscription.to_owned(), what };
        if told.queue.try_send(notice).is_err() {
            told.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_there_is_no_room_for_is_counted() {
        let (notices, mut receiver) = Notices::channel();
        for _ in 0..WAITING + 3 {
            notices.tell("t", "s", Happened::BreakerOpened);
        }
        assert_eq!((notices.take_dropped(), notices.take_dropped()), (3, 0));
        assert_eq!(receiver.try_recv().unwrap().what, Happened::BreakerOpened);
        Notices::default().tell("t", "s", Happened::BreakerClosed);
    }
}
