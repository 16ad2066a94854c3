//! The one thread that writes. Jobs that wait together share a transaction, and so a sync.
//!
//! A job answers its caller only after the transaction that holds it is committed. A job that fails is undone alone;
//! when the commit fails, every job of the group hears it, and nothing of the group is kept.

use std::thread;

use rusqlite::{Connection, Savepoint, Transaction, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use crate::StateError;

/// The most jobs that wait for the writer; callers beyond it wait for a place.
const QUEUE_JOBS: usize = 1024;
/// The most jobs of one transaction.
const GROUP_JOBS: usize = 256;

/// Works within the group's transaction, or does nothing where that one failed already.
type Job = Box<dyn FnOnce(Option<&mut Transaction<'_>>) -> Done + Send>;

/// A job that was run, and its caller, who is told once the group's fate is known.
struct Done {
    failure: Option<StateError>,
    reply: Box<dyn FnOnce(Result<(), StateError>) + Send>,
}

enum Message {
    Job(Job),
    Close,
}

/// Hands jobs to the writing thread.
#[derive(Debug, Clone)]
pub(crate) struct Writer {
    queue: mpsc::Sender<Message>,
}

impl Writer {
    /// Starts the thread. It ends after [`Self::close`], or once every handle is gone.
    pub(crate) fn start(connection: Connection) -> std::io::Result<(Self, thread::JoinHandle<()>)> {
        let (queue, jobs) = mpsc::channel(QUEUE_JOBS);
        let thread =
            thread::Builder::new().name("state-writer".to_owned()).spawn(move || run(connection, jobs))?;
        Ok((Self { queue }, thread))
    }

    /// Runs `work` within the next transaction and waits until it is durable.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Savepoint<'_>) -> Result<T, StateError> + Send + 'static,
    ) -> Result<T, StateError> {
        let (job, answer) = job(work);
        self.queue.send(Message::Job(job)).await.map_err(|_| StateError::Closed)?;
        answer.await.map_err(|_| StateError::Closed)?
    }

    /// Asks the thread to end after the jobs that are already queued.
    pub(crate) async fn close(&self) {
        // A failure means that the thread has ended already.
        let _ = self.queue.send(Message::Close).await;
    }
}

fn job<T: Send + 'static>(
    work: impl FnOnce(&Savepoint<'_>) -> Result<T, StateError> + Send + 'static,
) -> (Job, oneshot::Receiver<Result<T, StateError>>) {
    let (answer, receiver) = oneshot::channel();
    let job: Job = Box::new(move |transaction| {
        let result = match transaction {
            Some(transaction) => undone_on_failure(transaction, work),
            None => Err(StateError::Closed), // never told: the group's own error is
        };
        Done {
            failure: result.as_ref().err().cloned(),
            reply: Box::new(move |committed| {
                // The caller may have stopped waiting; the write stands all the same.
                let _ = answer.send(committed.and(result));
            }),
        }
    });
    (job, receiver)
}

fn undone_on_failure<T>(
    transaction: &mut Transaction<'_>,
    work: impl FnOnce(&Savepoint<'_>) -> Result<T, StateError>,
) -> Result<T, StateError> {
    // Dropped without a commit, a savepoint rolls back.
    let savepoint = transaction.savepoint()?;
    let value = work(&savepoint)?;
    savepoint.commit()?;
    Ok(value)
}

fn run(mut connection: Connection, mut messages: mpsc::Receiver<Message>) {
    let mut open = true;
    while open && let Some(first) = messages.blocking_recv() {
        let mut group = Vec::new();
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Message::Job(job) => group.push(job),
                Message::Close => {
                    open = false;
                    break;
                }
            }
            next = if group.len() < GROUP_JOBS { messages.try_recv().ok() } else { None };
        }
        if !group.is_empty() {
            commit(&mut connection, group);
        }
    }
}

/// Runs the group in one transaction, then tells everyone what became of it.
fn commit(connection: &mut Connection, group: Vec<Job>) {
    let (done, committed) = run_group(connection, group);
    if let Err(error) = &committed {
        tracing::warn!(%error, jobs = done.len(), "the state store could not commit");
    }
    for done in done {
        (done.reply)(committed.clone());
    }
}

fn run_group(connection: &mut Connection, group: Vec<Job>) -> (Vec<Done>, Result<(), StateError>) {
    let mut transaction = match connection.transaction_with_behavior(TransactionBehavior::Immediate) {
        Ok(transaction) => transaction,
        Err(error) => {
            return (group.into_iter().map(|job| job(None)).collect(), Err(error.into()));
        }
    };
    let mut rolled_back = None;
    let mut finished = Vec::with_capacity(group.len());
    for job in group {
        if rolled_back.is_some() {
            finished.push(job(None));
            continue;
        }
        let done = job(Some(&mut transaction));
        // On a full or failing disk SQLite may undo the whole transaction, not only the job's part of it. Work that
        // went on would then be committed piece by piece, and told to have failed.
        if transaction.is_autocommit() {
            rolled_back = Some(done.failure.clone().unwrap_or(StateError::DiskFull));
        }
        finished.push(done);
    }
    let committed = match rolled_back {
        Some(error) => Err(error),
        None => transaction.commit().map_err(StateError::from),
    };
    (finished, committed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames_in_wal(connection: &Connection) -> i64 {
        connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get(1)).unwrap()
    }

    #[tokio::test]
    async fn jobs_that_wait_share_a_transaction() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db");
        let connection = Connection::open(&path).unwrap();
        connection.pragma_update(None, "journal_mode", "wal").unwrap();
        connection.execute_batch("CREATE TABLE t (x)").unwrap();
        let watcher = Connection::open(&path).unwrap();
        let (writer, thread) = Writer::start(connection).unwrap();

        // The first job holds the thread, alone in its transaction, while the others queue up behind it.
        let (begun, began) = oneshot::channel();
        let (release, held) = std::sync::mpsc::channel::<()>();
        let first = tokio::spawn({
            let writer = writer.clone();
            let hold = move |_: &Savepoint<'_>| {
                begun.send(()).map_err(|()| StateError::Closed)?;
                held.recv().map_err(|_| StateError::Closed)
            };
            async move { writer.write(hold).await }
        });
        began.await.unwrap();
        let jobs: Vec<_> = (0..100)
            .map(|n| {
                let writer = writer.clone();
                let insert = move |tx: &Savepoint<'_>| Ok(tx.execute("INSERT INTO t VALUES (?1)", [n])?);
                tokio::spawn(async move { writer.write(insert).await })
            })
            .collect();
        while writer.queue.capacity() > QUEUE_JOBS - 100 {
            tokio::task::yield_now().await;
        }
        let before = frames_in_wal(&watcher);
        release.send(()).unwrap();
        first.await.unwrap().unwrap();
        for job in jobs {
            assert_eq!(job.await.unwrap(), Ok(1));
        }
        let after = frames_in_wal(&watcher);
        assert!(
            after <= before + 10,
            "100 jobs of one page each took the log from {before} to {after} page writes"
        );
        writer.close().await;
        thread.join().unwrap();
        assert_eq!(writer.write(|_| Ok(())).await, Err(StateError::Closed));
    }
}
