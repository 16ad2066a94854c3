//! What the Svix-compatible API keeps: its applications, endpoints and types of events. Messages and attempts are events and kept
//! attempts, and are found by their ids.
//!
//! An application is a tenant, an endpoint a webhook subscription; their rows say only what those cannot.

mod applications;
mod endpoints;
mod event_types;

pub use applications::{NewSvixApplication, SvixApplication};
pub use endpoints::SvixEndpoint;
pub use event_types::SvixEventType;

use crate::StateError;
use crate::state::unreadable;

/// Which rows of a list, by their names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SvixPage {
    /// Those behind this name, in the order below.
    pub after: Option<String>,
    /// The last name first.
    pub descending: bool,
    /// At most so many.
    pub limit: u32,
}

/// Why nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SvixChangeError {
    /// Another one has the name.
    #[error("another one has this name")]
    Taken,
    /// It is not there, or no longer.
    #[error("there is none")]
    NotFound,
    /// The store failed.
    #[error(transparent)]
    State(#[from] StateError),
}

impl SvixPage {
    /// The order, and how names behind another compare with it. These go into SQL.
    fn order(&self) -> (&'static str, &'static str) {
        if self.descending { ("DESC", "<") } else { ("ASC", ">") }
    }
}

fn to_json<T: serde::Serialize>(value: &T) -> Result<String, StateError> {
    serde_json::to_string(value).map_err(|error| StateError::Failed { why: error.to_string() })
}

fn of_json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, StateError> {
    serde_json::from_str(text).map_err(|error| unreadable(format_args!("a column of JSON: {error}")))
}
