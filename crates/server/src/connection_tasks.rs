//! The tasks of one connection, so that none outlives it.

use std::sync::{Arc, Mutex, PoisonError};

use hyper::rt::Executor;
use tokio::task::JoinSet;

/// Owns the tasks that serve one HTTP/2 connection's streams. Clones own the same ones.
#[derive(Debug, Clone, Default)]
pub(crate) struct ConnectionTasks(Arc<Mutex<JoinSet<()>>>);

impl ConnectionTasks {
    /// Starts a task.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.spawn(task);
        // Those that are done need not be kept.
        while tasks.try_join_next().is_some() {}
    }

    /// What ends them all when it is dropped, though tasks of theirs may hold clones.
    pub(crate) fn ending(&self) -> EndTasks {
        EndTasks(self.clone())
    }
}

/// Ends a connection's tasks when it is dropped.
#[derive(Debug)]
#[must_use = "dropping it ends the tasks"]
pub(crate) struct EndTasks(ConnectionTasks);

impl Drop for EndTasks {
    fn drop(&mut self) {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for ConnectionTasks {
    fn execute(&self, task: F) {
        self.spawn(task);
    }
}
