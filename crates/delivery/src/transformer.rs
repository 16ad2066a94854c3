//! Gives sinks other data than the log has, where a subscription has a transform.
//!
//! It works on each attempt anew, so that a changed transform applies to what waits for a retry too. What is settled, retried or
//! kept as a dead letter is always the event as it is in the log.

use std::sync::Arc;

use eventrelay_event::{EventLimits, StoredEvent};
use eventrelay_expression::{DocumentCache, Subject, Transform, Transformed};
use eventrelay_sinks::Delivery;
use eventrelay_state::Subscription;

/// After so many steps other tasks get their turn: about a millisecond.
const STEPS_A_TURN: u64 = 100_000;

/// A subscription's transform.
pub(crate) struct Transformer {
    transform: Transform,
    documents: Arc<DocumentCache>,
    limits: EventLimits,
}

/// A delivery that has nothing to deliver.
pub(crate) struct Refused {
    pub(crate) delivery: Delivery,
    pub(crate) why: String,
}

impl Transformer {
    pub(crate) fn of(
        spec: &Subscription,
        documents: &Arc<DocumentCache>,
        limits: EventLimits,
    ) -> Option<Arc<Self>> {
        let transform = spec.transform.clone()?;
        Some(Arc::new(Self { transform, documents: Arc::clone(documents), limits }))
    }

    /// What the sink is given for `deliveries`, in their order. Those that it cannot be given go from there to `refused`.
    pub(crate) async fn apply(
        &self,
        deliveries: &mut Vec<Delivery>,
        refused: &mut Vec<Refused>,
    ) -> Vec<Delivery> {
        let mut outgoing = Vec::with_capacity(deliveries.len());
        let mut kept = Vec::with_capacity(deliveries.len());
        let mut steps = 0;
        for delivery in deliveries.drain(..) {
            let transformed = self.transformed(&delivery.event);
            steps += transformed.steps;
            match transformed.event {
                Ok(event) => {
                    let (attempt, purpose) = (delivery.attempt, delivery.purpose);
                    outgoing.push(Delivery { event, attempt, purpose, span: None, keep_exchange: false });
                    kept.push(delivery);
                }
                Err(error) => refused.push(Refused { delivery, why: error.to_string() }),
            }
            if steps >= STEPS_A_TURN {
                steps = 0;
                tokio::task::yield_now().await;
            }
        }
        *deliveries = kept;
        outgoing
    }

    fn transformed(&self, event: &StoredEvent) -> Transformed {
        self.transform.apply(&Subject::shared(event, &self.documents), &self.limits)
    }
}
