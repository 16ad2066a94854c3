//! `eventrelay publish`: hands events to a running server and prints its receipts.
//!
//! A refusal because of overload is tried again, since nothing of it was accepted. A request whose outcome is unknown
//! is not, unless the user has named it with a key: the message says which lines it is about, and exit code 7 tells a
//! script.

mod batches;

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, StatusCode, header};
use serde_json::value::RawValue;
use tokio::io::{AsyncRead, BufReader};
use tokio::time::{Instant, sleep};

use crate::arguments::PublishArguments;
use crate::client::{Answer, Client, ClientError, IDEMPOTENCY_KEY};
use crate::exit::{Exit, Failure};
use crate::stdout::{self, Reader};
use crate::{commands, progress};
use batches::{Batch, Batches};

const PATH: &str = "/v1/events";
const READ_BUFFER_BYTES: usize = 256 << 10;
/// The pause before the first repetition where the server names none; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Publishes what the arguments name.
pub(crate) fn run(arguments: PublishArguments) -> Result<(), Failure> {
    commands::block_on(async move {
        let publisher = Publisher {
            client: Client::new(&arguments.server)?,
            retry_for: Duration::from_secs(arguments.retry_seconds),
            quiet: arguments.quiet,
        };
        match (arguments.event, arguments.file) {
            (Some(event), _) => publisher.publish_one(event, arguments.idempotency_key.as_deref()).await,
            (None, file) => {
                let (source, bytes) = open(file.as_deref()).await?;
                let reader = BufReader::with_capacity(READ_BUFFER_BYTES, source);
                let batches =
                    Batches::new(reader, arguments.batch_events as usize, arguments.batch_bytes as usize);
                publisher.publish_many(batches, bytes).await
            }
        }
    })
}

/// The file, or stdin, and its length where it has one.
async fn open(file: Option<&Path>) -> Result<(Box<dyn AsyncRead + Unpin>, Option<u64>), Failure> {
    let Some(path) = file.filter(|path| *path != Path::new("-")) else {
        return Ok((Box::new(tokio::io::stdin()), None));
    };
    let cannot = |error| Failure::usage(format!("cannot read {}: {error}", path.display()));
    let file = tokio::fs::File::open(path).await.map_err(cannot)?;
    let metadata = file.metadata().await.map_err(cannot)?;
    Ok((Box::new(file), metadata.is_file().then_some(metadata.len())))
}

struct Publisher {
    client: Client,
    /// How long overload is put up with, per request.
    retry_for: Duration,
    quiet: bool,
}

impl Publisher {
    /// One event as the user wrote it, or an array of them.
    async fn publish_one(&self, event: String, key: Option<&str>) -> Result<(), Failure> {
        let mut headers = vec![(header::CONTENT_TYPE, "application/json")];
        headers.extend(key.map(|key| (IDEMPOTENCY_KEY, key)));
        let body = self.send(&headers, Bytes::from(event), key.is_some()).await?;
        self.print(&receipts(&body)?).map(|_| ())
    }

    /// A file's events, batch by batch, in order. Stops at the first batch that is not accepted.
    async fn publish_many<R>(&self, mut batches: Batches<R>, bytes: Option<u64>) -> Result<(), Failure>
    where
        R: tokio::io::AsyncBufRead + Unpin,
    {
        let bar = progress::bytes("publishing", bytes);
        let mut accepted: u64 = 0;
        let mut reader = Reader::Listening;
        while let Some(batch) = batches.next().await? {
            let headers = [(header::CONTENT_TYPE, "application/x-ndjson")];
            let body = match self.send(&headers, batch.body.clone(), false).await {
                Ok(body) => body,
                Err(failure) => {
                    bar.abandon();
                    return Err(in_file(&failure, &batch, accepted));
                }
            };
            let receipts = receipts(&body)?;
            accepted += receipts.len() as u64;
            // Nobody reading the receipts is no reason to leave events unpublished.
            if reader == Reader::Listening {
                reader = bar.suspend(|| self.print(&receipts))?;
            }
            bar.inc(batch.bytes_read);
            bar.set_message(format!("{accepted} events"));
        }
        bar.finish_and_clear();
        eprintln!("{accepted} events accepted");
        Ok(())
    }

    /// Sends one request until it is accepted, refused for good, or overload has lasted too long. Gives the receipts.
    async fn send(
        &self,
        headers: &[(HeaderName, &str)],
        body: Bytes,
        repeatable: bool,
    ) -> Result<Bytes, PublishFailure> {
        let give_up = Instant::now() + self.retry_for;
        let mut pause = FIRST_PAUSE;
        loop {
            let outcome = self.client.post(PATH, headers, body.clone()).await;
            let (refusal, asked) = match judge(outcome, repeatable) {
                Judgement::Accepted(body) => return Ok(body),
                Judgement::Final(failure) => return Err(failure),
                Judgement::Again { refusal, after } => (refusal, after),
            };
            let wait = asked.unwrap_or(pause);
            if Instant::now() + wait > give_up {
                return Err(refusal);
            }
            sleep(wait).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn print(&self, receipts: &[Box<RawValue>]) -> Result<Reader, Failure> {
        if self.quiet {
            return Ok(Reader::Listening);
        }
        let lines: Vec<&str> = receipts.iter().map(|receipt| receipt.get()).collect();
        stdout::line(lines.join("\n").as_bytes())
    }
}

/// A request that was not accepted.
struct PublishFailure {
    exit: Exit,
    why: String,
    /// Which event of the request it is about.
    index: Option<usize>,
}

impl From<PublishFailure> for Failure {
    fn from(failure: PublishFailure) -> Self {
        Self::new(failure.exit, failure.why)
    }
}

/// What to do after a try.
enum Judgement {
    Accepted(Bytes),
    Again { refusal: PublishFailure, after: Option<Duration> },
    Final(PublishFailure),
}

/// `repeatable`: the request has a key, so that sending it twice is the same as sending it once.
fn judge(outcome: Result<Answer, ClientError>, repeatable: bool) -> Judgement {
    let answer = match outcome {
        Ok(answer) if answer.status.is_success() => return Judgement::Accepted(answer.body),
        Ok(answer) => answer,
        Err(
            error @ (ClientError::Unreachable { .. }
            | ClientError::NotBelieved { .. }
            | ClientError::TurnedAway { .. }),
        ) => {
            return Judgement::Final(PublishFailure {
                exit: Exit::Unreachable,
                why: error.to_string(),
                index: None,
            });
        }
        Err(error @ ClientError::NoAnswer { .. }) => {
            let why = format!("the outcome is unknown: {error}");
            let refusal = PublishFailure { exit: Exit::Unknown, why, index: None };
            return if repeatable {
                Judgement::Again { refusal, after: None }
            } else {
                Judgement::Final(refusal)
            };
        }
    };
    let problem = answer.problem();
    let unknown = matches!(problem.code.as_str(), "outcome_unknown" | "unconfirmed");
    let (exit, verb) =
        if unknown { (Exit::Unknown, "does not know the outcome") } else { (Exit::Refused, "refused") };
    let refusal = PublishFailure { exit, why: format!("the server {verb}: {problem}"), index: problem.index };
    let nothing_stored =
        matches!(problem.code.as_str(), "overloaded" | "unavailable" | "too_many_connections");
    let overloaded = answer.status == StatusCode::TOO_MANY_REQUESTS || nothing_stored;
    if overloaded || (unknown && repeatable) {
        Judgement::Again { refusal, after: answer.retry_after }
    } else {
        Judgement::Final(refusal)
    }
}

/// A receipt, or an array of them.
fn receipts(body: &[u8]) -> Result<Vec<Box<RawValue>>, Failure> {
    let unexpected = |error| Failure::unexpected(format!("the server's answer is not a receipt: {error}"));
    if body.trim_ascii_start().starts_with(b"[") {
        serde_json::from_slice(body).map_err(unexpected)
    } else {
        serde_json::from_slice(body).map(|receipt| vec![receipt]).map_err(unexpected)
    }
}

/// Says of a failed batch where in the file it stands, so that the rest can be published later.
fn in_file(failure: &PublishFailure, batch: &Batch, accepted: u64) -> Failure {
    let line = |index: usize| batch.lines.get(index).copied().unwrap_or_default();
    let place = match failure.index {
        Some(index) => format!("line {}", line(index)),
        None => format!("lines {} to {}", line(0), line(batch.lines.len().saturating_sub(1))),
    };
    let rest = match failure.exit {
        Exit::Unknown => "those lines may or may not have been",
        _ => "nothing from there on was",
    };
    let begins = line(0);
    let why =
        format!("{place}: {}\n{accepted} events before line {begins} were accepted; {rest}", failure.why);
    Failure::new(failure.exit, why)
}
