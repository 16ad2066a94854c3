//! Reads what a server answers, and no more of it than is wanted.
//!
//! The head decides. Whatever is wrong with the body — too long, without end, trickling, cut off — changes nothing but
//! that it is marked as truncated, and that the connection is not used again unless the body was read to its end.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::StatusCode;
use http::response::Parts;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};

use super::ExchangeLimits;
use crate::Response;

/// How much of a body beyond what is kept is read and thrown away, to keep the connection.
const DRAINED_BYTES: usize = 64 * 1024;

/// A server's answer.
pub(crate) struct Answer {
    pub(crate) head: Parts,
    /// The first bytes of the body.
    pub(crate) body: Bytes,
    /// Whether there was more of it, or it was cut off.
    pub(crate) truncated: bool,
    /// Whether it was read to its end, so that the connection is ready for the next request.
    pub(super) complete: bool,
}

impl Answer {
    pub(crate) fn status(&self) -> StatusCode {
        self.head.status
    }

    /// What the server asks us to wait.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        super::retry_after(&self.head.headers, SystemTime::now())
    }

    /// What is kept with the attempt.
    pub(crate) fn into_response(self) -> Response {
        Response { status: self.head.status.as_u16(), truncated: self.truncated, body: self.body }
    }
}

/// Reads the body of a response up to what the limits keep, and as long as they give it.
pub(super) async fn read(response: http::Response<Incoming>, limits: ExchangeLimits) -> Answer {
    let (head, mut body) = response.into_parts();
    let mut reading = Reading { kept: Vec::new(), dropped_bytes: 0, keep_bytes: limits.keep_bytes };
    let deadline = limits.deadline.min(Instant::now() + limits.body_timeout);
    let complete = matches!(timeout_at(deadline, reading.read_to_end(&mut body)).await, Ok(true));
    Answer {
        head,
        truncated: !complete || reading.dropped_bytes > 0,
        // The chunks that it came in share larger buffers: a copy lets those go.
        body: Bytes::from(reading.kept.into_boxed_slice()),
        complete,
    }
}

struct Reading {
    kept: Vec<u8>,
    dropped_bytes: usize,
    keep_bytes: usize,
}

impl Reading {
    /// Whether the end was reached. Safe to drop at any await: what was read is kept.
    async fn read_to_end(&mut self, body: &mut Incoming) -> bool {
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { return false };
            // Trailers say nothing that is wanted.
            let Some(chunk) = frame.data_ref() else { continue };
            let room = self.keep_bytes - self.kept.len();
            let taken = chunk.len().min(room);
            self.kept.extend_from_slice(&chunk[..taken]);
            self.dropped_bytes += chunk.len() - taken;
            if self.dropped_bytes > DRAINED_BYTES {
                return false;
            }
        }
        true
    }
}
