//! What of an answer is kept with the attempt: its head and its body, as text comes over the wire.
//!
//! ```text
//! content-type: application/problem+json
//! x-request-id: 7f3a
//!
//! {"title": "…"}
//! ```
//!
//! Headers about the connection and cookies are left out. The head has at most half of the room.

use bytes::Bytes;
use http::HeaderName;
use http::header;

use crate::Response;
use crate::http_client::Answer;

/// Headers that say nothing about the request, or too much about its answerer.
const LEFT_OUT: [HeaderName; 7] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::DATE,
    header::SERVER,
    header::SET_COOKIE,
    header::TRANSFER_ENCODING,
    HeaderName::from_static("keep-alive"),
];

/// What is kept, in `limit_bytes`.
pub(super) fn of(answer: &Answer, limit_bytes: usize) -> Response {
    let mut kept = Vec::with_capacity(limit_bytes.min(1024));
    for (name, value) in &answer.head.headers {
        let bytes = name.as_str().len() + value.len() + 3;
        // The empty line has its byte too.
        if LEFT_OUT.contains(name) || kept.len() + bytes >= limit_bytes / 2 {
            continue;
        }
        kept.extend_from_slice(name.as_str().as_bytes());
        kept.extend_from_slice(b": ");
        kept.extend_from_slice(value.as_bytes());
        kept.push(b'\n');
    }
    if !kept.is_empty() {
        kept.push(b'\n');
    }
    let room = limit_bytes.saturating_sub(kept.len());
    let taken = answer.body.len().min(room);
    kept.extend_from_slice(&answer.body[..taken]);
    Response {
        status: answer.status().as_u16(),
        truncated: answer.truncated || taken < answer.body.len(),
        body: Bytes::from(kept),
    }
}
