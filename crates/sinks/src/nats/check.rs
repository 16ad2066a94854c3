//! Looks whether what is delivered will be taken. Changes nothing: not even a message that the stream would refuse is
//! sent, for others may listen to the subject.
//!
//! | asked | by |
//! |---|---|
//! | can we log in | connecting |
//! | is there JetStream | the server's greeting and the account's information |
//! | does a stream capture a fixed subject, is it the one that is named, does it acknowledge | `STREAM.NAMES`, `STREAM.INFO` |
//! | may we publish to a fixed subject | `$SYS.REQ.USER.INFO` |
//!
//! A user may be allowed to publish and nothing else. What such a user may not ask stays unknown until the first delivery,
//! which says it as well; it is no reason to refuse a target that works.

use std::time::Duration;

use async_nats::RequestErrorKind;
use async_nats::jetstream::context::{GetStreamByNameErrorKind, GetStreamErrorKind};
use async_nats::jetstream::stream::Info;
use async_nats::jetstream::{self, ErrorCode};
use serde::Deserialize;
use tokio::time::timeout;

use super::client::{Client, Verdict};
use crate::CheckError;
use crate::error::chain;

/// What a question came to.
enum Answered<T> {
    Yes(T),
    /// We may not ask.
    MayNot,
}

/// Checks a target.
pub(super) async fn check(
    client: &Client,
    fixed_subject: Option<&str>,
    stream: Option<&str>,
    limit: Duration,
) -> Result<(), CheckError> {
    let all = async {
        let captured_by = match fixed_subject {
            Some(subject) => stream_of(client, subject).await?,
            None => None,
        };
        match (captured_by.as_deref(), stream) {
            (Some(actual), Some(wanted)) if actual != wanted => {
                let subject = fixed_subject.unwrap_or_default();
                let why = format!("{subject:?} is captured by the stream {actual:?}, not by {wanted:?}");
                return Err(CheckError::Mismatch(why));
            }
            (Some(name), _) | (None, Some(name)) => check_stream(client, name).await?,
            (None, None) => check_jetstream(client).await?,
        }
        match fixed_subject {
            Some(subject) => check_rights(client, subject).await,
            None => Ok(()),
        }
    };
    timeout(limit, all).await.unwrap_or_else(|_elapsed| {
        Err(CheckError::Unreachable(format!("no answer within {} ms", limit.as_millis())))
    })
}

/// The name of the stream that captures a subject; none where we may not ask.
async fn stream_of(client: &Client, subject: &str) -> Result<Option<String>, CheckError> {
    match ask(client, client.jetstream.stream_by_subject(subject)).await? {
        Answered::MayNot => Ok(None),
        Answered::Yes(Ok(name)) => Ok(Some(name)),
        Answered::Yes(Err(error)) => Err(match error.kind() {
            GetStreamByNameErrorKind::NotFound => {
                CheckError::Missing(format!("no stream captures the subject {subject:?}"))
            }
            GetStreamByNameErrorKind::JetStream(error) => of_jetstream(&error),
            _ => of_request(&error),
        }),
    }
}

async fn check_stream(client: &Client, name: &str) -> Result<(), CheckError> {
    match ask(client, client.jetstream.get_stream(name)).await? {
        Answered::MayNot => Ok(()),
        Answered::Yes(Ok(stream)) => check_configuration(stream.cached_info()),
        Answered::Yes(Err(error)) => Err(match error.kind() {
            GetStreamErrorKind::JetStream(answer) if answer.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                CheckError::Missing(format!("there is no stream {name:?}"))
            }
            GetStreamErrorKind::JetStream(answer) => of_jetstream(&answer),
            _ => of_request(&error),
        }),
    }
}

fn check_configuration(info: &Info) -> Result<(), CheckError> {
    let config = &info.config;
    let name = &config.name;
    let why = if config.no_ack {
        format!("the stream {name:?} has no_ack set, so no delivery could ever be known to have succeeded")
    } else if config.sealed {
        format!("the stream {name:?} is sealed")
    } else if config.mirror.is_some() {
        format!("the stream {name:?} is a mirror, which takes nothing but from its origin")
    } else {
        return Ok(());
    };
    Err(CheckError::Mismatch(why))
}

async fn check_jetstream(client: &Client) -> Result<(), CheckError> {
    match ask(client, client.jetstream.query_account()).await? {
        Answered::MayNot | Answered::Yes(Ok(_)) => Ok(()),
        Answered::Yes(Err(error)) => Err(match error.kind() {
            jetstream::context::AccountErrorKind::JetStream(answer) => of_jetstream(&answer),
            _ => of_request(&error),
        }),
    }
}

/// What a server says of the user that asks.
#[derive(Debug, Deserialize)]
struct UserInfo {
    data: User,
}

#[derive(Debug, Deserialize)]
struct User {
    #[serde(default)]
    user: String,
    permissions: Option<Permissions>,
}

#[derive(Debug, Default, Deserialize)]
struct Permissions {
    publish: Option<Rights>,
}

#[derive(Debug, Default, Deserialize)]
struct Rights {
    allow: Option<Vec<String>>,
    deny: Option<Vec<String>>,
}

async fn check_rights(client: &Client, subject: &str) -> Result<(), CheckError> {
    let nats = client.jetstream.client();
    let answer = match ask(client, nats.request("$SYS.REQ.USER.INFO", "".into())).await? {
        Answered::Yes(Ok(answer)) => answer,
        // Servers before 2.10 have no such question, and some users may not ask it.
        Answered::MayNot | Answered::Yes(Err(_)) => return Ok(()),
    };
    let Ok(info) = serde_json::from_slice::<UserInfo>(&answer.payload) else { return Ok(()) };
    let rights = info.data.permissions.and_then(|permissions| permissions.publish).unwrap_or_default();
    if rights.let_publish_to(subject) {
        return Ok(());
    }
    Err(CheckError::Forbidden(format!("the user {:?} may not publish to {subject:?}", info.data.user)))
}

impl Rights {
    fn let_publish_to(&self, subject: &str) -> bool {
        let any = |patterns: &[String]| patterns.iter().any(|pattern| matches(pattern, subject));
        self.allow.as_deref().is_none_or(|allowed| allowed.is_empty() || any(allowed))
            && !self.deny.as_deref().is_some_and(any)
    }
}

/// Whether a pattern with `*` (one token) and `>` (the rest) takes in a subject.
fn matches(pattern: &str, subject: &str) -> bool {
    let (mut patterns, mut tokens) = (pattern.split('.'), subject.split('.'));
    loop {
        match (patterns.next(), tokens.next()) {
            (None, None) => return true,
            (Some(">"), Some(_)) => return true,
            (Some(pattern), Some(token)) if pattern == "*" || pattern == token => {}
            _ => return false,
        }
    }
}

/// Waits for an answer, or for the server's word that we may not ask.
async fn ask<T, E>(
    client: &Client,
    question: impl Future<Output = Result<T, E>>,
) -> Result<Answered<Result<T, E>>, CheckError> {
    let since = client.errors_so_far();
    tokio::select! {
        biased;
        answer = question => Ok(Answered::Yes(answer)),
        verdict = client.verdict_on_question(since) => match verdict {
            Verdict::Denied => Ok(Answered::MayNot),
            Verdict::Lost(why) => Err(CheckError::Unreachable(why)),
        },
    }
}

fn of_jetstream(answer: &jetstream::Error) -> CheckError {
    match answer.error_code() {
        ErrorCode::JETSTREAM_NOT_ENABLED
        | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT
        | ErrorCode::NO_ACCOUNT => CheckError::Missing(format!("JetStream: {answer}")),
        _ => CheckError::Mismatch(format!("JetStream: {answer}")),
    }
}

/// A question that nobody answered.
fn of_request(error: &(dyn std::error::Error + 'static)) -> CheckError {
    let mut source = Some(error);
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<jetstream::context::RequestError>()
            && error.kind() == jetstream::context::RequestErrorKind::NoResponders
        {
            return CheckError::Missing(
                "JetStream is not enabled on the server, or not for this account".to_owned(),
            );
        }
        if let Some(error) = error.downcast_ref::<async_nats::RequestError>()
            && error.kind() == RequestErrorKind::NoResponders
        {
            return CheckError::Missing(
                "JetStream is not enabled on the server, or not for this account".to_owned(),
            );
        }
        source = error.source();
    }
    CheckError::Unreachable(chain(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rights(json: serde_json::Value) -> Rights {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn rights_are_read_as_the_server_reads_them() {
        let limited =
            rights(serde_json::json!({"allow": ["orders.*", "audit.>"], "deny": ["orders.secret"]}));
        for (subject, may) in [
            ("orders.created", true),
            ("orders.secret", false),
            ("orders", false),
            ("orders.a.b", false),
            ("audit.a.b", true),
            ("audit", false),
            ("other", false),
        ] {
            assert_eq!(limited.let_publish_to(subject), may, "{subject}");
        }
        assert!(Rights::default().let_publish_to("anything"));
        assert!(!rights(serde_json::json!({"deny": [">"]})).let_publish_to("anything"));
    }
}
