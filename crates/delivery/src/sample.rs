//! A sample event, delivered to see what comes of it: no cursor moves, nothing is retried.

use std::time::{Duration, SystemTime};

use eventrelay_event::{Event, Purpose, StoredEvent};
use eventrelay_sinks::{Attempt, CheckError, Delivery};

use crate::clock::wall_micros;
use crate::engine::{ControlError, Engine};

/// What came of a sample.
#[derive(Debug)]
pub enum Sampled {
    /// The target was given it.
    Tried(Box<Attempt>),
    /// No answer came in time.
    TimedOut(Duration),
    /// The target takes nothing that is not in the log, so it was only looked at.
    Checked(Result<(), CheckError>),
    /// There is no target: consumers pull.
    NoTarget,
}

impl Engine {
    /// Delivers an event that is in no log to a subscription's target, once, also while the subscription is paused. Its filter and
    /// transform are left aside.
    ///
    /// # Errors
    /// When no such subscription runs.
    pub async fn try_sample(&self, tenant: &str, name: &str, event: &Event) -> Result<Sampled, ControlError> {
        let handle = self.running(tenant, name).await?;
        let Some(sink) = &handle.sink else { return Ok(Sampled::NoTarget) };
        let timeout = handle.call_timeout;
        if !sink.takes_samples() {
            let checked = tokio::time::timeout(timeout, sink.check()).await;
            return Ok(checked.map_or(Sampled::TimedOut(timeout), Sampled::Checked));
        }
        let mut encoded = Vec::new();
        StoredEvent::encode(event, &mut encoded);
        let offset = self.roster().log.durable_offset();
        let now = wall_micros(SystemTime::now());
        let event = StoredEvent::decode(offset, now, encoded.into())
            .map_err(|error| ControlError::NotASample { why: error.to_string() })?;
        let delivery =
            Delivery { event, attempt: 1, purpose: Purpose::Live, span: None, keep_exchange: true };
        let batch = [delivery];
        match tokio::time::timeout(timeout, sink.deliver(&batch)).await {
            Ok(mut attempts) if !attempts.is_empty() => Ok(Sampled::Tried(Box::new(attempts.swap_remove(0)))),
            Ok(_) | Err(_) => Ok(Sampled::TimedOut(timeout)),
        }
    }
}
