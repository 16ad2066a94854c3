//! What people are told: why an expression is refused, and why one failed on an event.

use std::fmt;

use crate::fault::{Fault, FaultKind};
use crate::position::{Position, excerpt};

/// A text that is no expression we take. Shown with the line that it is in, and a caret below the place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompileError {
    /// Where.
    pub position: Position,
    /// What is wrong.
    pub message: String,
    excerpt: String,
}

impl CompileError {
    pub(crate) fn new(source: &str, at: u32, message: String) -> Self {
        Self { position: Position::of(source, at), message, excerpt: excerpt(source, at) }
    }
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}\n{}", self.position, self.message, self.excerpt)
    }
}

impl std::error::Error for CompileError {}

/// Why an expression gave no result for an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvaluationError {
    /// Which kind of thing went wrong.
    pub reason: Reason,
    /// Where in the expression.
    pub position: Position,
    /// What went wrong.
    pub message: String,
}

/// The kinds of things that can go wrong in an evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// A field or element that the event does not have.
    Missing,
    /// Anything else: values of the wrong type, division by zero, a text that spells no number.
    Failed,
    /// The evaluation would have cost more than [`crate::limits`] allow.
    OverBudget,
}

impl Reason {
    /// The stable name: `missing`, `failed` or `over_budget`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Failed => "failed",
            Self::OverBudget => "over_budget",
        }
    }
}

impl EvaluationError {
    pub(crate) fn new(source: &str, fault: Fault) -> Self {
        Self {
            reason: match fault.kind {
                FaultKind::Missing => Reason::Missing,
                kind if kind.is_over_budget() => Reason::OverBudget,
                _ => Reason::Failed,
            },
            position: Position::of(source, fault.at),
            message: fault.kind.to_string(),
        }
    }
}

impl fmt::Display for EvaluationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.position, self.message)
    }
}

impl std::error::Error for EvaluationError {}
