//! Writes events to files of newline-delimited JSON, one line an event.
//!
//! - A batch is delivered once its lines are written and fsynced, and, when they began a file, the folder is
//!   fsynced too.
//! - A file is followed by a new one when it would pass `max_bytes`, and with the first batch after
//!   `max_age_seconds`. No file is ever renamed or, unless `keep_files` is set, removed; only the last one
//!   still grows.
//! - After a restart the last file is continued. What a crash left of an unfinished line is cut first.
//! - After a failed write the file is cut back to its last whole batch. After a failed fsync nothing is known
//!   of the file's end, so the batch goes to a new one.
//! - Only one sink writes to a folder's files of one prefix: a lock file sees to that.

mod name;
mod settings;
mod tail;
mod writer;

use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::Mutex;
use tokio::time::Instant;

pub use settings::{KIND, Settings};

use self::writer::Writer;
use crate::lines::write_lines;
use crate::{Attempt, BatchLimit, BoxFuture, Delivery, Environment, Outcome, Sink, SinkError};

/// Buffers larger than this are not kept from one batch to the next.
const KEPT_BUFFER_BYTES: usize = 1024 * 1024;

/// Files of newline-delimited JSON.
pub struct FileSink {
    state: Arc<Mutex<State>>,
    limit: BatchLimit,
}

struct State {
    writer: Writer,
    lines: Vec<u8>,
}

impl FileSink {
    /// Makes the sink. Nothing is created or opened before the first batch.
    ///
    /// # Errors
    /// Names the field that is wrong or out of its limits.
    pub fn new(settings: &Settings, environment: &Environment) -> Result<Self, SinkError> {
        settings.check(environment)?;
        let limit = BatchLimit { events: settings.batch_events, bytes: settings.batch_bytes };
        let writer = Writer::new(environment.files_directory.join(&settings.directory), settings);
        Ok(Self { state: Arc::new(Mutex::new(State { writer, lines: Vec::new() })), limit })
    }

    async fn write(&self, batch: &[Delivery]) -> Result<(), String> {
        let Some(first) = batch.first() else { return Ok(()) };
        let first_offset = first.event.offset();
        let now =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_err(|error| error.to_string())?;
        let now_micros = u64::try_from(now.as_micros()).map_err(|error| error.to_string())?;

        let mut state = Arc::clone(&self.state).lock_owned().await;
        let mut lines = std::mem::take(&mut state.lines);
        write_lines(batch, &mut lines);
        // The guard goes along: should the caller leave, the write still ends before the next begins.
        let writing = tokio::task::spawn_blocking(move || {
            let result = state.writer.append(first_offset, &lines, now_micros);
            if lines.capacity() <= KEPT_BUFFER_BYTES {
                lines.clear();
                state.lines = lines;
            }
            result
        });
        writing
            .await
            .map_err(|stopped| format!("the write was stopped: {stopped}"))?
            .map_err(|error| error.to_string())
    }
}

impl Sink for FileSink {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn batch_limit(&self) -> BatchLimit {
        self.limit
    }

    fn deliver<'a>(&'a self, batch: &'a [Delivery]) -> BoxFuture<'a, Vec<Attempt>> {
        Box::pin(async move {
            let started = SystemTime::now();
            let clock = Instant::now();
            let outcome = match self.write(batch).await {
                Ok(()) => Outcome::Delivered,
                // A full disk, a missing permission: an operator can help, so nothing is given up for it.
                Err(why) => Outcome::Retry { after: None, why },
            };
            Attempt::of_batch(batch, &outcome, started, clock.elapsed())
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            // Waits for a write under way; what it wrote is fsynced already.
            self.state.lock().await.writer.close();
        })
    }
}

#[cfg(test)]
mod tests;
