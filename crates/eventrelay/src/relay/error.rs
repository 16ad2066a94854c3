//! Why a relay does not start.

use std::path::PathBuf;

use eventrelay_delivery::EngineError;
use eventrelay_server::BindError;
use eventrelay_server::auth::OidcStartError;
use eventrelay_sinks::SinkError;
use eventrelay_state::{ReconcileError, StateError};
use eventrelay_telemetry::OptionsError;

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
    /// The export of traces does not start.
    #[error(transparent)]
    Telemetry(#[from] OptionsError),
    /// The API keys cannot be read.
    #[error("cannot read the API keys: {0}")]
    ApiKeys(#[from] StateError),
    /// The users and their sessions cannot be read.
    #[error("cannot read the users: {0}")]
    Accounts(#[source] StateError),
    /// Users cannot log in with the provider.
    #[error(transparent)]
    Oidc(#[from] OidcStartError),
    /// The file with the first API key cannot be used.
    #[error("auth.bootstrap_key_file: {}: {why}", path.display())]
    BootstrapKey {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The runtime is ending.
    #[error("the start was cut short")]
    CutShort,
}
