//! What a dispatcher needs of the state store, narrow enough that a model in memory can stand in for it.

use eventrelay_sinks::BoxFuture;
use eventrelay_state::{Checkpoint, State, StateError};

/// Where checkpoints are saved.
pub(crate) trait Store: Send + Sync + 'static {
    /// All of it is durable once this resolves with Ok, none of it otherwise.
    fn save(&self, checkpoint: Checkpoint) -> BoxFuture<'static, Result<(), StateError>>;
}

impl Store for State {
    fn save(&self, checkpoint: Checkpoint) -> BoxFuture<'static, Result<(), StateError>> {
        let state = self.clone();
        Box::pin(async move { State::save(&state, checkpoint).await })
    }
}
