//! Why a relay does not start.

use eventrelay_delivery::EngineError;
use eventrelay_server::BindError;
use eventrelay_sinks::SinkError;
use eventrelay_state::ReconcileError;

/// Why a relay does not start. Each part's own error says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The log does not open.
    #[error(transparent)]
    Log(#[from] eventrelay_log::OpenError),
    /// The delivery state does not open.
    #[error(transparent)]
    State(#[from] eventrelay_state::OpenError),
    /// The declared subscriptions cannot be taken over.
    #[error(transparent)]
    Subscriptions(#[from] ReconcileError),
    /// A subscription's sink cannot be made.
    #[error("subscription `{subscription}`: {error}")]
    Sink {
        /// The subscription's name.
        subscription: String,
        /// What is wrong with its settings.
        error: SinkError,
    },
    /// The dispatchers do not start.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A front door does not open.
    #[error(transparent)]
    FrontDoor(#[from] BindError),
    /// The runtime is ending.
    #[error("the start was cut short")]
    CutShort,
}
