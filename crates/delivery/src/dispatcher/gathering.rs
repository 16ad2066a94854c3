//! A batch that waits for more events to share its call.
//!
//! Some targets would rather have one large call a minute than many small ones: an object for each event is of no use to
//! anyone. So a batch that is neither full nor old enough is kept until it is one of these:
//!
//! | the batch | what happens |
//! |---|---|
//! | has `batch.max_events`, or the next event would exceed `batch.max_bytes` | it goes |
//! | its first event was read `batch.max_age_ms` ago | it goes |
//! | nothing may start (paused, breaker open) | its events are forgotten and their places kept, as the log has them |
//! | the cursor is moved, or the process ends | it is dropped: none of it is settled |
//!
//! Without an age, which is what most sinks ask for, a call takes what is there.

use std::time::Duration;

use eventrelay_sinks::{BatchLimit, Delivery};
use tokio::time::Instant;

use crate::key_gate::Place;

/// Events that were read, and wait for others.
#[derive(Default)]
pub(super) struct Gathering {
    deliveries: Vec<Delivery>,
    bytes: usize,
    /// When they go in any case.
    due: Option<Instant>,
}

impl Gathering {
    /// How many bytes the next event may have; the first may have any.
    pub(super) fn room_bytes(&self, limit: BatchLimit) -> usize {
        if self.deliveries.is_empty() { usize::MAX } else { limit.bytes.saturating_sub(self.bytes) }
    }

    pub(super) fn has_room_for_one(&self, limit: BatchLimit) -> bool {
        self.deliveries.len() < limit.events
    }

    pub(super) fn push(&mut self, delivery: Delivery) {
        self.bytes = self.bytes.saturating_add(delivery.event.encoded().len());
        self.deliveries.push(delivery);
    }

    /// When the batch goes in any case; none while there is no batch.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether it need not wait any longer, given that it may wait so long in all.
    pub(super) fn is_due(&mut self, now: Instant, wait: Duration) -> bool {
        if self.deliveries.is_empty() {
            self.due = None;
            return false;
        }
        *self.due.get_or_insert(now + wait) <= now
    }

    /// Takes as many as a call takes. What is left has waited as long, so it is due as well.
    pub(super) fn take(&mut self, limit: BatchLimit) -> Vec<Delivery> {
        if self.deliveries.len() <= limit.events {
            return std::mem::take(self).deliveries;
        }
        let rest = self.deliveries.split_off(limit.events);
        self.bytes = rest.iter().map(|delivery| delivery.event.encoded().len()).sum();
        std::mem::replace(&mut self.deliveries, rest)
    }

    /// Forgets the events, and says where they are.
    pub(super) fn give_up(&mut self) -> impl Iterator<Item = Place> {
        let place = |delivery: Delivery| Place {
            offset: delivery.event.offset(),
            bytes: delivery.event.encoded().len(),
        };
        std::mem::take(self).deliveries.into_iter().map(place)
    }
}
