//! The answering half: waits for one batch after another to be durable, and hands on the answers of those that are, with as
//! few writes as there are commits.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use eventrelay_ingest::Publisher;
use tokio::sync::mpsc;

use super::batch::{Answered, Batch};

/// So much is worth a write of its own, even if more is to come.
const WRITE_BYTES: usize = 64 << 10;
/// What is kept for the next answers while there is nothing to do.
const KEPT_BYTES: usize = 1 << 10;

/// Where answers go.
pub(crate) trait AnswerSink<H> {
    /// Why they are not taken.
    type Error;

    /// Appends the answers to a batch, in their order.
    fn render(&mut self, answered: &Answered<H>, out: &mut Vec<u8>);

    /// Hands on all that there is, and leaves nothing. The client must take some of it within each timeout.
    fn write(&mut self, unwritten: &mut Vec<u8>) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// Answers every batch in its turn, until no more come.
///
/// # Errors
/// When the client does not take the answers.
pub(crate) async fn answer<H, S: AnswerSink<H>>(
    publisher: &Publisher,
    mut batches: mpsc::Receiver<Batch<H>>,
    mut sink: S,
) -> Result<(), S::Error> {
    let mut unwritten = Vec::new();
    loop {
        let batch = match batches.try_recv() {
            Ok(batch) => batch,
            Err(_) => {
                sink.write(&mut unwritten).await?;
                unwritten.shrink_to(KEPT_BYTES);
                match batches.recv().await {
                    Some(batch) => batch,
                    None => return Ok(()),
                }
            }
        };
        let mut outcome = pin!(batch.answered(publisher));
        let known = poll_fn(|context| Poll::Ready(outcome.as_mut().poll(context))).await;
        let answered = match known {
            Poll::Ready(answered) => answered,
            Poll::Pending => {
                // The one before is durable and this one is not: what is known goes out.
                sink.write(&mut unwritten).await?;
                outcome.await
            }
        };
        sink.render(&answered, &mut unwritten);
        if unwritten.len() >= WRITE_BYTES {
            sink.write(&mut unwritten).await?;
        }
    }
}
