//! An event's id as Svix writes ids of messages: `msg_` and a KSUID of the event's time and id, so that either tells the other
//! and nothing has to be stored.

use std::fmt;
use std::str::FromStr;

use crate::EventId;
use crate::ksuid::Ksuid;

const PREFIX: &str = "msg_";

/// An event's id, written `msg_…`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MessageId(pub EventId);

/// A text that is not the id of a message.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not the id of a message: expected `msg_` and 27 characters")]
pub struct MessageIdError;

impl MessageId {
    fn ksuid(self) -> Ksuid {
        Ksuid::new(self.0.append_time_micros(), u128::from_be_bytes(self.0.to_bytes()))
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.ksuid())
    }
}

impl FromStr for MessageId {
    type Err = MessageIdError;

    /// Accepts exactly what `Display` prints.
    fn from_str(text: &str) -> Result<Self, MessageIdError> {
        let ksuid: Ksuid =
            text.strip_prefix(PREFIX).and_then(|ksuid| ksuid.parse().ok()).ok_or(MessageIdError)?;
        let id = EventId::from_bytes(ksuid.payload().to_be_bytes()).map_err(|_| MessageIdError)?;
        let message = Self(id);
        if message.ksuid() == ksuid { Ok(message) } else { Err(MessageIdError) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_back_as_the_event_and_sorts_by_time() {
        let first = MessageId(EventId::new(1_790_000_000_123_456, 7));
        let second = MessageId(EventId::new(1_790_000_001_000_000, 8));
        assert_eq!(first.to_string().parse(), Ok(first));
        assert_eq!(first.to_string().len(), 31);
        assert!(first.to_string() < second.to_string());
    }

    #[test]
    fn another_time_or_payload_is_none() {
        let micros = 1_790_000_000_123_456;
        let id = EventId::new(micros, 7);
        let payload = u128::from_be_bytes(id.to_bytes());
        for ksuid in [Ksuid::new(micros + 2_000_000, payload), Ksuid::new(micros, 1)] {
            assert_eq!(format!("{PREFIX}{ksuid}").parse::<MessageId>(), Err(MessageIdError));
        }
        assert!(id.to_string().parse::<MessageId>().is_err());
    }
}
