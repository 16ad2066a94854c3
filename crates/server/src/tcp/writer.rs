//! The answering half of a connection: waits for one batch after another to be durable, and answers those that are with as
//! few writes as there are commits.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::batch::Batch;
use super::end::End;
use super::framing::Framing;
use super::service::Shared;
use crate::tls::WriteHalf;

/// So much is worth a write of its own, even if more is to come.
const WRITE_BYTES: usize = 64 << 10;
/// What is kept for the next answers while there is nothing to do.
const KEPT_BYTES: usize = 1 << 10;

/// Answers every batch in its turn, until no more come.
///
/// # Errors
/// When the client does not take the answers.
pub(crate) async fn answer(
    shared: &Shared,
    framing: Framing,
    socket: WriteHalf<'_>,
    mut batches: mpsc::Receiver<Batch<'_>>,
) -> Result<(), End> {
    let write_timeout = Duration::from_millis(shared.options.write_timeout_ms);
    let mut answers = Answers { socket, unwritten: Vec::new(), write_timeout };
    loop {
        let batch = match batches.try_recv() {
            Ok(batch) => batch,
            Err(_) => {
                answers.write().await?;
                answers.unwritten.shrink_to(KEPT_BYTES);
                match batches.recv().await {
                    Some(batch) => batch,
                    None => return Ok(()),
                }
            }
        };
        let mut outcome = pin!(batch.answered(shared));
        let known = poll_fn(|context| Poll::Ready(outcome.as_mut().poll(context))).await;
        let answered = match known {
            Poll::Ready(answered) => answered,
            Poll::Pending => {
                // The one before is durable and this one is not: what is known goes out.
                answers.write().await?;
                outcome.await
            }
        };
        answered.write(shared, framing, &mut answers.unwritten);
        if answers.unwritten.len() >= WRITE_BYTES {
            answers.write().await?;
        }
    }
}

struct Answers<'a> {
    socket: WriteHalf<'a>,
    unwritten: Vec<u8>,
    write_timeout: Duration,
}

impl Answers<'_> {
    /// Writes all that there is. The client must take some of it within each timeout.
    async fn write(&mut self) -> Result<(), End> {
        let mut written = 0;
        while written < self.unwritten.len() {
            match timeout(self.write_timeout, self.socket.write(&self.unwritten[written..])).await {
                Ok(Ok(count)) => written += count,
                Ok(Err(error)) => return Err(End::Broken(error.kind())),
                Err(_) => return Err(End::WriteTimeout),
            }
        }
        self.unwritten.clear();
        // With TLS, what was written may wait for the socket still.
        match timeout(self.write_timeout, self.socket.flush()).await {
            Ok(flushed) => flushed.map_err(|error| End::Broken(error.kind())),
            Err(_) => Err(End::WriteTimeout),
        }
    }
}
