//! The configuration for the front doors: what holds, and what is wrong with another.

use eventrelay_server::{Configuration, ConfigurationProblem};
use serde_json::Value;

use crate::Config;

/// What the relay was started with.
#[derive(Debug)]
pub(super) struct StartedWith {
    /// Without its secrets, which nobody needs from here.
    shown: Value,
}

impl StartedWith {
    pub(super) fn new(config: &Config) -> Self {
        Self { shown: config.without_secrets() }
    }
}

impl Configuration for StartedWith {
    fn effective(&self) -> Value {
        self.shown.clone()
    }

    fn problems_of(&self, toml: &str) -> Vec<ConfigurationProblem> {
        let problems = Config::from_toml(toml).err().map_or_else(Vec::new, |error| error.0);
        let shown = problems.into_iter().map(|problem| ConfigurationProblem {
            key: Some(problem.key).filter(|key| !key.is_empty()),
            message: problem.why,
        });
        shown.collect()
    }
}
