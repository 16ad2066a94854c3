//! Changes of one subscription come one after another; those of different ones do not wait for each other.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A tenant's and a subscription's name.
pub(crate) type FullName = (String, String);

/// Who is changing what. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Turns(Arc<Mutex<HashMap<FullName, Arc<Semaphore>>>>);

/// The right to change a subscription, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    turns: Turns,
    name: FullName,
    permit: Option<OwnedSemaphorePermit>,
}

impl Turns {
    /// Waits until nobody else changes the subscription.
    pub(crate) async fn take(&self, tenant: &str, name: &str) -> Turn {
        let name = (tenant.to_owned(), name.to_owned());
        let semaphore = {
            let mut turns = self.0.lock();
            Arc::clone(turns.entry(name.clone()).or_insert_with(|| Arc::new(Semaphore::new(1))))
        };
        // An error means that it is closed, which it never is.
        let permit = semaphore.acquire_owned().await.ok();
        Turn { turns: self.clone(), name, permit }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut turns = self.turns.0.lock();
        drop(self.permit.take());
        // Nobody can come to wait for it while the map is locked.
        if turns.get(&self.name).is_some_and(|semaphore| Arc::strong_count(semaphore) == 1) {
            turns.remove(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_at_a_time_for_each_subscription_and_nothing_is_left() {
        let turns = Turns::default();
        let first = turns.take("t", "a").await;
        let other = turns.take("t", "b").await;
        let waiting = tokio::spawn({
            let turns = turns.clone();
            async move { drop(turns.take("t", "a").await) }
        });
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert!(!waiting.is_finished());
        drop(first);
        waiting.await.unwrap();
        drop(other);
        assert!(turns.0.lock().is_empty());
    }
}
