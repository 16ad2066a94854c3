//! `POST /v1/filters/test`: what a filter, and a transform, would make of an event. Needs the scope `read`; changes nothing.
//!
//! ```json
//! {"filter": {"types": ["order.*"], "cel": "data.amount > 100"}, "transform": "{'total': data.amount}",
//!  "event": {"type": "order.created", "source": "/shop", "data": {"amount": 120}}}
//! {"matches": true, "transformed": {"total": 120}, "steps": {"filter": 4, "transform": 4}}
//! ```
//!
//! In place of `event` there may be the `event_id` of a stored one. An expression that is none, or gives no result, is no problem
//! but an answer: that is what is asked.

use std::time::SystemTime;

use bytes::Bytes;
use eventrelay_event::filter::Filter;
use eventrelay_event::{Event, EventLimits, StoredEvent, native};
use eventrelay_expression::{
    Because, CompileError, EvaluationError, EventFilter, Subject, Transform, TransformError, Verdict,
};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::events;
use super::events::schemas::NewEvent;
use crate::auth::Access;
use crate::http::body::Body;
use crate::http::problem::Problem;
use crate::http::service::Shared;
use crate::http::upload::Upload;

/// What a filter and a transform are to be tried on.
#[derive(Deserialize, ToSchema)]
#[schema(as = FilterTest)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Asked<'a> {
    /// All events where nothing is said.
    #[serde(default)]
    filter: AskedFilter,
    /// An expression.
    transform: Option<String>,
    /// An event as it is published; or `event_id`.
    #[serde(borrow)]
    #[schema(value_type = Option<NewEvent>)]
    event: Option<&'a RawValue>,
    /// The id of a stored event.
    event_id: Option<String>,
}

/// Which events match.
#[derive(Deserialize, Default, ToSchema)]
#[schema(as = TestedFilter)]
#[serde(default, deny_unknown_fields)]
pub(in crate::http) struct AskedFilter {
    /// Patterns of types; all where there is none.
    types: Vec<String>,
    /// Patterns of sources; all where there is none.
    sources: Vec<String>,
    /// Patterns of subjects; all where there is none.
    subjects: Vec<String>,
    /// An expression.
    cel: Option<String>,
}

/// What a filter and a transform make of an event.
#[derive(Serialize, Default, ToSchema)]
#[schema(as = FilterTestResult)]
pub(in crate::http) struct Answer {
    /// Whether the event is delivered; null where that cannot be told.
    #[schema(required = true)]
    matches: Option<bool>,
    /// Which part of the filter does not match: `types`, `sources`, `subjects`, `cel`, or `missing` where the event lacks what the
    /// expression asks for.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    because: Option<&'static str>,
    /// The data that would be delivered: any JSON.
    #[schema(value_type = serde_json::Value, required = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    transformed: Option<Box<RawValue>>,
    /// Why there is no result.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Fault>,
    /// How many steps the expressions took.
    steps: Steps,
}

/// What is wrong with an expression.
#[derive(Serialize, ToSchema)]
#[schema(as = FilterTestError)]
pub(in crate::http) struct Fault {
    /// `filter` or `transform`.
    part: &'static str,
    /// `invalid` (it cannot be saved), `missing`, `failed` or `over_budget`.
    reason: &'static str,
    /// For people.
    message: String,
    /// Where in the expression, from 1.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    /// Where in the line, from 1.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<usize>,
}

/// What expressions cost.
#[derive(Serialize, Default, ToSchema)]
#[schema(as = FilterTestSteps)]
pub(in crate::http) struct Steps {
    /// Of the filter.
    filter: u64,
    /// Of the transform.
    transform: u64,
}

/// Tells what a filter and a transform make of an event.
///
/// # Errors
/// 400 `invalid_filter_test` when it is not known what is asked, what publishing the event would be refused with, 404
/// `event_not_found`.
pub(crate) async fn test(
    shared: &Shared,
    access: &Access,
    upload: &mut Upload<'_>,
) -> Result<Response<Body>, Problem> {
    let received = upload.read().await?;
    let asked: Asked<'_> =
        serde_json::from_slice(&received.bytes).map_err(|error| invalid(error.to_string()))?;
    let limits = shared.publisher.limits().events;
    let event = match (asked.event, &asked.event_id) {
        (Some(event), None) => made(event.get(), access, &limits)?,
        (None, Some(id)) => events::stored(shared, access, id).await?,
        _ => return Err(invalid("give either `event` or `event_id`".to_owned())),
    };
    let patterns = Filter::new(asked.filter.types, asked.filter.sources);
    let patterns = patterns.and_then(|patterns| patterns.with_subjects(asked.filter.subjects));
    let patterns = patterns.map_err(|error| invalid(error.to_string()))?;
    let (cel, transform) = (asked.filter.cel, asked.transform);
    // Patterns of a hostile expression take milliseconds to compile.
    let tested = move || run(patterns, cel.as_deref(), transform.as_deref(), &event, &limits);
    let answer = tokio::task::spawn_blocking(tested).await;
    let answer = answer.map_err(|error| Problem::internal(error.to_string()))?;
    let body = serde_json::to_vec(&answer).map_err(|error| Problem::internal(error.to_string()))?;
    let mut response = Response::new(Body::full(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// The event as it would be stored now.
fn made(json: &str, access: &Access, limits: &EventLimits) -> Result<StoredEvent, Problem> {
    let event = one_event(json, access, limits)?;
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_micros();
    let mut record = Vec::new();
    StoredEvent::encode(&event, &mut record);
    StoredEvent::decode(0, u64::try_from(now).unwrap_or(0), record.into())
        .map_err(|error| Problem::internal(error.to_string()))
}

/// One event in our own form, within another body.
///
/// # Errors
/// What publishing it would be refused with.
pub(crate) fn one_event(json: &str, access: &Access, limits: &EventLimits) -> Result<Event, Problem> {
    let body = Bytes::copy_from_slice(json.as_bytes());
    let decoded = native::decode(&body, access.tenant(), limits);
    let mut decoded = decoded.map_err(|error| events::of_decoding(&error))?;
    let (Some(event), false) = (decoded.events.pop(), decoded.is_batch) else {
        return Err(invalid("`event` must be one event".to_owned()));
    };
    event.check(limits).map_err(|error| invalid(error.to_string()))?;
    Ok(event)
}

fn run(
    patterns: Filter,
    cel: Option<&str>,
    transform: Option<&str>,
    event: &StoredEvent,
    limits: &EventLimits,
) -> Answer {
    let mut answer = Answer::default();
    let filter = match EventFilter::new(patterns, cel) {
        Ok(filter) => filter,
        Err(error) => return Answer { error: Some(Fault::invalid("filter", &error)), ..answer },
    };
    let subject = Subject::alone(event);
    let decision = filter.decide(&subject);
    answer.steps.filter = decision.steps;
    match decision.verdict {
        Verdict::Match => answer.matches = Some(true),
        Verdict::NoMatch(because) => {
            answer.matches = Some(false);
            answer.because = Some(name(because));
        }
        Verdict::Failed(error) | Verdict::OverBudget(error) => {
            return Answer { error: Some(Fault::of_evaluation("filter", &error)), ..answer };
        }
    }
    let Some(transform) = transform else { return answer };
    match Transform::compile(transform) {
        Ok(transform) => transformed(&transform, &subject, limits, &mut answer),
        Err(error) => answer.error = Some(Fault::invalid("transform", &error)),
    }
    answer
}

fn transformed(transform: &Transform, subject: &Subject<'_>, limits: &EventLimits, answer: &mut Answer) {
    let transformed = transform.apply(subject, limits);
    answer.steps.transform = transformed.steps;
    match transformed.event {
        Ok(event) => {
            let data = event.data().and_then(|(_, bytes)| std::str::from_utf8(bytes).ok());
            answer.transformed = data.and_then(|data| RawValue::from_string(data.to_owned()).ok());
        }
        Err(TransformError::Evaluation(error)) => {
            answer.error = Some(Fault::of_evaluation("transform", &error));
        }
        Err(error) => {
            let message = error.to_string();
            answer.error =
                Some(Fault { part: "transform", reason: "failed", message, line: None, column: None });
        }
    }
}

impl Fault {
    fn invalid(part: &'static str, error: &CompileError) -> Self {
        let (line, column) = (Some(error.position.line), Some(error.position.column));
        Self { part, reason: "invalid", message: error.message.clone(), line, column }
    }

    fn of_evaluation(part: &'static str, error: &EvaluationError) -> Self {
        let (line, column) = (Some(error.position.line), Some(error.position.column));
        Self { part, reason: error.reason.name(), message: error.message.clone(), line, column }
    }
}

fn name(because: Because) -> &'static str {
    match because {
        Because::Types => "types",
        Because::Sources => "sources",
        Because::Subjects => "subjects",
        Because::ExpressionIsFalse => "cel",
        Because::Missing(_) => "missing",
    }
}

fn invalid(detail: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "invalid_filter_test", "This is no test of a filter").detail(detail)
}
