//! The producers of one sink, made when they are first needed, and again when one can be used no more.

use std::io;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rdkafka::error::KafkaError;
use tokio::sync::{OnceCell, Semaphore};

use super::broker::{BrokerAddress, Dialler};
use super::gate::Gate;
use super::producer::{Producer, Sharing, ends_producer};
use super::settings::Settings;

/// The producers of one sink.
pub(super) struct Producers {
    settings: Arc<Settings>,
    dialler: Arc<Dialler>,
    brokers: Vec<BrokerAddress>,
    give_up_after: Duration,
    gate: OnceCell<Arc<Gate>>,
    batches: RwLock<Option<Arc<Producer>>>,
    alone: RwLock<Option<Arc<Producer>>>,
    /// For whoever makes one.
    turn: Semaphore,
}

/// Why there is no producer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProducersError {
    #[error("no listener for the brokers can be opened: {0}")]
    Gate(io::Error),
    #[error("no Kafka producer can be made: {0}")]
    Producer(#[from] KafkaError),
    #[error("the sink is being closed")]
    Closing,
}

impl Producers {
    /// Makes nothing yet.
    pub(super) fn new(
        settings: Arc<Settings>,
        dialler: Arc<Dialler>,
        brokers: Vec<BrokerAddress>,
        give_up_after: Duration,
    ) -> Self {
        Self {
            settings,
            dialler,
            brokers,
            give_up_after,
            gate: OnceCell::new(),
            batches: RwLock::new(None),
            alone: RwLock::new(None),
            turn: Semaphore::new(1),
        }
    }

    /// A producer that can be used. Safe to drop at any await.
    pub(super) async fn get(&self, sharing: Sharing) -> Result<Arc<Producer>, ProducersError> {
        if let Some(producer) = self.usable(sharing) {
            return Ok(producer);
        }
        let _turn = self.turn.acquire().await.map_err(|_| ProducersError::Closing)?;
        // Somebody may have made one meanwhile.
        if let Some(producer) = self.usable(sharing) {
            return Ok(producer);
        }
        let open = || async { Gate::open(Arc::clone(&self.dialler), &self.brokers).map(Arc::new) };
        let gate = Arc::clone(self.gate.get_or_try_init(open).await.map_err(ProducersError::Gate)?);
        let (settings, give_up_after) = (Arc::clone(&self.settings), self.give_up_after);
        let making =
            tokio::task::spawn_blocking(move || Producer::new(&settings, sharing, &gate, give_up_after));
        let producer = Arc::new(making.await.map_err(|_| ProducersError::Closing)??);
        // The older one ends when the calls that use it have ended.
        self.replace(sharing, Some(Arc::clone(&producer)));
        Ok(producer)
    }

    /// What is known of the brokers, where it explains why nothing is confirmed.
    pub(super) fn circumstances(&self) -> Option<String> {
        let gate = self.gate.get()?;
        gate.trouble().or_else(|| gate.latest_refusal().map(super::outcome::refusal))
    }

    /// Whether the brokers' latest answer was that they do not know the producer.
    pub(super) fn are_forgotten(&self) -> bool {
        let refusal = self.gate.get().and_then(|gate| gate.latest_refusal());
        refusal.and_then(super::outcome::code).is_some_and(ends_producer)
    }

    /// Ends the producers and all connections. What was not confirmed is given up.
    pub(super) async fn close(&self) {
        self.turn.close();
        for sharing in [Sharing::Batches, Sharing::Alone] {
            if let Some(producer) = self.replace(sharing, None).and_then(Arc::into_inner)
                && let Err(error) = tokio::task::spawn_blocking(move || producer.end()).await
            {
                tracing::warn!(%error, "a Kafka producer did not end well");
            }
        }
        if let Some(gate) = self.gate.get() {
            gate.close().await;
        }
    }

    fn usable(&self, sharing: Sharing) -> Option<Arc<Producer>> {
        let slot = self.slot(sharing).read().unwrap_or_else(PoisonError::into_inner);
        slot.as_ref().filter(|producer| !producer.is_dead()).map(Arc::clone)
    }

    fn replace(&self, sharing: Sharing, producer: Option<Arc<Producer>>) -> Option<Arc<Producer>> {
        let mut slot = self.slot(sharing).write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *slot, producer)
    }

    fn slot(&self, sharing: Sharing) -> &RwLock<Option<Arc<Producer>>> {
        match sharing {
            Sharing::Batches => &self.batches,
            Sharing::Alone => &self.alone,
        }
    }
}
