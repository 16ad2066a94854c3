//! An expression that was checked.

use std::fmt;
use std::sync::Arc;

use crate::error::{CompileError, EvaluationError};
use crate::evaluate::evaluate;
use crate::fault::Fault;
use crate::subject::Subject;
use crate::syntax::node::Node;
use crate::syntax::parse;
use crate::value::Value;

/// An expression's text and what it was compiled to. Cheap to clone; equal to others of the same text.
#[derive(Clone)]
pub struct Expression {
    compiled: Arc<Compiled>,
}

struct Compiled {
    source: Box<str>,
    root: Node,
}

impl Expression {
    /// Compiles an expression.
    ///
    /// # Errors
    /// The first thing that is wrong with it, and where.
    pub fn compile(source: &str) -> Result<Self, CompileError> {
        let root = parse(source)?;
        Ok(Self { compiled: Arc::new(Compiled { source: source.into(), root }) })
    }

    /// The text that it was compiled of.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.compiled.source
    }

    /// Its value for an event, and the steps that it took.
    pub(crate) fn evaluate<'a>(&'a self, subject: &'a Subject<'a>) -> (Result<Value<'a>, Fault>, u64) {
        evaluate(&self.compiled.root, subject)
    }

    pub(crate) fn explain(&self, fault: Fault) -> EvaluationError {
        EvaluationError::new(self.source(), fault)
    }

    /// Refuses the expression for what a fault says of it.
    pub(crate) fn refuse(&self, fault: Fault) -> CompileError {
        CompileError::new(self.source(), fault.at, fault.kind.to_string())
    }

    /// The byte that its value is blamed at.
    pub(crate) fn root_place(&self) -> u32 {
        self.compiled.root.at
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.source() == other.source()
    }
}

impl Eq for Expression {}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.source()).finish()
    }
}
