//! What is wrong, as the SDKs read it: `{"code", "detail"}`, and for fields that are wrong 422 with
//! `{"detail": [{"loc", "msg", "type"}]}`.

use axum::response::IntoResponse;
use eventrelay_delivery::{ChangeError, ControlError, SearchError};
use eventrelay_ingest::{FindError, PublishError};
use eventrelay_state::{StateError, SvixChangeError};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use serde_json::{Value, json};

use crate::http::body::Body;
use crate::http::problem::{Problem, ProblemCode};
use crate::http::routes::events::refusals;

/// Why an endpoint that is shown does nothing.
const NOT_RUNNING: &str = "It does not run: the server could not start it";

/// Why a request was not done.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Fields of the body, or a parameter, are not what they must be: where each is, and what it must be.
    Invalid {
        /// At least one.
        fields: Vec<(Vec<String>, String)>,
    },
    /// Anything else.
    Problem(Problem),
}

impl Refusal {
    /// A field of the body.
    pub(super) fn invalid(field: &str, why: impl Into<String>) -> Self {
        let path = std::iter::once("body").chain(field.split('.')).filter(|part| !part.is_empty());
        Self::invalid_at(path.map(str::to_owned).collect(), why)
    }

    /// A parameter of the query.
    pub(super) fn parameter(name: &str, why: impl Into<String>) -> Self {
        Self::invalid_at(vec!["query".to_owned(), name.to_owned()], why)
    }

    /// What is at this place.
    pub(super) fn invalid_at(location: Vec<String>, why: impl Into<String>) -> Self {
        Self::Invalid { fields: vec![(location, why.into())] }
    }

    pub(super) fn not_found() -> Self {
        Self::Problem(Problem::new(StatusCode::NOT_FOUND, "not_found", "Entity not found"))
    }

    pub(super) fn conflict(detail: &'static str) -> Self {
        Self::Problem(Problem::new(StatusCode::CONFLICT, "conflict", "Conflict").detail(detail))
    }

    /// What EventRelay cannot do. It is the client's to do without, so repeating is of no use.
    pub(super) fn unsupported(detail: &'static str) -> Self {
        let title = "EventRelay does not do this";
        Self::Problem(Problem::new(StatusCode::BAD_REQUEST, "not_supported", title).detail(detail))
    }

    pub(super) fn internal(detail: impl Into<String>) -> Self {
        Self::Problem(Problem::internal(detail.into()))
    }

    pub(super) fn into_answer(self) -> Response<Body> {
        match self {
            Self::Invalid { fields } => {
                let told = |(location, why): &(Vec<String>, String)| json!({"loc": location, "msg": why, "type": "value_error"});
                let detail: Vec<Value> = fields.iter().map(told).collect();
                let mut response = Response::new(Body::full(json!({ "detail": detail }).to_string()));
                *response.status_mut() = StatusCode::UNPROCESSABLE_ENTITY;
                response.extensions_mut().insert(ProblemCode("invalid_body"));
                in_json(response)
            }
            Self::Problem(problem) => {
                let body = json!({"code": code_of(&problem), "detail": problem.words()});
                // Its status and headers stay.
                in_json(problem.into_response().map(|_| Body::full(body.to_string())))
            }
        }
    }
}

/// Some have names of Svix's own.
fn code_of(problem: &Problem) -> Value {
    match problem.code() {
        "unauthenticated" => "authentication_failed".into(),
        "missing_scope" => "permission_denied".into(),
        code => code.into(),
    }
}

fn in_json(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

impl IntoResponse for Refusal {
    fn into_response(self) -> axum::response::Response {
        self.into_answer().map(axum::body::Body::new)
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<StateError> for Refusal {
    fn from(error: StateError) -> Self {
        let title = "The state cannot be read or written";
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "state_unavailable", title);
        Self::Problem(problem.detail(error.to_string()))
    }
}

impl From<SvixChangeError> for Refusal {
    fn from(error: SvixChangeError) -> Self {
        match error {
            SvixChangeError::Taken => Self::conflict("Another one has this uid or name"),
            SvixChangeError::NotFound => Self::not_found(),
            SvixChangeError::State(error) => error.into(),
        }
    }
}

impl From<ChangeError> for Refusal {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::NotFound { .. } => Self::not_found(),
            ChangeError::Exists { .. } => Self::conflict("Another one has this name"),
            ChangeError::RevisionChanged { .. } => Self::conflict("It has been changed meanwhile"),
            ChangeError::Declared { .. } => Self::conflict("It is declared in the server's configuration"),
            ChangeError::Invalid(error) => Self::invalid(field_of_subscription(error.field), error.why),
            ChangeError::Sink(error) => {
                let why = error.to_string();
                Self::invalid(field_of_sink(&why), why)
            }
            ChangeError::TooMany { limit } => Self::Problem(
                Problem::new(StatusCode::FORBIDDEN, "limit_reached", "There are as many as there may be")
                    .detail(format!("At most {limit}")),
            ),
            ChangeError::State(error) => error.into(),
            ChangeError::Start(error) => Self::internal(error.to_string()),
            ChangeError::Ending => ending(),
        }
    }
}

/// What a field of a subscription is called here.
fn field_of_subscription(field: &str) -> &str {
    match field {
        "max_events_per_second" => "throttleRate",
        field => field,
    }
}

/// Which field of an endpoint a sink complains about: it names its own.
fn field_of_sink(why: &str) -> &'static str {
    let fields = [("`secrets", "secret"), ("`headers", "headers"), ("`expiring_secrets", "secret")];
    fields.iter().find(|(own, _)| why.contains(own)).map_or("url", |(_, field)| *field)
}

fn ending() -> Refusal {
    let title = "The server is shutting down";
    Refusal::Problem(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "shutting_down", title))
}

impl From<ControlError> for Refusal {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::NotFound { .. } | ControlError::NoSuchReplay { .. } => Self::not_found(),
            ControlError::NotRunning { .. } => Self::conflict(NOT_RUNNING),
            ControlError::State(error) => error.into(),
            ControlError::TooManyReplays { .. } => {
                let title = "Too many tasks are under way";
                let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_replays", title);
                Self::Problem(problem.detail(error.to_string()))
            }
            ControlError::NotStarted { .. } => Self::internal(error.to_string()),
            ControlError::Start { .. } | ControlError::NotASample { .. } => {
                Self::invalid("", error.to_string())
            }
            ControlError::Ending => ending(),
        }
    }
}

impl From<PublishError> for Refusal {
    fn from(error: PublishError) -> Self {
        match &error {
            PublishError::IdempotencyKeyReused { .. } => {
                Self::conflict("There is another message with this eventId or idempotency-key")
            }
            PublishError::InvalidEvent { field, why, .. } => Self::invalid(field_of_event(field), *why),
            _ => Self::Problem(refusals::of_publishing(&error)),
        }
    }
}

/// What a field of an event is called here.
fn field_of_event(field: &str) -> &str {
    match field {
        "type" => "eventType",
        "id" | "idempotency_key" => "eventId",
        "data" => "payload",
        field => field,
    }
}

impl From<FindError> for Refusal {
    fn from(error: FindError) -> Self {
        Self::Problem(refusals::of_finding(&error))
    }
}

impl From<SearchError> for Refusal {
    fn from(error: SearchError) -> Self {
        match error {
            SearchError::NoSuchSubscription { .. } => Self::not_found(),
            SearchError::NotRunning { .. } => Self::conflict(NOT_RUNNING),
            SearchError::State(error) => error.into(),
            SearchError::Log(error) => Self::Problem(refusals::of_finding(&FindError::Read(error))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(refusal: Refusal) -> (u16, Value) {
        let response = refusal.into_answer();
        let body = serde_json::from_slice(response.body().bytes().unwrap()).unwrap();
        (response.status().as_u16(), body)
    }

    #[test]
    fn they_have_the_forms_that_sdks_read() {
        assert_eq!(
            shown(Refusal::not_found()),
            (404, json!({"code": "not_found", "detail": "Entity not found"}))
        );
        let wrong =
            json!({"loc": ["body", "metadata", "plan"], "msg": "must be text", "type": "value_error"});
        assert_eq!(
            shown(Refusal::invalid("metadata.plan", "must be text")),
            (422, json!({"detail": [wrong]}))
        );
        let reused = PublishError::IdempotencyKeyReused { index: 0 };
        assert_eq!(shown(reused.into()).0, 409);
    }
}
