//! Confirms what the log takes for a repetition.
//!
//! The log knows keys and fingerprints, which are hashes; an event is worth more than a hash. So the event that holds the
//! key is read, as long as it is kept, and compared. Where they differ the key was reused.

use eventrelay_event::Event;
use eventrelay_log::{AppendedGroup, RecordOutcome};

use crate::{PublishError, Publisher};

impl Publisher {
    pub(crate) async fn confirm_repetitions(
        &self,
        events: &[Event],
        appended: &AppendedGroup,
    ) -> Result<(), PublishError> {
        for (index, (event, outcome)) in events.iter().zip(&appended.records).enumerate() {
            let RecordOutcome::Exists { offset, .. } = *outcome else {
                continue;
            };
            let first = self.lookup.event(offset).await.map_err(|why| {
                tracing::error!(offset, error = %why, "a repeated publish cannot be compared with the first");
                PublishError::Unconfirmed { index, why }
            })?;
            // With the first gone, its hashes, which are equal, are the only evidence left.
            if first.is_some_and(|first| !first.has_content_of(event)) {
                return Err(PublishError::IdempotencyKeyReused { index });
            }
        }
        Ok(())
    }
}
