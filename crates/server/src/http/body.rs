//! The body of an answer: bytes that are all there, or a stream of events.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::state::InFlight;

/// The source of a body whose length nobody knows. `None` ends it well.
pub(crate) trait ByteStream: Send {
    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, CutOff>>>;
}

/// A body that ends without being whole, so that its client must not take it for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the answer was cut off")]
pub(crate) struct CutOff;

/// The body of an answer. While it lives, its request is in flight.
pub(crate) struct Body {
    content: Content,
    in_flight: Option<InFlight>,
}

enum Content {
    Full(Bytes),
    Stream(Pin<Box<dyn ByteStream>>),
}

impl Body {
    pub(crate) fn full(bytes: impl Into<Bytes>) -> Self {
        Self { content: Content::Full(bytes.into()), in_flight: None }
    }

    pub(crate) fn empty() -> Self {
        Self::full(Bytes::new())
    }

    pub(crate) fn stream(stream: impl ByteStream + 'static) -> Self {
        Self { content: Content::Stream(Box::pin(stream)), in_flight: None }
    }

    /// Ties the end of the request to the end of this body.
    pub(crate) fn set_in_flight(&mut self, in_flight: InFlight) {
        self.in_flight = Some(in_flight);
    }

    #[cfg(test)]
    pub(crate) fn bytes(&self) -> Option<&Bytes> {
        if let Content::Full(bytes) = &self.content { Some(bytes) } else { None }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = CutOff;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, CutOff>>> {
        match &mut self.get_mut().content {
            Content::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            Content::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Content::Stream(stream) => {
                stream.as_mut().poll_next(cx).map(|next| next.map(|bytes| bytes.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.content, Content::Full(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Stream(_) => SizeHint::default(),
        }
    }
}
