//! What a dispatcher needs of the state store, narrow enough that a model in memory can stand in for it.

use eventrelay_sinks::BoxFuture;
use eventrelay_state::{Checkpoint, DeadLetter, State, StateError, SubscriptionId};

/// Where checkpoints are saved.
pub(crate) trait Store: Send + Sync + 'static {
    /// All of it is durable once this resolves with Ok, none of it otherwise.
    fn save(&self, checkpoint: Checkpoint) -> BoxFuture<'static, Result<(), StateError>>;

    /// A subscription's dead letters from offset `from` on, at most `limit`, in offset order.
    fn dead_letters(
        &self,
        subscription: SubscriptionId,
        from: u64,
        limit: u32,
    ) -> BoxFuture<'static, Result<Vec<DeadLetter>, StateError>>;
}

impl Store for State {
    fn save(&self, checkpoint: Checkpoint) -> BoxFuture<'static, Result<(), StateError>> {
        let state = self.clone();
        Box::pin(async move { State::save(&state, checkpoint).await })
    }

    fn dead_letters(
        &self,
        subscription: SubscriptionId,
        from: u64,
        limit: u32,
    ) -> BoxFuture<'static, Result<Vec<DeadLetter>, StateError>> {
        let state = self.clone();
        Box::pin(async move {
            let read = move || State::dead_letters(&state, subscription, from, limit);
            tokio::task::spawn_blocking(read).await.map_err(|_| StateError::Closed)?
        })
    }
}
