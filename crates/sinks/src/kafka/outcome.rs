//! What a delivery report means for the event.
//!
//! | report | outcome |
//! |---|---|
//! | confirmed by all replicas in sync | delivered |
//! | larger than `max_message_bytes` | reject |
//! | the broker takes no message so large, or finds it invalid, or against a policy | sent once more in a request of its own; reject if it is refused alone |
//! | another message of its request was invalid | sent once more in a request of its own |
//! | the topic's name is invalid | reject |
//! | there is no such topic | as `unknown_topic` says: retry or reject |
//! | no right to write to the topic, or to produce idempotently | retry: rights can be given |
//! | no confirmation in time: brokers down, no leader, too few replicas in sync, throttled | retry |
//! | the producer failed for good, or was closed, before a confirmation; brokers do not know it any more | retry by another producer; what was sent may be there already |
//! | anything else | retry; the retry schedule ends it |

use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::types::RDKafkaRespErr;

use super::call::Report;
use super::settings::UnknownTopic;
use crate::Outcome;

/// What a report means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Settled(Outcome),
    /// It may be a neighbour's fault: it is to be sent again in a request of its own.
    SendAlone,
}

impl Verdict {
    /// What is left to say when nothing more is sent.
    pub(super) fn into_outcome(self) -> Outcome {
        match self {
            Self::Settled(outcome) => outcome,
            Self::SendAlone => Outcome::Retry { after: None, why: "it was not sent alone".to_owned() },
        }
    }
}

/// What the reports are judged by.
#[derive(Debug)]
pub(super) struct Judge {
    pub(super) unknown_topic: UnknownTopic,
    pub(super) max_message_bytes: usize,
    pub(super) give_up_after: Duration,
}

impl Judge {
    /// Judges the report of a message to `topic`; none when there was none in time. `circumstances` says what is known of the
    /// brokers, where it is anything.
    pub(super) fn verdict(
        &self,
        report: Option<Report>,
        topic: &str,
        was_alone: bool,
        circumstances: impl FnOnce() -> Option<String>,
    ) -> Verdict {
        let code = match report {
            Some(Ok(())) => return Verdict::Settled(Outcome::Delivered),
            Some(Err(code)) => code,
            None => Code::MessageTimedOut,
        };
        match code {
            Code::MessageSizeTooLarge
            | Code::MessageBatchTooLarge
            | Code::InvalidMessageSize
            | Code::InvalidMessage
            | Code::InvalidRecord
            | Code::InvalidTimestamp
            | Code::PolicyViolation
            | Code::UnsupportedForMessageFormat
            | Code::InvalidDifferentRecord
                if !was_alone =>
            {
                Verdict::SendAlone
            }
            Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize => {
                reject("the broker takes no message so large".to_owned())
            }
            Code::InvalidMessage
            | Code::InvalidRecord
            | Code::InvalidTimestamp
            | Code::PolicyViolation
            | Code::UnsupportedForMessageFormat => reject(format!("the broker refuses the message: {code}")),
            Code::InvalidTopic => reject(format!("`{topic}` is no topic's name to the broker")),
            Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition => {
                let why = format!("there is no topic `{topic}`");
                match self.unknown_topic {
                    UnknownTopic::Retry => retry(why),
                    UnknownTopic::Reject => reject(why),
                }
            }
            Code::TopicAuthorizationFailed => retry(format!("no right to write to the topic `{topic}`")),
            Code::ClusterAuthorizationFailed => {
                retry("no right to produce idempotently (IDEMPOTENT_WRITE on the cluster)".to_owned())
            }
            Code::MessageTimedOut | Code::TimedOutQueue | Code::RequestTimedOut | Code::OperationTimedOut => {
                let why = format!("no broker confirmed it within {} ms", self.give_up_after.as_millis());
                retry(match circumstances() {
                    Some(circumstances) => format!("{why}: {circumstances}"),
                    None => why,
                })
            }
            Code::PurgeQueue
            | Code::PurgeInflight
            | Code::Fatal
            | Code::DestroyBroker
            | Code::BrokerDestroy => retry("the producer was closed before a broker confirmed it".to_owned()),
            code => retry(format!("Kafka: {code}")),
        }
    }

    /// The outcome of a message that librdkafka does not even queue for its size.
    pub(super) fn too_large(&self, bytes: usize) -> Outcome {
        let limit = self.max_message_bytes;
        Outcome::Reject { why: format!("the message has {bytes} bytes; `max_message_bytes` is {limit}") }
    }
}

/// What a broker's answer to a Produce request was, in words.
pub(super) fn refusal(answer: i16) -> String {
    match code(answer) {
        Some(known) => format!("the brokers answer: {known}"),
        None => format!("the brokers answer with error {answer}"),
    }
}

/// The error that a broker's answer names, if it is a known one.
pub(super) fn code(answer: i16) -> Option<Code> {
    RDKafkaRespErr::try_from(i32::from(answer)).ok().map(Code::from)
}

fn retry(why: String) -> Verdict {
    Verdict::Settled(Outcome::Retry { after: None, why })
}

fn reject(why: String) -> Verdict {
    Verdict::Settled(Outcome::Reject { why })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(report: Option<Report>, was_alone: bool) -> Verdict {
        let judge = Judge {
            unknown_topic: UnknownTopic::Retry,
            max_message_bytes: 1000,
            give_up_after: Duration::from_secs(9),
        };
        judge.verdict(report, "orders", was_alone, || Some("broker:9092 cannot be connected to".to_owned()))
    }

    fn why(verdict: Verdict) -> String {
        match verdict {
            Verdict::Settled(Outcome::Reject { why }) => format!("reject: {why}"),
            Verdict::Settled(Outcome::Retry { why, .. }) => format!("retry: {why}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_may_be_a_neighbours_fault_is_sent_alone_first() {
        for code in [
            Code::MessageSizeTooLarge,
            Code::MessageBatchTooLarge,
            Code::InvalidRecord,
            Code::InvalidTimestamp,
            Code::PolicyViolation,
        ] {
            assert_eq!(judge(Some(Err(code)), false), Verdict::SendAlone, "{code:?}");
            assert!(why(judge(Some(Err(code)), true)).starts_with("reject: the broker "), "{code:?}");
        }
        assert_eq!(judge(Some(Err(Code::InvalidDifferentRecord)), false), Verdict::SendAlone);
        assert!(why(judge(Some(Err(Code::InvalidDifferentRecord)), true)).starts_with("retry: "));
    }

    #[test]
    fn what_can_be_repaired_is_tried_again_and_says_what_is_known() {
        assert_eq!(judge(Some(Ok(())), false), Verdict::Settled(Outcome::Delivered));
        for (report, expected) in [
            (None, "retry: no broker confirmed it within 9000 ms: broker:9092 cannot be connected to"),
            (
                Some(Err(Code::MessageTimedOut)),
                "retry: no broker confirmed it within 9000 ms: broker:9092 cannot be connected to",
            ),
            (Some(Err(Code::TopicAuthorizationFailed)), "retry: no right to write to the topic `orders`"),
            (Some(Err(Code::UnknownTopic)), "retry: there is no topic `orders`"),
            (Some(Err(Code::PurgeInflight)), "retry: the producer was closed before a broker confirmed it"),
            (Some(Err(Code::InvalidTopic)), "reject: `orders` is no topic's name to the broker"),
        ] {
            assert_eq!(why(judge(report, false)), expected);
        }
        assert!(why(judge(Some(Err(Code::Unknown)), false)).starts_with("retry: Kafka: "));
    }

    #[test]
    fn topics_that_are_not_there_are_rejected_where_asked_for() {
        let judge = Judge {
            unknown_topic: UnknownTopic::Reject,
            max_message_bytes: 1000,
            give_up_after: Duration::from_secs(9),
        };
        for code in [Code::UnknownTopic, Code::UnknownTopicOrPartition, Code::UnknownPartition] {
            let verdict = judge.verdict(Some(Err(code)), "orders", false, || None);
            assert_eq!(why(verdict), "reject: there is no topic `orders`");
        }
    }

    #[test]
    fn refusals_are_told_in_words() {
        assert!(refusal(19).contains("in-sync"), "{}", refusal(19));
        assert_eq!(refusal(4242), "the brokers answer with error 4242");
    }
}
