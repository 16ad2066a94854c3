//! EventRelay as a library: a whole relay inside a process of one's own.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! // TLS wants one cryptography provider for the process.
//! let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
//!
//! let relay = eventrelay::Relay::start(eventrelay::Config::default(), eventrelay::StartOptions::default()).await?;
//! println!("listening on http://{}", relay.addresses().http);
//! relay.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! [`Config`] is what the relay is told, [`Relay`] is the running thing: the log, the publisher, the delivery state, the
//! dispatchers and the front doors, wired together and shut down in order. The binary of the same name adds the
//! command line, signals and log lines.

mod config;
mod relay;

pub use config::{
    Auth, Config, ConfigError, DEFAULT_TOML, Delivery, Egress, GrpcOverrides, HttpOverrides, LevelError, Log,
    LogFormat, LogRotation, LogSync, LogWriteMode, Logging, LoggingOverrides, OperationalEvents, Overrides,
    Problem, Publish, Sources, TcpOverrides,
};
pub use relay::{Addresses, Drained, Relay, StartError, StartOptions, TargetCheck, check_targets};
