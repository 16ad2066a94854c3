//! One connection that all calls of a sink share.
//!
//! It is made when a call first needs it, and again when a call finds it broken; nothing reconnects in the background.
//! However many calls wait for a connection, one of them makes it. When it cannot be made, all that waited hear why, and
//! only who asks afterwards tries again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;

/// A place for a connection. `E` is why there is none.
pub(crate) struct SharedConnection<C, E> {
    state: Mutex<State<C, E>>,
    /// Held while one is made.
    making: Semaphore,
}

struct State<C, E> {
    current: Option<Arc<C>>,
    /// How often one could not be made, and why the last time.
    failures: u64,
    failure: Option<E>,
}

/// A connection in use by a call. Unless the call comes to say that it is good, no further call uses it: what a call that
/// was left before its end has sent is on its way still.
pub(crate) struct Suspect<'a, C, E: Clone> {
    shared: &'a SharedConnection<C, E>,
    connection: Option<Arc<C>>,
}

impl<C, E: Clone> Suspect<'_, C, E> {
    /// Nothing speaks against the connection.
    pub(crate) fn acquit(mut self) {
        self.connection = None;
    }
}

impl<C, E: Clone> Drop for Suspect<'_, C, E> {
    fn drop(&mut self) {
        if let Some(connection) = &self.connection {
            self.shared.retire(connection);
        }
    }
}

impl<C, E: Clone> SharedConnection<C, E> {
    pub(crate) fn new() -> Self {
        let state = State { current: None, failures: 0, failure: None };
        Self { state: Mutex::new(state), making: Semaphore::new(1) }
    }

    /// The connection that is there, if `usable`, or else a new one. Safe to drop at any await.
    pub(crate) async fn get(
        &self,
        usable: impl Fn(&C) -> bool,
        make: impl AsyncFnOnce() -> Result<C, E>,
    ) -> Result<Arc<C>, E> {
        let failures_before = self.lock().failures;
        if let Some(connection) = self.take_if(&usable) {
            return Ok(connection);
        }
        // It is never closed, so what fails here is nothing.
        let _permit = self.making.acquire().await;
        if let Some(connection) = self.take_if(&usable) {
            return Ok(connection);
        }
        if let Some(failure) = self.failure_since(failures_before) {
            return Err(failure);
        }
        match make().await {
            Ok(connection) => {
                let connection = Arc::new(connection);
                self.lock().current = Some(Arc::clone(&connection));
                Ok(connection)
            }
            Err(error) => {
                let mut state = self.lock();
                state.failures += 1;
                state.failure = Some(error.clone());
                Err(error)
            }
        }
    }

    /// To be asked for before a connection is used.
    pub(crate) fn suspect(&self, connection: &Arc<C>) -> Suspect<'_, C, E> {
        Suspect { shared: self, connection: Some(Arc::clone(connection)) }
    }

    /// Sees to it that no further call uses a connection; those that use it go on.
    fn retire(&self, connection: &Arc<C>) {
        let mut state = self.lock();
        if state.current.as_ref().is_some_and(|current| Arc::ptr_eq(current, connection)) {
            let retired = state.current.take();
            // What a connection does when it is dropped is not done under the lock.
            drop(state);
            drop(retired);
        }
    }

    /// Takes the connection out, to close it.
    pub(crate) fn take(&self) -> Option<Arc<C>> {
        self.lock().current.take()
    }

    fn take_if(&self, usable: &impl Fn(&C) -> bool) -> Option<Arc<C>> {
        let current = self.lock().current.clone()?;
        if usable(&current) {
            return Some(current);
        }
        self.retire(&current);
        None
    }

    fn failure_since(&self, failures_before: u64) -> Option<E> {
        let state = self.lock();
        if state.failures > failures_before { state.failure.clone() } else { None }
    }

    fn lock(&self) -> MutexGuard<'_, State<C, E>> {
        // Nothing is left half done under the lock, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures_util::future::join_all;
    use tokio::sync::Notify;

    use super::*;

    type Shared = SharedConnection<u32, String>;

    #[tokio::test]
    async fn many_that_ask_at_once_get_one_connection() {
        let (shared, made, go_on) = (Shared::new(), AtomicU32::new(0), Notify::new());
        let get = || {
            shared.get(
                |_| true,
                async || {
                    go_on.notified().await;
                    Ok(made.fetch_add(1, Ordering::Relaxed))
                },
            )
        };
        let calls = join_all((0..10).map(|_| get()));
        let (results, ()) = tokio::join!(calls, async { go_on.notify_one() });
        assert!(results.iter().all(|result| **result.as_ref().unwrap() == 0));
        assert_eq!(made.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_failure_is_told_to_all_that_waited_for_it_and_not_to_later_ones() {
        let (shared, tried, go_on) = (Shared::new(), AtomicU32::new(0), Notify::new());
        let get = || {
            shared.get(
                |_| true,
                async || {
                    let nth = tried.fetch_add(1, Ordering::Relaxed);
                    go_on.notified().await;
                    Err(format!("failure {nth}"))
                },
            )
        };
        let calls = join_all((0..10).map(|_| get()));
        let (results, ()) = tokio::join!(calls, async { go_on.notify_one() });
        assert!(results.iter().all(|result| result.as_ref().unwrap_err() == "failure 0"));
        go_on.notify_one();
        assert_eq!(get().await.unwrap_err(), "failure 1");
    }

    #[tokio::test]
    async fn a_connection_that_is_broken_or_retired_is_replaced() {
        let shared = Shared::new();
        let first = shared.get(|_| true, async || Ok(1)).await.unwrap();
        assert_eq!(*shared.get(|_| true, async || Ok(2)).await.unwrap(), 1);
        assert_eq!(*shared.get(|number| *number != 1, async || Ok(2)).await.unwrap(), 2);
        drop(shared.suspect(&first));
        let second = shared.get(|_| true, async || Ok(3)).await.unwrap();
        assert_eq!(*second, 2, "the first is long gone, so the second stays");
        shared.suspect(&second).acquit();
        assert_eq!(*shared.get(|_| true, async || Ok(3)).await.unwrap(), 2);
        drop(shared.suspect(&second));
        assert_eq!(*shared.get(|_| true, async || Ok(3)).await.unwrap(), 3);
    }

    #[tokio::test]
    async fn who_is_dropped_while_it_connects_holds_up_nobody() {
        let shared = Shared::new();
        let never = shared.get(|_| true, async || std::future::pending().await);
        assert!(tokio::time::timeout(std::time::Duration::from_millis(1), never).await.is_err());
        assert_eq!(*shared.get(|_| true, async || Ok(1)).await.unwrap(), 1);
    }
}
