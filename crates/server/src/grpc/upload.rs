//! The bytes of a call on their way in: messages too large, too slow or too many together are refused before they are
//! in memory.
//!
//! tonic gathers a message until it is whole; this stands before it and follows the framing of gRPC over HTTP/2, which is
//!
//! ```text
//! ┌────────────┬──────────────┬─────────────┐
//! │ compressed │ length       │ message     │ …
//! │ u8         │ u32, BE      │ length      │
//! └────────────┴──────────────┴─────────────┘
//! ```
//!
//! - A length over the limit is refused when it is read, which is before any byte of the message is.
//! - What has come of a message that is not yet whole counts against a budget that all calls share. A message that comes
//!   whole in one piece, as small ones do, costs nothing here: it goes straight to its reader, who counts it.
//! - A message that has begun must end in its time. A stream may be silent between messages for as long as it likes.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};
use tonic::{Code, Status};

use super::refusals::Refused;

const PREFIX_BYTES: usize = 5;

/// What messages on their way in may take; the same for all calls.
#[derive(Debug, Clone)]
pub(crate) struct UploadLimits {
    pub(crate) message_bytes: usize,
    pub(crate) message_timeout: Duration,
    /// Bytes of messages that are not yet whole.
    pub(crate) memory: Arc<Semaphore>,
    /// When to try again, for those that find no memory.
    pub(crate) retry_after: Duration,
}

/// A call's body.
#[derive(Debug)]
pub(crate) struct Upload<B = Incoming> {
    body: B,
    limits: UploadLimits,
    framing: Framing,
    held: Option<OwnedSemaphorePermit>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<B> Upload<B> {
    pub(crate) fn new(body: B, limits: &UploadLimits) -> Self {
        Self { body, limits: limits.clone(), framing: Framing::default(), held: None, timer: None }
    }

    /// Follows what has come, and takes memory for what is not yet whole.
    fn account(&mut self, bytes: &Bytes) -> Result<(), Refused> {
        let held_before = self.framing.partial_bytes;
        let whole = self.framing.advance(bytes, self.limits.message_bytes)?;
        let mut wanted = self.framing.partial_bytes;
        if whole {
            (self.held, self.timer) = (None, None);
        } else {
            wanted -= held_before;
        }
        if wanted == 0 {
            return Ok(());
        }
        let permits = u32::try_from(wanted).unwrap_or(u32::MAX);
        let Ok(more) = Arc::clone(&self.limits.memory).try_acquire_many_owned(permits) else {
            return Err(Refused::overloaded(self.limits.retry_after));
        };
        match &mut self.held {
            Some(held) => held.merge(more),
            None => self.held = Some(more),
        }
        Ok(())
    }

    /// Nothing has come: is it time to give up?
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.framing.partial_bytes == 0 {
            return Poll::Pending;
        }
        let limit = self.limits.message_timeout;
        let timer =
            self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + limit)));
        ready!(timer.as_mut().poll(cx));
        let refused =
            Refused::new(Code::DeadlineExceeded, "message_timeout", "the message took too long to come");
        Poll::Ready(Some(Err(refused.into_status())))
    }
}

impl<B> Body for Upload<B>
where
    B: Body<Data = Bytes, Error: std::error::Error + Send + Sync + 'static> + Unpin,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => frame,
            Poll::Ready(Some(Err(error))) => {
                return Poll::Ready(Some(Err(Status::from_error(Box::new(error)))));
            }
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Pending => return self.poll_silence(cx),
        };
        if let Some(bytes) = frame.data_ref()
            && let Err(refused) = self.account(bytes)
        {
            return Poll::Ready(Some(Err(refused.into_status())));
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Where in the framing the next byte falls.
#[derive(Debug, Default)]
struct Framing {
    prefix: [u8; PREFIX_BYTES],
    prefix_bytes: usize,
    /// What is missing of the message whose prefix is whole.
    missing_bytes: usize,
    /// What has come of the message that is not yet whole, its prefix included.
    partial_bytes: usize,
}

impl Framing {
    /// Moves past the bytes. Tells whether a message became whole on the way.
    fn advance(&mut self, mut bytes: &[u8], limit: usize) -> Result<bool, Refused> {
        let mut whole = false;
        while !bytes.is_empty() {
            let count = if self.prefix_bytes < PREFIX_BYTES {
                let count = bytes.len().min(PREFIX_BYTES - self.prefix_bytes);
                self.prefix[self.prefix_bytes..self.prefix_bytes + count].copy_from_slice(&bytes[..count]);
                self.prefix_bytes += count;
                if self.prefix_bytes == PREFIX_BYTES {
                    let [_, length @ ..] = self.prefix;
                    self.missing_bytes = u32::from_be_bytes(length) as usize;
                    if self.missing_bytes > limit {
                        return Err(too_large(self.missing_bytes, limit));
                    }
                }
                count
            } else {
                let count = bytes.len().min(self.missing_bytes);
                self.missing_bytes -= count;
                count
            };
            bytes = &bytes[count..];
            self.partial_bytes += count;
            if self.prefix_bytes == PREFIX_BYTES && self.missing_bytes == 0 {
                (self.prefix_bytes, self.partial_bytes) = (0, 0);
                whole = true;
            }
        }
        Ok(whole)
    }
}

fn too_large(bytes: usize, limit: usize) -> Refused {
    let message = format!("the message has {bytes} bytes; the limit is {limit}");
    Refused::new(Code::ResourceExhausted, "message_too_large", message)
}

#[cfg(test)]
#[path = "upload_fuzz.rs"]
mod fuzz;

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::convert::Infallible;

    use http_body_util::BodyExt;
    use tonic_types::StatusExt;

    use super::*;

    /// Gives its pieces, and then nothing more, without an end.
    struct Pieces(VecDeque<Bytes>);

    impl Body for Pieces {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            self.0.pop_front().map_or(Poll::Pending, |piece| Poll::Ready(Some(Ok(Frame::data(piece)))))
        }
    }

    fn limits(message_bytes: usize, memory: usize) -> UploadLimits {
        UploadLimits {
            message_bytes,
            message_timeout: Duration::from_millis(20),
            memory: Arc::new(Semaphore::new(memory)),
            retry_after: Duration::from_secs(1),
        }
    }

    fn upload(pieces: &[&[u8]], limits: &UploadLimits) -> Upload<Pieces> {
        Upload::new(Pieces(pieces.iter().map(|piece| Bytes::copy_from_slice(piece)).collect()), limits)
    }

    fn message(bytes: usize) -> Vec<u8> {
        let length = u32::try_from(bytes).unwrap();
        [&[0][..], &length.to_be_bytes(), &vec![7; bytes]].concat()
    }

    fn code(status: &Status) -> String {
        status.get_details_error_info().unwrap().reason
    }

    #[tokio::test]
    async fn whole_messages_cost_no_memory_and_need_no_time() {
        let limits = limits(10, 0);
        let pieces = [message(10), message(0), message(3)].concat();
        let mut upload = upload(&[&pieces], &limits);
        assert_eq!(upload.frame().await.unwrap().unwrap().into_data().unwrap(), pieces);
        assert!(futures_util::FutureExt::now_or_never(upload.frame()).is_none());
        assert!(upload.timer.is_none(), "between messages there is no deadline");
    }

    #[tokio::test]
    async fn memory_is_held_while_a_message_is_not_whole() {
        let limits = limits(100, 60);
        let message = message(50);
        let mut upload = upload(&[&message[..3], &message[3..30], &message[30..]], &limits);
        for left in [57, 30, 60] {
            upload.frame().await.unwrap().unwrap();
            assert_eq!(limits.memory.available_permits(), left);
        }
    }

    #[tokio::test]
    async fn a_message_that_finds_no_memory_is_refused_and_gives_back_what_it_had() {
        let limits = limits(100, 20);
        let message = message(50);
        let mut upload = upload(&[&message[..15], &message[15..30]], &limits);
        upload.frame().await.unwrap().unwrap();
        assert_eq!(code(&upload.frame().await.unwrap().unwrap_err()), "overloaded");
        drop(upload);
        assert_eq!(limits.memory.available_permits(), 20);
    }

    #[tokio::test]
    async fn a_length_bomb_is_refused_by_its_first_five_bytes() {
        let mut upload = upload(&[&[0, 0xff], &[0xff, 0xff, 0xff]], &limits(100, 100));
        upload.frame().await.unwrap().unwrap();
        assert_eq!(code(&upload.frame().await.unwrap().unwrap_err()), "message_too_large");
    }

    #[tokio::test]
    async fn half_a_message_has_its_time() {
        let mut upload = upload(&[&message(50)[..20]], &limits(100, 100));
        upload.frame().await.unwrap().unwrap();
        assert_eq!(code(&upload.frame().await.unwrap().unwrap_err()), "message_timeout");
    }
}
