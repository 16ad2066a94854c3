//! Why a sink cannot be made.

use std::path::PathBuf;

/// Settings that do not make a sink. No variant ever carries a secret.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// There is no such kind.
    #[error("unknown sink kind `{kind}`; the known kinds are {}", known.join(", "))]
    UnknownKind {
        /// What was asked for.
        kind: String,
        /// What there is.
        known: &'static [&'static str],
    },
    /// A field is missing, unknown, of the wrong type or out of its limits.
    #[error("{kind} sink, `{field}`: {why}")]
    Setting {
        /// The sink's kind.
        kind: &'static str,
        /// The path to the field, e.g. `secrets[1]`; `.` is the settings as a whole.
        field: String,
        /// What is wrong with it and what would be right.
        why: String,
    },
    /// The settings ask for what only `order = "strict"` can give.
    #[error("{kind} sink: with these settings the subscription needs order = \"strict\"")]
    NeedsStrictOrder {
        /// The sink's kind.
        kind: &'static str,
    },
    /// The kind is behind a feature of cargo that this build is without.
    #[error("this build has no {kind} sink: it is built with the feature `{kind}` of cargo")]
    NotBuilt {
        /// The kind, and the feature's name.
        kind: &'static str,
    },
    /// A file that a field names cannot be read.
    #[error("{kind} sink, `{field}`: cannot read {}: {source}", path.display())]
    File {
        /// The sink's kind.
        kind: &'static str,
        /// The field that names the file.
        field: &'static str,
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
}

/// An error and what it came from, in one line: libraries like to hide the reason behind "connection error".
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let reason = error.to_string();
        // Some print their source themselves.
        if !text.ends_with(&reason) {
            text.push_str(": ");
            text.push_str(&reason);
        }
        source = error.source();
    }
    text
}
