//! Which events a command is about, as a subscription's filter.

use clap::Args;
use serde_json::{Value, json};

/// An event is meant when it matches one of each kind that is given, and the expression.
#[derive(Debug, Default, Args)]
pub(crate) struct FilterArguments {
    /// A pattern of the type, such as `order.*`; may be given more than once
    #[arg(long = "type", value_name = "PATTERN")]
    types: Vec<String>,
    /// A pattern of the source; may be given more than once
    #[arg(long = "source", value_name = "PATTERN")]
    sources: Vec<String>,
    /// A pattern of the subject; may be given more than once
    #[arg(long = "subject", value_name = "PATTERN")]
    subjects: Vec<String>,
    /// A CEL expression that must be true
    #[arg(long, value_name = "EXPRESSION")]
    cel: Option<String>,
}

impl FilterArguments {
    /// As the API takes it; none where nothing was given.
    pub(crate) fn filter(&self) -> Option<Value> {
        let mut filter = json!({});
        for (name, patterns) in
            [("types", &self.types), ("sources", &self.sources), ("subjects", &self.subjects)]
        {
            if !patterns.is_empty() {
                filter[name] = patterns.clone().into();
            }
        }
        if let Some(expression) = &self.cel {
            filter["cel"] = expression.clone().into();
        }
        filter.as_object().is_some_and(|filter| !filter.is_empty()).then_some(filter)
    }
}
