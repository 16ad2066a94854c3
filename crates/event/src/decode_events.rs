//! What every decoder of published events gives, and how it refuses.

use std::borrow::Cow;

use crate::Event;
use crate::json::JsonError;

/// The events of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodedEvents {
    /// At least one, in the request's order.
    pub events: Vec<Event>,
    /// Whether they came as a list, so that the answer is one too, even for a list of one.
    pub is_batch: bool,
}

impl DecodedEvents {
    pub(crate) fn one(event: Event) -> Self {
        Self { events: vec![event], is_batch: false }
    }
}

/// A request that cannot be read as events. None of them is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeEventsError {
    /// Which event of a list, counted from 0, where one is to blame.
    pub index: Option<usize>,
    /// What is wrong.
    pub kind: DecodeEventsErrorKind,
}

/// What is wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeEventsErrorKind {
    /// The request, or the data that it says is JSON, is not JSON that we take. The position counts from its start.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// JSON, but not of an event's shape.
    #[error("an event must be a JSON object")]
    NotAnObject,
    /// JSON, but not a batch.
    #[error("a batch must be a JSON array")]
    NotAnArray,
    /// A field that every event has.
    #[error("the field '{0}' is missing")]
    MissingField(&'static str),
    /// A field that is not what it must be.
    #[error("the field '{field}' {why}")]
    InvalidField {
        /// Its name, cut to 64 characters.
        field: Cow<'static, str>,
        /// What it must be.
        why: &'static str,
    },
    /// A field that no event has.
    #[error("there is no field '{0}'")]
    UnknownField(String),
    /// A list of no events.
    #[error("the batch has no events")]
    EmptyBatch,
    /// A list of more events than are published together.
    #[error("the batch has more than {limit} events")]
    BatchTooLarge {
        /// The most events of one batch.
        limit: usize,
    },
}

impl DecodeEventsError {
    /// A name for what is wrong that stays the same over releases.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match &self.kind {
            DecodeEventsErrorKind::Json(error) => error.kind.code(),
            DecodeEventsErrorKind::NotAnObject => "not_an_object",
            DecodeEventsErrorKind::NotAnArray => "not_an_array",
            DecodeEventsErrorKind::MissingField(_) => "missing_field",
            DecodeEventsErrorKind::InvalidField { .. } => "invalid_field",
            DecodeEventsErrorKind::UnknownField(_) => "unknown_field",
            DecodeEventsErrorKind::EmptyBatch => "empty_batch",
            DecodeEventsErrorKind::BatchTooLarge { .. } => "batch_too_large",
        }
    }

    /// The field to blame.
    #[must_use]
    pub fn field(&self) -> Option<&str> {
        match &self.kind {
            DecodeEventsErrorKind::MissingField(field) => Some(field),
            DecodeEventsErrorKind::InvalidField { field, .. } => Some(field),
            DecodeEventsErrorKind::UnknownField(field) => Some(field),
            DecodeEventsErrorKind::Json(_)
            | DecodeEventsErrorKind::NotAnObject
            | DecodeEventsErrorKind::NotAnArray
            | DecodeEventsErrorKind::EmptyBatch
            | DecodeEventsErrorKind::BatchTooLarge { .. } => None,
        }
    }

    /// The byte of the request's body, counted from 0, at which JSON is broken.
    #[must_use]
    pub fn position(&self) -> Option<usize> {
        match &self.kind {
            DecodeEventsErrorKind::Json(error) => Some(error.position),
            _ => None,
        }
    }

    pub(crate) fn of_batch(kind: DecodeEventsErrorKind) -> Self {
        Self { index: None, kind }
    }

    pub(crate) fn at(index: usize, kind: DecodeEventsErrorKind) -> Self {
        Self { index: Some(index), kind }
    }
}

impl DecodeEventsErrorKind {
    pub(crate) fn invalid(field: impl Into<Cow<'static, str>>, why: &'static str) -> Self {
        Self::InvalidField { field: field.into(), why }
    }

    /// For a name that a client chose.
    pub(crate) fn invalid_name(field: &str, why: &'static str) -> Self {
        Self::InvalidField { field: Cow::Owned(shortened(field)), why }
    }

    pub(crate) fn unknown(field: &str) -> Self {
        Self::UnknownField(shortened(field))
    }
}

fn shortened(field: &str) -> String {
    field.chars().take(64).collect()
}

impl From<DecodeEventsErrorKind> for DecodeEventsError {
    fn from(kind: DecodeEventsErrorKind) -> Self {
        Self::of_batch(kind)
    }
}

impl std::fmt::Display for DecodeEventsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.index {
            Some(index) => write!(f, "event {index}: {}", self.kind),
            None => self.kind.fmt(f),
        }
    }
}

impl std::error::Error for DecodeEventsError {}
