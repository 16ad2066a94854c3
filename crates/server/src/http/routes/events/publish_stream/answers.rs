//! Where a stream's answers go: through a short channel into the body of the response, and into the counters.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::{SemaphorePermit, mpsc};
use tokio::time::timeout;

use super::end::End;
use crate::http::body::{ByteStream, CutOff};
use crate::http::metrics::HttpMetrics;
use crate::payloads::answering::AnswerSink;
use crate::payloads::batch::Answered;
use crate::payloads::refusal::Refusal;
use crate::receipt;

/// What a stream tells its response.
pub(super) enum Said {
    Answers(Bytes),
    /// There is no more, and nothing is missing.
    End,
}

/// What is known of a batch's lines, and kept until their answers are on their way.
pub(super) struct Lines<'a> {
    /// The number of the first one, from 1. The others follow it.
    first: u64,
    /// Whether nothing behind it is taken.
    ends_stream: bool,
    /// Its share of what may be in flight on the stream.
    _in_flight: Option<SemaphorePermit<'a>>,
    /// Its share of the memory of all bodies.
    _memory: Option<SemaphorePermit<'a>>,
}

impl<'a> Lines<'a> {
    /// Lines that are taken, with their shares.
    pub(super) fn taken(
        first: u64,
        in_flight: SemaphorePermit<'a>,
        memory: Option<SemaphorePermit<'a>>,
    ) -> Self {
        Self { first, ends_stream: false, _in_flight: Some(in_flight), _memory: memory }
    }

    /// The line from which on nothing is taken.
    pub(super) fn not_taken(first: u64) -> Self {
        Self { first, ends_stream: true, _in_flight: None, _memory: None }
    }
}

/// A refusal with its line.
#[derive(Serialize)]
struct Problem<'a> {
    #[serde(flatten)]
    refusal: &'a Refusal,
    line: u64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    ends_stream: bool,
}

/// The answering half's way out.
pub(super) struct Answers<'a> {
    metrics: &'a HttpMetrics,
    sender: &'a mpsc::Sender<Said>,
    write_timeout: Duration,
}

impl<'a> Answers<'a> {
    pub(super) fn new(
        metrics: &'a HttpMetrics,
        sender: &'a mpsc::Sender<Said>,
        write_timeout_ms: u64,
    ) -> Self {
        Self { metrics, sender, write_timeout: Duration::from_millis(write_timeout_ms) }
    }
}

impl<'a> AnswerSink<Lines<'a>> for Answers<'_> {
    type Error = End;

    fn render(&mut self, answered: &Answered<Lines<'a>>, out: &mut Vec<u8>) {
        let lines = answered.held();
        let mut accepted = 0;
        answered.each(|place, outcome| {
            match outcome {
                Ok(receipt) => {
                    accepted += 1;
                    receipt::write(receipt, out);
                }
                Err(refusal) => {
                    self.metrics.count_refused_line(refusal.code);
                    let line = lines.first + place as u64;
                    let problem = Problem { refusal, line, ends_stream: lines.ends_stream };
                    // Writing strings and numbers to memory cannot fail.
                    if serde_json::to_writer(&mut *out, &problem).is_err() {
                        tracing::error!(code = refusal.code, "a refusal cannot be written");
                    }
                }
            }
            out.push(b'\n');
        });
        self.metrics.count_accepted_lines(accepted);
    }

    async fn write(&mut self, unwritten: &mut Vec<u8>) -> Result<(), End> {
        if unwritten.is_empty() {
            return Ok(());
        }
        let place = timeout(self.write_timeout, self.sender.reserve()).await;
        let place = place.map_err(|_| End::WriteTimeout)?.map_err(|_| End::Abandoned)?;
        place.send(Said::Answers(Bytes::from(std::mem::take(unwritten))));
        Ok(())
    }
}

/// The answers, as the body of the response.
pub(super) struct AnswerStream {
    /// None once there is no more.
    receiver: Option<mpsc::Receiver<Said>>,
}

impl AnswerStream {
    pub(super) fn new(receiver: mpsc::Receiver<Said>) -> Self {
        Self { receiver: Some(receiver) }
    }
}

impl ByteStream for AnswerStream {
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, CutOff>>> {
        let Some(receiver) = &mut self.receiver else {
            return Poll::Ready(None);
        };
        let end = match ready!(receiver.poll_recv(cx)) {
            Some(Said::Answers(bytes)) => return Poll::Ready(Some(Ok(bytes))),
            Some(Said::End) => None,
            // Without an end there may be lines without an answer, and that must not look well.
            None => Some(Err(CutOff)),
        };
        self.receiver = None;
        Poll::Ready(end)
    }
}
