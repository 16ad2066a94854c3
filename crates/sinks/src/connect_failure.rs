//! Why there is no connection to a target.

use crate::CheckError;

/// Why there is no connection, for people; no secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ConnectFailure {
    /// Nobody answers, or not as a server would.
    #[error("{0}")]
    Unreachable(String),
    /// It does not let us in.
    #[error("{0}")]
    Refused(String),
    /// What the settings name is not there: a virtual host, a database.
    #[error("{0}")]
    Missing(String),
}

impl From<ConnectFailure> for CheckError {
    fn from(failure: ConnectFailure) -> Self {
        match failure {
            ConnectFailure::Unreachable(why) => Self::Unreachable(why),
            ConnectFailure::Refused(why) => Self::Forbidden(why),
            ConnectFailure::Missing(why) => Self::Missing(why),
        }
    }
}
