//! `eventrelay tail`: follows the events of a running server, one line of JSON each.
//!
//! A connection that breaks is made again, from the offset after the last event that was printed, so that nothing is
//! missed or shown twice, whatever happened to the server meanwhile.

use std::time::Duration;

use http::{HeaderName, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Deserialize;
use tokio::time::{sleep, timeout};

use crate::arguments::{TailArguments, TailStart};
use crate::client::{Client, ClientError};
use crate::commands;
use crate::exit::{Exit, Failure};
use crate::stdout::{self, Reader};

/// Where a stream begins.
const NEXT_OFFSET: HeaderName = HeaderName::from_static("x-next-offset");
/// The pause before a broken connection is made again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(500);
/// The server says that it is alive more often than this.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);
/// The longest line. The server's limit on an event is below it.
const LINE_LIMIT_BYTES: usize = 64 << 20;

/// Follows until enough were printed, or nobody reads any more.
pub(crate) fn run(arguments: &TailArguments) -> Result<(), Failure> {
    let client = Client::new(&arguments.server)?;
    commands::block_on(follow(&client, arguments.from, arguments.count))
}

async fn follow(client: &Client, start: TailStart, count: Option<u64>) -> Result<(), Failure> {
    let mut tail = Tail { from: start, left: count };
    let mut connected_before = false;
    while tail.left != Some(0) {
        let path = format!("/v1/events/stream?from={}", tail.from);
        match client.follow(&path).await {
            Ok(response) if response.status().is_success() => {
                connected_before = true;
                // As an offset, so that what happens while a connection is made again is not missed.
                tail.from = TailStart::Offset(next_offset(&response)?);
                if tail.print(response.into_body()).await? == Reader::Gone {
                    return Ok(());
                }
            }
            // A server that starts or stops.
            Ok(response) if response.status() == StatusCode::SERVICE_UNAVAILABLE && connected_before => {}
            Ok(response) => {
                let problem = client.whole_answer(response).await?.problem();
                return Err(Failure::new(Exit::Refused, format!("the server refused: {problem}")));
            }
            Err(ClientError::Unreachable { .. } | ClientError::NoAnswer { .. }) if connected_before => {}
            Err(error) => return Err(error.into()),
        }
        if tail.left != Some(0) {
            sleep(RECONNECT_PAUSE).await;
        }
    }
    Ok(())
}

/// Where a stream begins, as the server says in its head.
fn next_offset(response: &Response<Incoming>) -> Result<u64, Failure> {
    let offset = response.headers().get(NEXT_OFFSET).and_then(|value| value.to_str().ok()?.parse().ok());
    offset.ok_or_else(|| {
        Failure::unexpected("this server does not say where its stream begins: is it EventRelay?")
    })
}

/// What is still to be printed.
struct Tail {
    from: TailStart,
    left: Option<u64>,
}

impl Tail {
    /// Prints events until the connection ends or enough were printed.
    async fn print(&mut self, mut body: Incoming) -> Result<Reader, Failure> {
        let mut pending: Vec<u8> = Vec::new();
        loop {
            // A connection that broke or fell silent is as good as one that ended: the caller makes it again.
            let Ok(Some(Ok(frame))) = timeout(SILENCE_LIMIT, body.frame()).await else { break };
            let Ok(data) = frame.into_data() else { continue };
            pending.extend_from_slice(&data);
            let mut printed = 0;
            while let Some(length) = pending[printed..].iter().position(|byte| *byte == b'\n') {
                let line = &pending[printed..printed + length];
                printed += length + 1;
                if self.print_event(line)? == Reader::Gone || self.left == Some(0) {
                    return Ok(Reader::Gone);
                }
            }
            pending.drain(..printed);
            if pending.len() > LINE_LIMIT_BYTES {
                return Err(Failure::unexpected("the server sent a line without end"));
            }
        }
        Ok(Reader::Listening)
    }

    /// Prints one line of the stream; a blank one only says that the server is alive.
    fn print_event(&mut self, line: &[u8]) -> Result<Reader, Failure> {
        if line.is_empty() {
            return Ok(Reader::Listening);
        }
        let place: Place = serde_json::from_slice(line).map_err(|error| {
            Failure::unexpected(format!("the server sent a line that is not an event: {error}"))
        })?;
        let reader = stdout::line(&stdout::without_controls(line))?;
        self.from = TailStart::Offset(place.offset + 1);
        self.left = self.left.map(|left| left - 1);
        Ok(reader)
    }
}

/// The part of an event that says where to go on.
#[derive(Deserialize)]
struct Place {
    offset: u64,
}
