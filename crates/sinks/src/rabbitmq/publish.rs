//! Publishes a batch and waits for the broker's word on each of its messages.
//!
//! An error ends a channel, and says of no message that it was the one. So what was not confirmed before the error is
//! published again, in halves, each on a channel of its own, until the message that ends its channel is alone: one poison
//! message among n costs about 2 log₂ n channels, and its neighbours are delivered. An error about an exchange is about all
//! that goes there, so a batch is split by exchange first, and such an error settles its part at once.
//!
//! A message that is routed to no queue comes back, and is confirmed all the same. Which confirm lapin hands it out with is
//! left to chance where the broker confirms several at once; it is found by its message id.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use lapin::options::BasicPublishOptions;
use lapin::{Channel, Confirmation, PublisherConfirm};
use tokio::time::{Instant, timeout_at};

use super::connection::{Connection, Dialler};
use super::message::Message;
use super::outcome::{self, Verdict};
use crate::Outcome;
use crate::connect_failure::ConnectFailure;
use crate::shared_connection::SharedConnection;

/// Publishes the parts of one batch.
pub(super) struct Publisher<'a> {
    pub(super) shared: &'a SharedConnection<Connection, ConnectFailure>,
    pub(super) dialler: &'a Dialler,
    pub(super) messages: &'a [Option<Message>],
    /// What is known of each message.
    pub(super) outcomes: &'a mut [Option<Outcome>],
    pub(super) mandatory: bool,
    pub(super) deadline: Instant,
}

/// How a part fared on its channel.
enum Ended {
    AllSettled,
    /// By an error; these were not confirmed.
    Failed {
        error: lapin::Error,
        unconfirmed: Vec<usize>,
    },
    /// The deadline came first.
    TimedOut,
}

impl Publisher<'_> {
    /// Publishes what goes to one exchange. An error is why the rest of the batch is not published now.
    pub(super) async fn publish(&mut self, part: Vec<usize>) -> Result<(), String> {
        let mut waiting = vec![part];
        while let Some(part) = waiting.pop() {
            // A new one, where the last part has cost it.
            let connection = self.dialler.connection_until(self.shared, self.deadline).await?;
            if let Some(why) = connection.blocked() {
                return Err(why);
            }
            let suspect = self.shared.suspect(&connection);
            let ended = self.publish_over(&connection, part).await;
            let Ended::Failed { error, unconfirmed } = ended else {
                // A blocked connection is worth keeping: a new one would be blocked too, once it publishes.
                let blocked = connection.blocked();
                if matches!(ended, Ended::AllSettled) {
                    suspect.acquit();
                    continue;
                }
                if blocked.is_some() {
                    suspect.acquit();
                }
                return Err(blocked.unwrap_or_else(|| "the broker did not confirm in time".to_owned()));
            };
            if connection.is_usable() {
                suspect.acquit();
            }
            match outcome::judge(&error) {
                Verdict::Unavailable(why) => return Err(why),
                Verdict::Exchange(outcome) => {
                    let rest = unconfirmed.iter().chain(waiting.iter().flatten());
                    rest.for_each(|place| self.outcomes[*place] = Some(outcome.clone()));
                    return Ok(());
                }
                Verdict::Message(outcome) => match unconfirmed.as_slice() {
                    [] => {}
                    [place] => self.outcomes[*place] = Some(outcome),
                    several => {
                        let (first, second) = several.split_at(several.len() / 2);
                        waiting.push(second.to_vec());
                        waiting.push(first.to_vec());
                    }
                },
            }
        }
        Ok(())
    }

    async fn publish_over(&mut self, connection: &Connection, part: Vec<usize>) -> Ended {
        let channel = match timeout_at(self.deadline, connection.channel()).await {
            Ok(Ok(channel)) => channel,
            Ok(Err(error)) => return Ended::Failed { error, unconfirmed: part },
            Err(_elapsed) => return Ended::TimedOut,
        };
        let mut answers = Vec::with_capacity(part.len());
        for place in &part {
            if let Some(message) = &self.messages[*place] {
                answers.push((*place, Answer::to(&channel, message, self.mandatory).await));
            }
        }
        let timed_out = timeout_at(self.deadline, wait_for_all(&mut answers)).await.is_err();
        let ended = self.settle(answers, timed_out);
        if matches!(ended, Ended::AllSettled) {
            connection.give_back(channel);
        }
        ended
    }

    /// Notes what the broker said of each message.
    fn settle(&mut self, answers: Vec<(usize, Answer<'_>)>, timed_out: bool) -> Ended {
        let mut returned: HashMap<String, Outcome> = HashMap::new();
        let (mut confirmed, mut unconfirmed, mut first_error) = (Vec::new(), Vec::new(), None);
        for (place, mut answer) in answers {
            match answer.take() {
                Some(Ok(confirmation)) => {
                    let kept = !confirmation.is_nack();
                    if let Some(message) = confirmation.take_message() {
                        let outcome = outcome::returned(
                            message.reply_code,
                            message.reply_text.as_str(),
                            message.exchange.as_str(),
                            message.routing_key.as_str(),
                        );
                        let id = message.properties.message_id().as_ref().map(ToString::to_string);
                        returned.insert(id.unwrap_or_default(), outcome);
                    }
                    confirmed.push((place, kept));
                }
                Some(Err(error)) => {
                    unconfirmed.push(place);
                    first_error = Some(first_error.unwrap_or(error));
                }
                None => unconfirmed.push(place),
            }
        }
        for (place, kept) in confirmed {
            let id =
                self.messages[place].as_ref().and_then(|message| message.properties.message_id().as_ref());
            let came_back = id.and_then(|id| returned.remove(id.as_str()));
            let settled = if kept { Outcome::Delivered } else { outcome::nacked() };
            self.outcomes[place] = Some(came_back.unwrap_or(settled));
        }
        match first_error {
            _ if unconfirmed.is_empty() => Ended::AllSettled,
            Some(error) => Ended::Failed { error, unconfirmed },
            None if timed_out => Ended::TimedOut,
            None => Ended::Failed {
                error: std::io::Error::from(std::io::ErrorKind::ConnectionAborted).into(),
                unconfirmed,
            },
        }
    }
}

/// A message on its way to being confirmed.
enum Answer<'a> {
    /// It is not wholly written yet.
    Publishing(BoxFuture<'a, lapin::Result<PublisherConfirm>>),
    Confirming(PublisherConfirm),
    Here(Box<lapin::Result<Confirmation>>),
    Taken,
}

impl<'a> Answer<'a> {
    /// Queues a message. Those that are queued one after another are written in that order.
    async fn to(channel: &'a Channel, message: &'a Message, mandatory: bool) -> Self {
        let options = BasicPublishOptions { mandatory, immediate: false };
        let mut publishing = Box::pin(channel.basic_publish(
            message.exchange.clone(),
            message.routing_key.clone(),
            options,
            &message.body,
            message.properties.clone(),
        ));
        // It is queued at the first poll; that it is written, another is waited for.
        let first = poll_fn(|cx| Poll::Ready(publishing.as_mut().poll(cx))).await;
        match first {
            Poll::Pending => Self::Publishing(publishing),
            Poll::Ready(Ok(confirm)) => Self::Confirming(confirm),
            Poll::Ready(Err(error)) => Self::Here(Box::new(Err(error))),
        }
    }

    /// Waits until it is here. Safe to drop.
    async fn wait(&mut self) {
        loop {
            *self = match self {
                Self::Publishing(publishing) => match publishing.await {
                    Ok(confirm) => Self::Confirming(confirm),
                    Err(error) => Self::Here(Box::new(Err(error))),
                },
                Self::Confirming(confirm) => Self::Here(Box::new(Pin::new(confirm).await)),
                Self::Here(_) | Self::Taken => return,
            }
        }
    }

    /// What is here, if anything is.
    fn take(&mut self) -> Option<lapin::Result<Confirmation>> {
        // One that nobody waited for, since the time was up, may yet be here.
        self.wait().now_or_never();
        match std::mem::replace(self, Self::Taken) {
            Self::Here(result) => Some(*result),
            _ => None,
        }
    }
}

async fn wait_for_all(answers: &mut [(usize, Answer<'_>)]) {
    for (_, answer) in answers {
        answer.wait().await;
    }
}
