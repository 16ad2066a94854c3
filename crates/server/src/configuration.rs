//! The relay's configuration, as the front doors show and check it. What knows its keys stands above this crate.

use std::fmt;

use serde_json::Value;

/// Shows the configuration, and checks others.
pub trait Configuration: Send + Sync + fmt::Debug {
    /// What holds, with every default, and without secrets.
    fn effective(&self) -> Value;

    /// What is wrong with the text of a configuration file; nothing: it could be used. Blocking: it reads the files that are
    /// named.
    fn problems_of(&self, toml: &str) -> Vec<ConfigurationProblem>;
}

/// One thing that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigurationProblem {
    /// The key, such as `log.segment_bytes`; none where it is about the whole.
    pub key: Option<String>,
    /// What is wrong, and what would be right.
    pub message: String,
}
