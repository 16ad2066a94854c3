//! Other data for an event: the value of an expression, as JSON.
//!
//! ```toml
//! transform = "{'order': data.id, 'total': data.items.map(it, it.price)}"
//! ```
//!
//! What is delivered is the event with this data and the content type `application/json`. Its id, type, source and all else stay,
//! but for its `dataschema`, which told about the data that it had.

use std::fmt;

use eventrelay_event::json::JsonError;
use eventrelay_event::{Data, DecodeError, EventLimits, StoredEvent};
use serde::{Deserialize, Serialize};

use crate::error::{CompileError, EvaluationError};
use crate::expression::Expression;
use crate::subject::Subject;
use crate::write_json::{WriteError, write_json};

/// What an event's data becomes. As JSON or TOML: the expression.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Transform {
    expression: Expression,
}

/// What came of a transform, and what it cost.
#[derive(Debug, Clone)]
pub struct Transformed {
    /// The event with its new data.
    pub event: Result<StoredEvent, TransformError>,
    /// The steps that the expression took.
    pub steps: u64,
}

/// Why an event was not transformed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransformError {
    /// The expression gives no value for it.
    Evaluation(EvaluationError),
    /// The event would be larger than events may be.
    TooLarge {
        /// The most bytes that it may have.
        limit: usize,
    },
    /// The value is, or holds, a number that JSON does not have.
    NotFinite,
    /// The value breaks a rule that JSON data keeps, such as that a name is in an object once.
    Json(JsonError),
    /// The event is not one that could be published.
    Event(DecodeError),
}

impl Transform {
    /// Compiles a transform.
    ///
    /// # Errors
    /// When the expression cannot be one.
    pub fn compile(source: &str) -> Result<Self, CompileError> {
        Ok(Self { expression: Expression::compile(source)? })
    }

    /// The event with its new data, which keeps the limits of events that are published.
    #[must_use]
    pub fn apply(&self, subject: &Subject<'_>, limits: &EventLimits) -> Transformed {
        let (value, steps) = self.expression.evaluate(subject);
        let json = match value {
            Err(fault) => Err(TransformError::Evaluation(self.expression.explain(fault))),
            Ok(value) => write_json(&value, limits.event_bytes).map_err(|error| match error {
                WriteError::TooLarge => TransformError::TooLarge { limit: limits.event_bytes },
                WriteError::NotFinite => TransformError::NotFinite,
            }),
        };
        Transformed { event: json.and_then(|json| with_data(subject.event(), json, limits)), steps }
    }
}

fn with_data(
    event: &StoredEvent,
    json: Vec<u8>,
    limits: &EventLimits,
) -> Result<StoredEvent, TransformError> {
    let data = Data::json(json.into(), &limits.json).map_err(TransformError::Json)?;
    let outgoing = event.with_json_data(data).map_err(TransformError::Event)?;
    if outgoing.encoded().len() > limits.event_bytes {
        return Err(TransformError::TooLarge { limit: limits.event_bytes });
    }
    Ok(outgoing)
}

impl fmt::Display for TransformError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Evaluation(error) => error.fmt(f),
            Self::TooLarge { limit } => write!(f, "the event would have more than {limit} bytes"),
            Self::NotFinite => {
                write!(f, "the result holds a number that is not finite, which JSON does not have")
            }
            Self::Event(error) => error.fmt(f),
            Self::Json(error) => write!(f, "the result is not JSON that every reader takes: {error}"),
        }
    }
}

impl std::error::Error for TransformError {}

impl TryFrom<String> for Transform {
    type Error = CompileError;

    fn try_from(source: String) -> Result<Self, CompileError> {
        Self::compile(&source)
    }
}

impl From<Transform> for String {
    fn from(transform: Transform) -> Self {
        transform.expression.source().to_owned()
    }
}
