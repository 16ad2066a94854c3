//! What the engine and the state store refuse, as problems.

use std::time::Duration;

use eventrelay_delivery::{ChangeError, ControlError, SearchError, StartError};
use eventrelay_state::StateError;
use http::StatusCode;

use crate::http::problem::Problem;

/// There is no such subscription, or it is another tenant's.
pub(crate) fn no_such_subscription() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "subscription_not_found", "There is no such subscription")
}

/// There is one, but nothing of it runs that could do what was asked.
pub(crate) fn subscription_not_running() -> Problem {
    let title = "The subscription does not run";
    Problem::new(StatusCode::CONFLICT, "subscription_not_running", title)
}

/// The state store does not answer.
pub(crate) fn of_state(error: &StateError) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "state_unavailable", "The state cannot be read or written")
        .detail(error.to_string())
        .retry_after(Duration::from_secs(5))
}

/// Nobody gives away, or touches, what is beyond his own scopes.
pub(crate) fn beyond_own_scopes() -> Problem {
    let title = "It allows more than you may do yourself";
    Problem::new(StatusCode::FORBIDDEN, "beyond_own_scopes", title)
        .detail("A key's scopes, and a user's role, stay within the tenant and the scopes of who gives or changes them")
}

/// A change of a subscription.
pub(crate) fn of_change(error: &ChangeError) -> Problem {
    let conflict = |code, title| Problem::new(StatusCode::CONFLICT, code, title).detail(error.to_string());
    match error {
        ChangeError::NotFound { .. } => no_such_subscription(),
        ChangeError::Exists { .. } => conflict("subscription_exists", "There is a subscription of that name"),
        ChangeError::RevisionChanged { .. } => {
            let title = "It has been changed since";
            Problem::new(StatusCode::PRECONDITION_FAILED, "precondition_failed", title)
                .detail(error.to_string())
        }
        ChangeError::Declared { .. } => {
            conflict("declared_in_configuration", "The configuration file declares this subscription")
        }
        ChangeError::Invalid(invalid) => {
            invalid_subscription(format!("{} {}", invalid.field, invalid.why), Some(invalid.field.to_owned()))
        }
        ChangeError::Sink(sink) => invalid_subscription(sink.to_string(), Some("sink".to_owned())),
        ChangeError::Start(start) => of_start(start, "start"),
        ChangeError::TooMany { .. } => conflict("too_many_subscriptions", "There are too many subscriptions"),
        ChangeError::State(state) => of_state(state),
        ChangeError::Ending => ending(),
    }
}

/// What a subscription was asked to do.
pub(crate) fn of_control(error: &ControlError) -> Problem {
    match error {
        ControlError::NotFound { .. } => no_such_subscription(),
        ControlError::NotRunning { .. } => subscription_not_running(),
        ControlError::State(state) => of_state(state),
        ControlError::Start { field, error } => of_start(error, field),
        ControlError::TooManyReplays { .. } => {
            let title = "Too many replays are under way";
            Problem::new(StatusCode::CONFLICT, "too_many_replays", title).detail(error.to_string())
        }
        ControlError::NoSuchReplay { .. } => {
            let title = "No such replay is under way";
            Problem::new(StatusCode::CONFLICT, "replay_not_running", title).detail(error.to_string())
        }
        ControlError::NotASample { why } => {
            Problem::new(StatusCode::BAD_REQUEST, "invalid_event", "The event is not valid")
                .detail(why.clone())
        }
        ControlError::NotStarted { .. } => {
            let title = "The subscription cannot be started";
            Problem::new(StatusCode::CONFLICT, "subscription_not_started", title).detail(error.to_string())
        }
        ControlError::Ending => ending(),
    }
}

/// A search.
pub(crate) fn of_search(error: &SearchError) -> Problem {
    match error {
        SearchError::NoSuchSubscription { .. } => no_such_subscription(),
        SearchError::NotRunning { .. } => subscription_not_running(),
        SearchError::State(state) => of_state(state),
        SearchError::Log(error) => log_unreadable(error.to_string()),
    }
}

/// A declaration that cannot be one.
pub(crate) fn invalid_subscription(detail: String, field: Option<String>) -> Problem {
    let title = "The subscription is not valid";
    Problem::new(StatusCode::BAD_REQUEST, "invalid_subscription", title).detail(detail).field(field)
}

/// A task of the runtime was cut short, which only the end of the process does.
pub(crate) fn ending() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "shutting_down", "The server is shutting down")
        .retry_after(Duration::from_secs(5))
}

/// A place in the log.
pub(crate) fn of_start(error: &StartError, field: &str) -> Problem {
    let field = Some(field.to_owned());
    match error {
        StartError::BeyondEnd { .. } => {
            let title = "There is no such place in the log";
            Problem::new(StatusCode::BAD_REQUEST, "beyond_end", title).detail(error.to_string()).field(field)
        }
        StartError::Gone { oldest, .. } => {
            let title = "Retention has let that go";
            Problem::new(StatusCode::GONE, "offset_trimmed", title)
                .detail(error.to_string())
                .field(field)
                .oldest_offset(*oldest)
        }
        StartError::Read(error) => log_unreadable(error.to_string()),
        StartError::CutShort => ending(),
    }
}

fn log_unreadable(detail: String) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "log_unreadable", "The log cannot be read").detail(detail)
}
