//! The tasks of one connection, so that none outlives it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::rt::Executor;
use tokio::task::{AbortHandle, Id, JoinSet};

/// Owns the tasks that serve one connection's streams. Clones own the same ones.
#[derive(Debug, Clone, Default)]
pub(crate) struct ConnectionTasks(Arc<Mutex<Tasks>>);

#[derive(Debug, Default)]
struct Tasks {
    set: JoinSet<()>,
    /// One for each task that is not known to be done: no more than a connection may have streams.
    handles: Vec<AbortHandle>,
}

impl ConnectionTasks {
    /// Starts a task.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.lock();
        let handle = tasks.set.spawn(task);
        tasks.handles.push(handle);
        // Those that are done need not be kept.
        while let Some(ended) = tasks.set.try_join_next_with_id() {
            let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
            if let Some(place) = tasks.handles.iter().position(|handle| handle.id() == id) {
                tasks.handles.swap_remove(place);
            }
        }
    }

    /// Ends one of them, if it is one of them. Ending the task of an HTTP/2 stream resets the stream: nothing else does that
    /// while its client takes nothing of the answer.
    pub(crate) fn abort(&self, task: Id) {
        if let Some(handle) = self.lock().handles.iter().find(|handle| handle.id() == task) {
            handle.abort();
        }
    }

    /// What ends them all when it is dropped, though tasks of theirs may hold clones.
    pub(crate) fn ending(&self) -> EndTasks {
        EndTasks(self.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Tasks> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends a connection's tasks when it is dropped.
#[derive(Debug)]
#[must_use = "dropping it ends the tasks"]
pub(crate) struct EndTasks(ConnectionTasks);

impl Drop for EndTasks {
    fn drop(&mut self) {
        self.0.lock().set.abort_all();
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for ConnectionTasks {
    fn execute(&self, task: F) {
        self.spawn(task);
    }
}
