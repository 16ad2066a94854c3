//! Why a request has no answer.

use std::time::Duration;

use super::ExchangeError;
use crate::egress::{ConnectError, Endpoint};

/// Why a request has no answer.
#[derive(Debug)]
pub(crate) enum SendError {
    Connect(ConnectError),
    Exchange(ExchangeError),
}

impl SendError {
    /// What went wrong, for people; of the URL it shows host and port. `timeout` is what the whole request was given.
    pub(crate) fn describe(&self, endpoint: &Endpoint, timeout: Duration) -> String {
        match self {
            Self::Connect(error) => error.to_string(),
            Self::Exchange(ExchangeError::TimedOut) => {
                format!("{endpoint} did not answer within {} ms", timeout.as_millis())
            }
            Self::Exchange(ExchangeError::Failed(error)) if error.is_incomplete_message() => {
                format!("{endpoint} closed the connection before it answered")
            }
            Self::Exchange(ExchangeError::Failed(error)) => {
                format!("{endpoint} gave no valid answer: {}", crate::error::chain(error))
            }
        }
    }

    /// Whether the URL itself holds an address that may not be connected to: no later try can succeed.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::Connect(ConnectError::ForbiddenAddress { .. }))
    }
}
