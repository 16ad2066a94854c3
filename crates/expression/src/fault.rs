//! Why an evaluation gave no value.

use std::fmt;

/// What went wrong, and at which byte of the expression. Small and without allocation: a field that is missing is an everyday
/// matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) kind: FaultKind,
    pub(crate) at: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// A field or element that is not there.
    Missing,
    /// An operator or function that does not take such values.
    NoOverload {
        operation: &'static str,
        left: &'static str,
        right: Option<&'static str>,
    },
    DivisionByZero,
    Overflow,
    /// A value that the other type cannot hold, or a text that does not spell one.
    Conversion {
        from: &'static str,
        to: &'static str,
    },
    /// An index of a text that is not at a character of it.
    BadIndex,
    /// A map's key that can be none.
    UnsupportedKey {
        found: &'static str,
    },
    /// A map literal has a key twice.
    DuplicateKey,
    /// A condition, or a filter's result, that is no truth value.
    NotBoolean {
        found: &'static str,
    },
    OutOfSteps,
    OutOfMemory,
}

impl FaultKind {
    pub(crate) fn at(self, at: u32) -> Fault {
        Fault { kind: self, at }
    }

    /// Whether the bounds of [`crate::limits`] ended the evaluation. Nothing in an expression may hide this.
    pub(crate) fn is_over_budget(self) -> bool {
        matches!(self, Self::OutOfSteps | Self::OutOfMemory)
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => write!(f, "there is no such field or element"),
            Self::NoOverload { operation, left, right: Some(right) } => {
                write!(f, "`{operation}` does not take {left} and {right}")
            }
            Self::NoOverload { operation, left, right: None } => {
                write!(f, "`{operation}` does not take {left}")
            }
            Self::DivisionByZero => write!(f, "division by zero"),
            Self::Overflow => write!(f, "the result is out of range"),
            Self::Conversion { from, to } => write!(f, "this {from} cannot be made {to}"),
            Self::BadIndex => write!(f, "the index is outside of the text"),
            Self::UnsupportedKey { found } => write!(f, "a map's key cannot be {found}"),
            Self::DuplicateKey => write!(f, "the map has this key already"),
            Self::NotBoolean { found } => write!(f, "this must be true or false, and is {found}"),
            Self::OutOfSteps => {
                write!(f, "the evaluation takes more than {} steps", crate::limits::MAX_STEPS)
            }
            Self::OutOfMemory => {
                write!(
                    f,
                    "the evaluation takes more than {} bytes of memory",
                    crate::limits::MAX_MEMORY_BYTES
                )
            }
        }
    }
}
