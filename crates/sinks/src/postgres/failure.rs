//! What went wrong, and what it means for the events.
//!
//! | SQLSTATE | meaning |
//! |---|---|
//! | 22 data exception, 23 integrity constraint, 44 check option, P0 raised by a trigger, 21000, 54000, 54001, 42501 of row-level security | these events are refused: the batch is halved until the poison event is alone, and that one is rejected |
//! | 23502 for a column that we do not fill, 42 undefined or of the wrong type, 0A, 26, 3D, 3F | the schema is not what it was: retry, on a connection that looks at it anew |
//! | 28 login, 42501 | no right: retry |
//! | 25006 | a standby: retry, on a new connection |
//! | 40, 53, 55, 57, 58, XX and all others | the server cannot now: retry |
//! | no answer, no connection | retry; whether a statement that was under way came to be is not known |
//!
//! Of the server's words only the message is shown, and of that nothing in quotes behind a colon: that would be data.

use tokio_postgres::error::{DbError, Severity, SqlState};

use crate::egress::ConnectError;
use crate::error::chain;
use crate::{BatchFailure, CheckError};

/// How much of the server's message is kept.
const MESSAGE_CHARS: usize = 300;

/// Why something could not be done.
#[derive(Debug)]
pub(super) enum Failure {
    /// There is no connection.
    Connect(ConnectError),
    /// The connection broke, or there was no answer in time. What was under way may have come to be.
    Lost(String),
    /// The server says no.
    Server(ServerFailure),
    /// Something that must be there is not.
    Missing(String),
    /// What is there is not what it must be.
    Mismatch(String),
    /// The cursor's row has another owner.
    Fenced,
}

/// The server's no.
#[derive(Debug)]
pub(super) struct ServerFailure {
    code: SqlState,
    why: String,
    meaning: Meaning,
    /// The column that must not be null, and its table.
    column: Option<String>,
    table: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// Something in these very events.
    Refused,
    /// What was prepared does not fit any more.
    Schema,
    /// Not now.
    Unavailable,
    /// Not now, and not on this connection.
    ConnectionEnds,
}

impl Failure {
    pub(super) fn lost(why: impl Into<String>) -> Self {
        Self::Lost(why.into())
    }

    /// For people; no secrets.
    pub(super) fn why(&self) -> String {
        match self {
            Self::Connect(error) => error.to_string(),
            Self::Lost(why) | Self::Missing(why) | Self::Mismatch(why) => why.clone(),
            Self::Server(failure) => failure.why.clone(),
            Self::Fenced => "fenced: another instance has taken over".to_owned(),
        }
    }

    /// Whether what went wrong is in the events that were sent.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Self::Server(ServerFailure { meaning: Meaning::Refused, .. }))
    }

    /// Whether the connection is still as good as before.
    pub(super) fn leaves_connection(&self) -> bool {
        match self {
            Self::Server(failure) => matches!(failure.meaning, Meaning::Refused | Meaning::Unavailable),
            Self::Fenced => true,
            Self::Connect(_) | Self::Lost(_) | Self::Missing(_) | Self::Mismatch(_) => false,
        }
    }

    /// A null in a column that is not ours to fill is no event's fault.
    pub(super) fn judged_with(mut self, table: &str, is_filled: impl Fn(&str) -> bool) -> Self {
        if let Self::Server(failure) = &mut self
            && failure.code == SqlState::NOT_NULL_VIOLATION
            && failure.table.as_deref() == Some(table)
            && failure.column.as_deref().is_some_and(|column| !is_filled(column))
        {
            failure.meaning = Meaning::Schema;
        }
        self
    }

    /// What it means for the batch that was sent.
    pub(super) fn of_batch(&self) -> BatchFailure {
        let why = self.why();
        if self.is_refusal() {
            BatchFailure::Refused { why }
        } else {
            BatchFailure::Unavailable { after: None, why }
        }
    }

    /// What it means for a check.
    pub(super) fn of_check(&self) -> CheckError {
        let why = self.why();
        match self {
            Self::Connect(ConnectError::ForbiddenAddress { .. } | ConnectError::ForbiddenName { .. }) => {
                CheckError::Forbidden(why)
            }
            Self::Connect(_) | Self::Lost(_) => CheckError::Unreachable(why),
            Self::Missing(_) => CheckError::Missing(why),
            Self::Mismatch(_) | Self::Fenced => CheckError::Mismatch(why),
            Self::Server(failure) => match failure.code.code() {
                "42501" => CheckError::Forbidden(why),
                "3D000" | "3F000" | "42P01" | "42703" => CheckError::Missing(why),
                code => match &code[..code.len().min(2)] {
                    "28" => CheckError::Forbidden(why),
                    "08" | "53" | "57" | "58" => CheckError::Unreachable(why),
                    _ => CheckError::Mismatch(why),
                },
            },
        }
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(error) => Self::Server(ServerFailure::from(error)),
            None => Self::Lost(chain(&error)),
        }
    }
}

impl From<&DbError> for ServerFailure {
    fn from(error: &DbError) -> Self {
        let code = error.code().clone();
        let is_fatal = matches!(error.parsed_severity(), Some(Severity::Fatal | Severity::Panic));
        Self {
            why: format!("{} (SQLSTATE {})", without_data(error.message()), code.code()),
            meaning: if is_fatal { Meaning::ConnectionEnds } else { meaning(code.code(), error.routine()) },
            column: error.column().map(str::to_owned),
            table: error.table().map(str::to_owned),
            code,
        }
    }
}

fn meaning(code: &str, routine: Option<&str>) -> Meaning {
    match code {
        // Row-level security has the code of a missing right, but speaks of a row.
        "42501" if routine == Some("ExecWithCheckOptions") => Meaning::Refused,
        "42501" => Meaning::Unavailable,
        "21000" | "54000" | "54001" => Meaning::Refused,
        "25006" => Meaning::ConnectionEnds,
        _ => match &code[..code.len().min(2)] {
            "22" | "23" | "44" | "P0" => Meaning::Refused,
            "0A" | "26" | "3D" | "3F" | "42" => Meaning::Schema,
            "08" | "57" => Meaning::ConnectionEnds,
            _ => Meaning::Unavailable,
        },
    }
}

/// A message without the values that it quotes: `invalid input syntax for type uuid: "…"`.
fn without_data(message: &str) -> String {
    let message = message.split(": \"").next().unwrap_or_default();
    match message.char_indices().nth(MESSAGE_CHARS) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_in_the_events_refuses_them() {
        for code in ["22P02", "22001", "23505", "23502", "23514", "23503", "44000", "P0001", "21000", "54000"]
        {
            assert_eq!(meaning(code, None), Meaning::Refused, "{code}");
        }
        for code in ["42P01", "42703", "42804", "0A000", "26000", "3F000"] {
            assert_eq!(meaning(code, None), Meaning::Schema, "{code}");
        }
        for code in ["40001", "40P01", "53100", "53200", "55P03", "XX000", "42501", "58030", "", "9"] {
            assert_eq!(meaning(code, None), Meaning::Unavailable, "{code}");
        }
        for code in ["25006", "57P01", "57014", "08006"] {
            assert_eq!(meaning(code, None), Meaning::ConnectionEnds, "{code}");
        }
        assert_eq!(meaning("42501", Some("ExecWithCheckOptions")), Meaning::Refused);
    }

    #[test]
    fn a_message_shows_no_data() {
        assert_eq!(
            without_data(r#"invalid input syntax for type integer: "canary""#),
            "invalid input syntax for type integer"
        );
        assert_eq!(
            without_data(r#"duplicate key value violates unique constraint "events_pkey""#),
            r#"duplicate key value violates unique constraint "events_pkey""#
        );
        assert_eq!(without_data(&"é".repeat(400)).chars().count(), MESSAGE_CHARS + 1);
    }
}
