//! Cutting a file of events, one per line, into requests.

use bytes::Bytes;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

use crate::exit::Failure;

/// The longest line that is read into memory. The server's own limit on an event is far below.
const LINE_LIMIT_BYTES: u64 = 64 << 20;

/// The events of one request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Batch {
    /// NDJSON.
    pub(super) body: Bytes,
    /// The line of each event in the file, from 1.
    pub(super) lines: Vec<u64>,
    /// What was read of the file for it, blank lines included.
    pub(super) bytes_read: u64,
}

/// Cuts lines into batches, in order.
pub(super) struct Batches<R> {
    reader: R,
    max_events: usize,
    max_bytes: usize,
    line_number: u64,
    /// A line that did not fit the batch before.
    held_back: Option<Vec<u8>>,
}

impl<R: AsyncBufRead + Unpin> Batches<R> {
    pub(super) fn new(reader: R, max_events: usize, max_bytes: usize) -> Self {
        Self { reader, max_events, max_bytes, line_number: 0, held_back: None }
    }

    /// The next batch; none at the end. Has at least one event, however large.
    pub(super) async fn next(&mut self) -> Result<Option<Batch>, Failure> {
        let mut body = Vec::new();
        let mut lines = Vec::new();
        let mut bytes_read = 0;
        while lines.len() < self.max_events {
            let line = match self.held_back.take() {
                Some(line) => line,
                None => match self.read_line().await? {
                    Some(line) => line,
                    None => break,
                },
            };
            if !lines.is_empty() && body.len() + line.len() > self.max_bytes {
                self.held_back = Some(line);
                break;
            }
            bytes_read += line.len() as u64;
            if !line.trim_ascii().is_empty() {
                body.extend_from_slice(line.trim_ascii_end());
                body.push(b'\n');
                lines.push(self.line_number);
            }
        }
        Ok((!lines.is_empty()).then(|| Batch { body: Bytes::from(body), lines, bytes_read }))
    }

    async fn read_line(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        let mut line = Vec::new();
        let read = (&mut self.reader).take(LINE_LIMIT_BYTES).read_until(b'\n', &mut line).await;
        let read = read.map_err(|error| Failure::unexpected(format!("cannot read events: {error}")))?;
        if read == 0 {
            return Ok(None);
        }
        self.line_number += 1;
        if read as u64 == LINE_LIMIT_BYTES && !line.ends_with(b"\n") {
            return Err(Failure::usage(format!(
                "line {} is longer than {LINE_LIMIT_BYTES} bytes",
                self.line_number
            )));
        }
        Ok(Some(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn cut(text: &str, max_events: usize, max_bytes: usize) -> Vec<(String, Vec<u64>)> {
        let mut batches = Batches::new(text.as_bytes(), max_events, max_bytes);
        let mut all = Vec::new();
        let mut bytes_read = 0;
        while let Some(batch) = batches.next().await.unwrap() {
            bytes_read += batch.bytes_read;
            all.push((String::from_utf8(batch.body.to_vec()).unwrap(), batch.lines));
        }
        assert!(bytes_read <= text.len() as u64);
        all
    }

    #[tokio::test]
    async fn a_batch_ends_at_either_limit_and_keeps_line_numbers() {
        let by_count = cut("a\n\nb\r\nc", 2, 100).await;
        assert_eq!(by_count, [("a\nb\n".to_owned(), vec![1, 3]), ("c\n".to_owned(), vec![4])]);
        let by_bytes = cut("aaaa\nbb\ncc\n", 10, 6).await;
        assert_eq!(by_bytes, [("aaaa\n".to_owned(), vec![1]), ("bb\ncc\n".to_owned(), vec![2, 3])]);
    }

    #[tokio::test]
    async fn an_event_over_the_limit_goes_alone() {
        let batches = cut("a\nbbbbbbbb\nc\n", 10, 4).await;
        let bodies: Vec<&str> = batches.iter().map(|(body, _)| body.as_str()).collect();
        assert_eq!(bodies, ["a\n", "bbbbbbbb\n", "c\n"]);
    }

    #[tokio::test]
    async fn nothing_but_blank_lines_is_no_batch() {
        assert_eq!(cut("\n \n\t\r\n", 10, 10).await, []);
    }
}
