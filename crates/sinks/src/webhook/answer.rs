//! Reads what a receiver answers, and no more of it than is wanted.
//!
//! The status decides the outcome. The body is only kept for people to read, so whatever is wrong with it —
//! too long, without end, trickling, cut off — changes nothing but that it is marked as truncated and the
//! connection is not used again.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::StatusCode;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};

use super::outcome;
use crate::Response;

/// How long a body may take once the status is known: a receiver that trickles must not hold its slot for
/// long.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);
/// How much of a body beyond what is kept is read and thrown away, to keep the connection.
const DRAINED_BYTES: usize = 64 * 1024;

/// A receiver's answer.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) retry_after: Option<Duration>,
    pub(super) response: Response,
    /// Whether it was read to its end, so that the connection is ready for the next request.
    pub(super) complete: bool,
}

/// Reads the body of a response up to `keep_bytes`, until the deadline or [`BODY_TIMEOUT`], whichever is
/// first.
pub(super) async fn read(response: http::Response<Incoming>, keep_bytes: usize, deadline: Instant) -> Answer {
    let (head, mut body) = response.into_parts();
    let mut reading = Reading { kept: Vec::new(), dropped_bytes: 0, keep_bytes };
    let deadline = deadline.min(Instant::now() + BODY_TIMEOUT);
    let complete = matches!(timeout_at(deadline, reading.read_to_end(&mut body)).await, Ok(true));
    Answer {
        status: head.status,
        retry_after: outcome::retry_after(&head.headers, SystemTime::now()),
        response: Response {
            status: head.status.as_u16(),
            truncated: !complete || reading.dropped_bytes > 0,
            // The chunks that it came in share larger buffers: a copy lets those go.
            body: Bytes::from(reading.kept.into_boxed_slice()),
        },
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
