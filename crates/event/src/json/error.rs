//! What is wrong with a JSON text, and where.

/// Where and why a text is not JSON that we take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{kind} at byte {position}")]
pub struct JsonError {
    /// The byte, counted from 0, at which it shows.
    pub position: usize,
    /// What it is.
    pub kind: JsonErrorKind,
}

/// What is wrong with a JSON text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonErrorKind {
    /// The text stops inside a value.
    #[error("the JSON ends too early")]
    UnexpectedEnd,
    /// Something stands where it must not.
    #[error("expected {0}")]
    Expected(&'static str),
    /// There is more after the value.
    #[error("unexpected text after the JSON value")]
    TrailingText,
    /// A control character in a string must be escaped.
    #[error("an unescaped control character in a string")]
    ControlCharacter,
    /// A backslash is followed by what JSON does not know.
    #[error("an unknown escape in a string")]
    UnknownEscape,
    /// The bytes are not UTF-8.
    #[error("invalid UTF-8")]
    InvalidUtf8,
    /// More levels than the limit.
    #[error("arrays and objects nested deeper than {limit} levels")]
    TooDeep {
        /// The most levels allowed.
        limit: usize,
    },
    /// An escape of half a surrogate pair.
    #[error("half a surrogate pair")]
    LoneSurrogate,
    /// The character U+0000, which some stores cannot hold.
    #[error("the character U+0000")]
    Nul,
    /// A number that some reader cannot hold.
    #[error("a number that is too long or out of range")]
    NumberOutOfRange,
    /// The same name twice in one object.
    #[error("a name that the object already has")]
    DuplicateName,
}

impl JsonErrorKind {
    /// A name that stays the same over releases.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::UnexpectedEnd
            | Self::Expected(_)
            | Self::TrailingText
            | Self::ControlCharacter
            | Self::UnknownEscape => "malformed_json",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::TooDeep { .. } => "json_too_deep",
            Self::LoneSurrogate => "lone_surrogate",
            Self::Nul => "nul_character",
            Self::NumberOutOfRange => "number_out_of_range",
            Self::DuplicateName => "duplicate_name",
        }
    }
}
