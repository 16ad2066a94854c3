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
use eventrelay_event::{EventLimits, StoredEvent, native};
use eventrelay_expression::{
    Because, CompileError, EvaluationError, EventFilter, Subject, Transform, TransformError, Verdict,
};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::events;
use crate::auth::Access;
use crate::http::body::Body;
use crate::http::problem::Problem;
use crate::http::service::Shared;
use crate::http::upload::Upload;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked<'a> {
    #[serde(default)]
    filter: AskedFilter,
    transform: Option<String>,
    #[serde(borrow)]
    event: Option<&'a RawValue>,
    event_id: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct AskedFilter {
    types: Vec<String>,
    sources: Vec<String>,
    subjects: Vec<String>,
    cel: Option<String>,
}

#[derive(Serialize, Default)]
struct Answer {
    /// None where it cannot be told.
    matches: Option<bool>,
    /// Which part of the filter does not match.
    #[serde(skip_serializing_if = "Option::is_none")]
    because: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transformed: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Fault>,
    steps: Steps,
}

#[derive(Serialize)]
struct Fault {
    /// `filter` or `transform`.
    part: &'static str,
    /// `invalid` (it cannot be saved), `missing`, `failed` or `over_budget`.
    reason: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<usize>,
}

#[derive(Serialize, Default)]
struct Steps {
    filter: u64,
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
    let body = Bytes::copy_from_slice(json.as_bytes());
    let decoded = native::decode(&body, access.tenant(), limits);
    let mut decoded = decoded.map_err(|error| events::of_decoding(&error))?;
    let (Some(event), false) = (decoded.events.pop(), decoded.is_batch) else {
        return Err(invalid("`event` must be one event".to_owned()));
    };
    event.check(limits).map_err(|error| invalid(error.to_string()))?;
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_micros();
    let mut record = Vec::new();
    StoredEvent::encode(&event, &mut record);
    StoredEvent::decode(0, u64::try_from(now).unwrap_or(0), record.into())
        .map_err(|error| Problem::internal(error.to_string()))
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
