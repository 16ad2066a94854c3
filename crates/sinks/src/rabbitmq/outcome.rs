//! What a broker's errors mean for the deliveries that met them. The table is in the module's own docs.

use lapin::ErrorKind;
use lapin::types::ReplyCode;

use crate::Outcome;
use crate::error::chain;

const CONTENT_TOO_LARGE: ReplyCode = 311;
const ACCESS_REFUSED: ReplyCode = 403;
const NOT_FOUND: ReplyCode = 404;
const RESOURCE_LOCKED: ReplyCode = 405;
const PRECONDITION_FAILED: ReplyCode = 406;
const FRAME_ERROR: ReplyCode = 501;
const SYNTAX_ERROR: ReplyCode = 502;

/// What an error that ended a channel or the connection is about. It says of no message that it was the one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The broker or the connection: nothing more can be published now.
    Unavailable(String),
    /// The exchange: all that goes to it fares the same.
    Exchange(Outcome),
    /// One of the messages that were not confirmed.
    Message(Outcome),
}

/// Judges an error.
pub(super) fn judge(error: &lapin::Error) -> Verdict {
    let ErrorKind::ProtocolError(answer) = error.kind() else {
        return Verdict::Unavailable(format!("the connection broke: {}", chain(error)));
    };
    let why = format!("the broker refused: {} ({})", answer.get_message(), answer.get_id());
    match answer.get_id() {
        // Rights to routing keys are told apart from those to the exchange by the words only.
        ACCESS_REFUSED if answer.get_message().as_str().contains("topic") => Verdict::Message(retry(why)),
        // What is missing can be made, what is locked unlocked, and rights can be given.
        ACCESS_REFUSED | NOT_FOUND | RESOURCE_LOCKED => Verdict::Exchange(retry(why)),
        CONTENT_TOO_LARGE | PRECONDITION_FAILED | FRAME_ERROR | SYNTAX_ERROR => {
            Verdict::Message(Outcome::Reject { why })
        }
        _ => Verdict::Unavailable(why),
    }
}

/// The message came back.
pub(super) fn returned(code: ReplyCode, words: &str, exchange: &str, routing_key: &str) -> Outcome {
    Outcome::Reject {
        why: format!(
            "no queue takes {routing_key:?} from the exchange {exchange:?}: the broker returned it ({code} {words})"
        ),
    }
}

/// The broker says that it did not keep the message.
pub(super) fn nacked() -> Outcome {
    retry("the broker could not keep the event: a queue is full or failed".to_owned())
}

pub(super) fn retry(why: String) -> Outcome {
    Outcome::Retry { after: None, why }
}

#[cfg(test)]
mod tests {
    use lapin::protocol::AMQPError;

    use super::*;

    fn judged(code: ReplyCode, words: &str) -> Verdict {
        let answer = AMQPError::from_id(code, words.into()).unwrap();
        judge(&ErrorKind::ProtocolError(answer).into())
    }

    #[test]
    fn each_error_is_about_what_it_says() {
        for (code, words) in [(404, "no exchange"), (403, "access to exchange"), (405, "locked")] {
            assert!(
                matches!(judged(code, words), Verdict::Exchange(Outcome::Retry { why, .. }) if why.contains(words))
            );
        }
        assert!(matches!(judged(403, "access to topic"), Verdict::Message(Outcome::Retry { .. })));
        for code in [311, 406, 501, 502] {
            assert!(matches!(judged(code, "too large"), Verdict::Message(Outcome::Reject { .. })), "{code}");
        }
        for code in [320, 504, 541] {
            assert!(
                matches!(judged(code, "shutdown"), Verdict::Unavailable(why) if why.contains("shutdown")),
                "{code}"
            );
        }
        let broken = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        assert!(matches!(judge(&broken.into()), Verdict::Unavailable(_)));
    }
}
