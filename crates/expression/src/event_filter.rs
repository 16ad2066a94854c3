//! Which events a subscription wants: patterns, and an expression that must be true.
//!
//! ```toml
//! filter = { types = ["order.*"], cel = "data.amount > 100" }
//! ```
//!
//! The patterns are looked at first, so that an expression costs nothing for events of other types.

use eventrelay_event::filter::Filter;
use eventrelay_event::{Event, StoredEvent, Tenant};
use serde::{Deserialize, Serialize};

use crate::error::{CompileError, EvaluationError};
use crate::expression::Expression;
use crate::fault::FaultKind;
use crate::subject::Subject;
use crate::value::Value;

/// How the types begin of what the relay tells of itself.
pub const OPERATIONAL_TYPES: &str = "eventrelay.";

/// Which events a subscription wants. As JSON or TOML: `{"types": ["order.*"], "cel": "data.amount > 100"}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct EventFilter {
    patterns: Filter,
    expression: Option<Expression>,
}

/// Why a filter is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// The patterns.
    #[error(transparent)]
    Patterns(#[from] eventrelay_event::filter::FilterError),
    /// The expression.
    #[error("cel: {0}")]
    Expression(#[from] CompileError),
}

/// What a filter says of an event, and what that cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What it says.
    pub verdict: Verdict,
    /// The steps that the expression took; 0 where there is none, or the patterns have decided.
    pub steps: u64,
}

/// What a filter says of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is wanted.
    Match,
    /// It is not wanted.
    NoMatch(Because),
    /// It cannot be told: the expression makes no sense for it.
    Failed(EvaluationError),
    /// It cannot be told: the expression costs more than it may.
    OverBudget(EvaluationError),
}

/// Why an event is not wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Because {
    /// None of the patterns for types matches.
    Types,
    /// None of the patterns for sources matches.
    Sources,
    /// None of the patterns for subjects matches, or it has no subject.
    Subjects,
    /// The expression is false.
    ExpressionIsFalse,
    /// The expression asks for what the event does not have, at this byte of the expression.
    Missing(u32),
}

impl Because {
    /// Whether the event does not have what the expression asks for.
    #[must_use]
    pub fn is_missing(self) -> bool {
        matches!(self, Self::Missing(_))
    }
}

impl EventFilter {
    /// A filter of patterns, and an expression beside them.
    ///
    /// The expression is tried on an event without data. Much cannot be known of its value for others, but one that always costs
    /// too much or gives no truth value is found out.
    ///
    /// # Errors
    /// When the expression cannot be one, or is no filter.
    pub fn new(patterns: Filter, cel: Option<&str>) -> Result<Self, CompileError> {
        let expression = cel.map(Expression::compile).transpose()?;
        let filter = Self { patterns, expression };
        filter.try_out()?;
        Ok(filter)
    }

    /// The expression's text.
    #[must_use]
    pub fn expression(&self) -> Option<&Expression> {
        self.expression.as_ref()
    }

    /// Whether the subscription wants the event.
    #[must_use]
    pub fn decide(&self, subject: &Subject<'_>) -> Decision {
        if let Some(field) = self.mismatch(subject.event()) {
            let because = match field {
                "types" => Because::Types,
                "sources" => Because::Sources,
                _ => Because::Subjects,
            };
            return Decision { verdict: Verdict::NoMatch(because), steps: 0 };
        }
        match &self.expression {
            None => Decision { verdict: Verdict::Match, steps: 0 },
            Some(expression) => decide(expression, subject),
        }
    }

    /// Whether the patterns alone say that the subscription does not want the event; the expression is not looked at.
    #[must_use]
    pub fn excludes(&self, event: &StoredEvent) -> bool {
        self.mismatch(event).is_some()
    }

    /// Whether a pattern for types names [`OPERATIONAL_TYPES`].
    #[must_use]
    pub fn wants_operational_events(&self) -> bool {
        self.patterns.names_types(OPERATIONAL_TYPES)
    }

    /// The first kind of patterns that says no. What the relay tells of itself is for who asks for it by name: whoever wants all
    /// events of a tenant means those of its applications.
    fn mismatch(&self, event: &StoredEvent) -> Option<&'static str> {
        if event.event_type().starts_with(OPERATIONAL_TYPES) && !self.wants_operational_events() {
            return Some("types");
        }
        self.patterns.mismatch(event)
    }

    fn try_out(&self) -> Result<(), CompileError> {
        let Some(expression) = &self.expression else { return Ok(()) };
        let Some(event) = sample() else { return Ok(()) };
        let subject = Subject::alone(&event);
        let (value, _) = expression.evaluate(&subject);
        match value {
            Ok(Value::Bool(_)) => Ok(()),
            Ok(other) => {
                let kind = FaultKind::NotBoolean { found: other.type_name() };
                Err(expression.refuse(kind.at(expression.root_place())))
            }
            Err(fault) if fault.kind.is_over_budget() => Err(expression.refuse(fault)),
            Err(_of_this_event) => Ok(()),
        }
    }
}

fn decide(expression: &Expression, subject: &Subject<'_>) -> Decision {
    let (value, steps) = expression.evaluate(subject);
    let fault = match value {
        Ok(Value::Bool(true)) => return Decision { verdict: Verdict::Match, steps },
        Ok(Value::Bool(false)) => {
            return Decision { verdict: Verdict::NoMatch(Because::ExpressionIsFalse), steps };
        }
        Ok(other) => FaultKind::NotBoolean { found: other.type_name() }.at(expression.root_place()),
        Err(fault) => fault,
    };
    let verdict = match fault.kind {
        FaultKind::Missing => Verdict::NoMatch(Because::Missing(fault.at)),
        kind if kind.is_over_budget() => Verdict::OverBudget(expression.explain(fault)),
        _ => Verdict::Failed(expression.explain(fault)),
    };
    Decision { verdict, steps }
}

/// An event to try expressions on.
fn sample() -> Option<StoredEvent> {
    let event = Event {
        id: Some("sample".to_owned()),
        subject: Some("sample".to_owned()),
        key: Some("sample".to_owned()),
        ..Event::new(Tenant::default(), "sample".to_owned(), "/sample".to_owned())
    };
    let mut record = Vec::new();
    StoredEvent::encode(&event, &mut record);
    StoredEvent::decode(0, 0, record.into()).ok()
}

impl From<Filter> for EventFilter {
    fn from(patterns: Filter) -> Self {
        Self { patterns, expression: None }
    }
}

/// The form that a filter has in JSON and TOML.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    types: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    sources: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    subjects: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cel: Option<String>,
}

impl TryFrom<Written> for EventFilter {
    type Error = FilterError;

    fn try_from(written: Written) -> Result<Self, FilterError> {
        let patterns = Filter::new(written.types, written.sources)?.with_subjects(written.subjects)?;
        Ok(Self::new(patterns, written.cel.as_deref())?)
    }
}

impl From<EventFilter> for Written {
    fn from(filter: EventFilter) -> Self {
        let (types, sources, subjects) = filter.patterns.into_patterns();
        let cel = filter.expression.map(|expression| expression.source().to_owned());
        Self { types, sources, subjects, cel }
    }
}
