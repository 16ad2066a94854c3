//! Publishes a batch: all of it, and then waits for all acknowledgements.

use std::future::IntoFuture as _;
use std::sync::Arc;

use async_nats::jetstream::context::{PublishAckFuture, PublishError};
use async_nats::jetstream::publish::PublishAck;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep_until};

use super::client::{Client, Verdict};
use super::message::Message;
use super::outcome;
use crate::Outcome;

/// What came of a batch.
pub(super) struct Published {
    /// In the batch's order.
    pub(super) outcomes: Vec<Outcome>,
    /// Whether the connection is of no more use: something was not answered.
    pub(super) unanswered: bool,
    /// The places of those that the stream had already.
    pub(super) duplicates: Vec<usize>,
}

/// A message on its way.
enum Pending {
    /// It never left.
    Settled(Outcome),
    Sent {
        subject: String,
        ack: BoxFuture<'static, Result<PublishAck, PublishError>>,
    },
}

/// Publishes messages in their order. Those that an event makes none of are refused; they hold up nothing.
pub(super) async fn publish(
    client: &Arc<Client>,
    messages: impl Iterator<Item = Result<Message, String>>,
    deadline: Instant,
) -> Published {
    let since = client.errors_so_far();
    let mut pending = Vec::new();
    for message in messages {
        pending.push(match message {
            Ok(message) => send(client, message, since, deadline).await,
            Err(why) => Pending::Settled(Outcome::Reject { why }),
        });
    }
    let mut published =
        Published { outcomes: Vec::with_capacity(pending.len()), unanswered: false, duplicates: Vec::new() };
    for (place, pending) in pending.into_iter().enumerate() {
        let outcome = match pending {
            Pending::Settled(outcome) => outcome,
            Pending::Sent { subject, ack } => {
                match acknowledged(client, &subject, ack, since, deadline).await {
                    Answer::Acknowledged(Ok(ack)) => {
                        if ack.duplicate {
                            published.duplicates.push(place);
                        }
                        Outcome::Delivered
                    }
                    Answer::Acknowledged(Err(error)) => outcome::of_error(&error, &subject),
                    Answer::Denied => outcome::denied(&subject),
                    Answer::None(why) => {
                        published.unanswered = true;
                        outcome::retry(why)
                    }
                }
            }
        };
        published.outcomes.push(outcome);
    }
    published
}

/// Hands a message to the connection. Waits while that has enough to send.
async fn send(client: &Client, message: Message, since: u64, deadline: Instant) -> Pending {
    let subject = message.subject.clone();
    let (subject_of_message, publish_message) = message.into_parts();
    let sending = client.jetstream.send_publish(subject_of_message, publish_message);
    tokio::select! {
        biased;
        sent = sending => match sent {
            Ok(ack) => Pending::Sent { subject, ack: PublishAckFuture::into_future(ack) },
            Err(error) => Pending::Settled(outcome::of_error(&error, &subject)),
        },
        verdict = client.verdict(&subject, since) => Pending::Settled(of_verdict(verdict, &subject)),
        () = sleep_until(deadline) => Pending::Settled(outcome::retry("it could not be sent in time".to_owned())),
    }
}

enum Answer {
    Acknowledged(Result<PublishAck, PublishError>),
    Denied,
    /// None will come.
    None(String),
}

async fn acknowledged(
    client: &Client,
    subject: &str,
    mut ack: BoxFuture<'static, Result<PublishAck, PublishError>>,
    since: u64,
    deadline: Instant,
) -> Answer {
    // Behind the first of a batch, most are there already.
    if let Some(result) = (&mut ack).now_or_never() {
        return Answer::Acknowledged(result);
    }
    tokio::select! {
        biased;
        result = &mut ack => Answer::Acknowledged(result),
        verdict = client.verdict(subject, since) => match verdict {
            Verdict::Denied => Answer::Denied,
            Verdict::Lost(why) => Answer::None(format!("no acknowledgement came: {why}")),
        },
        () = sleep_until(deadline) => Answer::None("no acknowledgement came in time".to_owned()),
    }
}

fn of_verdict(verdict: Verdict, subject: &str) -> Outcome {
    match verdict {
        Verdict::Denied => outcome::denied(subject),
        Verdict::Lost(why) => outcome::retry(why),
    }
}
