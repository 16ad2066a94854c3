//! The API as the commands use it: each answer is a document or a failure with its exit code, lists are followed page by
//! page, and what can be repeated without harm is repeated for a while.
//!
//! ```text
//!  GET, POST           ──▶ no answer, 503 with Retry-After, 429 ──▶ again, at most 3 times
//!  PUT, PATCH, DELETE  ──▶ 429                                  ──▶ again, at most 3 times
//! ```
//!
//! A `POST` carries an `Idempotency-Key` that is made once for it, so the server does it once however often it is sent.
//! The others are not sent again without an answer: what they changed may have been changed since.

use std::cell::Cell;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, IF_MATCH};
use http::{HeaderName, Method, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::time::sleep;

use super::{Answer, Client, ClientError, IDEMPOTENCY_KEY};
use crate::arguments::ServerAddress;
use crate::exit::{Exit, Failure};

/// How often a request is sent at most.
const TRIES: u32 = 4;
/// The pause before the first repetition where the server names none; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// A server that asks for a longer pause is not waited for.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// The most items of one page.
const PAGE_ITEMS: usize = 250;

const JSON: &str = "application/json";
const TOML: &str = "application/toml";

/// The API of one server, for one invocation of a command.
pub(crate) struct Api {
    client: Client,
    /// The beginning of the invocation's idempotency keys.
    invocation: String,
    /// How many of them were given away.
    keys_used: Cell<u32>,
}

/// Items of a list, as the server sent them.
#[derive(Serialize, Deserialize)]
pub(crate) struct Page {
    pub(crate) data: Vec<Box<RawValue>>,
    /// Where the list goes on; none at its end.
    pub(crate) next: Option<String>,
}

/// What is sent, once or more often.
struct Request<'a> {
    method: Method,
    path: &'a str,
    headers: Vec<(HeaderName, &'a str)>,
    body: Bytes,
}

impl Request<'_> {
    /// Whether it may be sent again when it is not known what became of it.
    fn is_repeatable(&self) -> bool {
        self.method == Method::GET || self.method == Method::POST
    }
}

impl Api {
    pub(crate) fn new(server: &ServerAddress) -> Result<Self, Failure> {
        let invocation = format!("cli-{:032x}", rand::random::<u128>());
        Ok(Self { client: Client::new(server)?, invocation, keys_used: Cell::new(0) })
    }

    /// Asks for a document.
    pub(crate) async fn get(&self, path: &str) -> Result<Bytes, Failure> {
        let request = Request { method: Method::GET, path, headers: Vec::new(), body: Bytes::new() };
        self.ask(request).await
    }

    /// Asks for the items of a list that has the parameters that are given, from `cursor` on: `most` of them, if there are
    /// so many.
    pub(crate) async fn list(
        &self,
        path: &str,
        parameters: &[(&str, Option<&str>)],
        cursor: Option<&str>,
        most: usize,
    ) -> Result<Page, Failure> {
        let mut found = Page { data: Vec::new(), next: cursor.map(str::to_owned) };
        loop {
            let limit = most.saturating_sub(found.data.len()).min(PAGE_ITEMS).to_string();
            let mut query = form_urlencoded::Serializer::new(String::new());
            let given = parameters.iter().filter_map(|(name, value)| value.map(|value| (*name, value)));
            query.extend_pairs(given).append_pair("limit", &limit);
            if let Some(cursor) = &found.next {
                query.append_pair("cursor", cursor);
            }
            let page: Page = parse(&self.get(&format!("{path}?{}", query.finish())).await?)?;
            found.data.extend(page.data);
            found.next = page.next;
            if found.next.is_none() || found.data.len() >= most {
                return Ok(found);
            }
        }
    }

    /// Asks for all items of a list.
    pub(crate) async fn all(&self, path: &str) -> Result<Page, Failure> {
        self.list(path, &[], None, usize::MAX).await
    }

    /// Has something done, once.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Bytes, Failure> {
        self.post_as(JSON, path, Bytes::from(body.to_string())).await
    }

    /// Has something done with a file of TOML.
    pub(crate) async fn post_toml(&self, path: &str, text: String) -> Result<Bytes, Failure> {
        self.post_as(TOML, path, Bytes::from(text)).await
    }

    /// Has something done that needs no words.
    pub(crate) async fn post_nothing(&self, path: &str) -> Result<Bytes, Failure> {
        self.post_as(JSON, path, Bytes::new()).await
    }

    /// The same, of something that is at a revision.
    pub(crate) async fn post_at(
        &self,
        path: &str,
        body: &Value,
        revision: Option<u64>,
    ) -> Result<Bytes, Failure> {
        let key = self.next_key();
        let tag = revision.map(entity_tag);
        let mut headers = vec![(CONTENT_TYPE, JSON), (IDEMPOTENCY_KEY, key.as_str())];
        headers.extend(tag.as_deref().map(|tag| (IF_MATCH, tag)));
        let body = Bytes::from(body.to_string());
        self.ask(Request { method: Method::POST, path, headers, body }).await
    }

    async fn post_as(&self, content_type: &str, path: &str, body: Bytes) -> Result<Bytes, Failure> {
        let key = self.next_key();
        let headers = vec![(CONTENT_TYPE, content_type), (IDEMPOTENCY_KEY, key.as_str())];
        self.ask(Request { method: Method::POST, path, headers, body }).await
    }

    /// Changes something, which must be at `revision` if one is given. Gives what it is then; of a deletion, nothing.
    pub(crate) async fn change(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        revision: Option<u64>,
    ) -> Result<Bytes, Failure> {
        let tag = revision.map(entity_tag);
        let mut headers: Vec<_> = tag.as_deref().map(|tag| (IF_MATCH, tag)).into_iter().collect();
        headers.extend(body.map(|_| (CONTENT_TYPE, JSON)));
        let body = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
        self.ask(Request { method, path, headers, body }).await
    }

    /// Two requests of one invocation may go to one path.
    fn next_key(&self) -> String {
        let number = self.keys_used.get();
        self.keys_used.set(number.saturating_add(1));
        format!("{}-{number}", self.invocation)
    }

    async fn ask(&self, request: Request<'_>) -> Result<Bytes, Failure> {
        let mut pause = FIRST_PAUSE;
        // Whether an earlier try may have done what this one asks for.
        let mut may_be_done = false;
        for tries_left in (0..TRIES).rev() {
            let Request { method, path, headers, body } = &request;
            let outcome = self.client.send(method.clone(), path, headers, body.clone()).await;
            let (failure, asked) = match outcome {
                Ok(answer) if answer.status.is_success() => return Ok(answer.body),
                Ok(answer) if !is_passing(&answer, request.is_repeatable()) => return Err(refused(&answer)),
                Ok(answer) => (refused(&answer), answer.retry_after),
                Err(error) => {
                    let is_unknown = matches!(error, ClientError::NoAnswer { .. });
                    may_be_done |= is_unknown && request.method != Method::GET;
                    let failure = match may_be_done {
                        true => Failure::new(Exit::Unknown, format!("the outcome is unknown: {error}")),
                        false => Failure::from(error),
                    };
                    // A server that is not there is not waited for, unless it was there a moment ago.
                    if !request.is_repeatable() || !(is_unknown || may_be_done) {
                        return Err(failure);
                    }
                    (failure, None)
                }
            };
            let wait = asked.unwrap_or(pause);
            if tries_left == 0 || wait > LONGEST_PAUSE {
                return Err(failure);
            }
            sleep(wait).await;
            pause *= 2;
        }
        Err(Failure::unexpected("no request was sent"))
    }
}

/// Whether the same request may be taken later.
fn is_passing(answer: &Answer, is_repeatable: bool) -> bool {
    match answer.status {
        StatusCode::TOO_MANY_REQUESTS => true,
        StatusCode::SERVICE_UNAVAILABLE => is_repeatable && answer.retry_after.is_some(),
        // An earlier try of this very request is under way.
        StatusCode::CONFLICT => answer.problem().code == "idempotency_key_in_use",
        _ => false,
    }
}

fn refused(answer: &Answer) -> Failure {
    let problem = answer.problem();
    match problem.code.as_str() {
        "outcome_unknown" => {
            Failure::new(Exit::Unknown, format!("the server does not know the outcome: {problem}"))
        }
        _ => Failure::new(Exit::Refused, format!("the server refused: {problem}")),
    }
}

fn entity_tag(revision: u64) -> String {
    format!("\"{revision}\"")
}

/// A document as something that is known.
pub(crate) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body)
        .map_err(|error| Failure::unexpected(format!("the server's answer is not understood: {error}")))
}

/// A name or an id as a part of a path. One that could not be sent as it is names nothing.
pub(crate) fn segment(name: &str) -> Result<&str, Failure> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if !name.is_empty() && name.bytes().all(is_plain) {
        return Ok(name);
    }
    Err(Failure::usage(format!(
        "{name:?} is no name and no id: those have letters, digits, `-` and `_` only"
    )))
}
