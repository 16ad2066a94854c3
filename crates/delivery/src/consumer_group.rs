//! Consumer groups of a subscription's target, as a Redis stream has them: moved for those who read there.

use eventrelay_sinks::GroupError as SinkGroupError;

use crate::engine::Engine;

/// Why a consumer group was not moved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// There is no such subscription, or it does not run.
    #[error("there is no such subscription")]
    NoSubscription,
    /// The subscription's target has no such groups.
    #[error("there are no consumer groups to be moved")]
    Unsupported,
    /// The target has none of that name.
    #[error("there is no consumer group {group:?}")]
    NotFound {
        /// The name asked for.
        group: String,
    },
    /// The target did not do it, or did not answer.
    #[error("{why}")]
    Failed {
        /// What went wrong, for people; no secrets.
        why: String,
    },
}

impl Engine {
    /// Moves a consumer group at a subscription's target to a position in the target's own words; the group of the
    /// subscription's settings, where none is named.
    ///
    /// # Errors
    /// When there is no such subscription or group, or the target does not do it.
    pub async fn set_group_position(
        &self,
        tenant: &str,
        name: &str,
        group: Option<&str>,
        position: &str,
    ) -> Result<(), GroupError> {
        let handle = self.roster().find(tenant, name).ok_or(GroupError::NoSubscription)?;
        let sink = handle.sink.as_ref().ok_or(GroupError::Unsupported)?;
        sink.set_group_position(group, position).await.map_err(|error| match error {
            SinkGroupError::Unsupported => GroupError::Unsupported,
            SinkGroupError::NotFound { group } => GroupError::NotFound { group },
            SinkGroupError::Failed { why } => GroupError::Failed { why },
        })
    }
}
