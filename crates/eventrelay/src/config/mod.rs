//! The configuration: typed, documented, and every value with a default, so that none need be written.
//!
//! A value comes from, the later the stronger: the defaults ← OpenTelemetry's variables ← the TOML file ← the environment
//! ← the command line.
//! The environment's names are the keys in capitals, with `__` for the dot: `EVENTRELAY_LOG__SEGMENT_BYTES` is
//! `log.segment_bytes`. A key that does not exist is an error wherever it stands, since a misspelt limit that is
//! silently ignored is found out too late.
//!
//! Sizes are bytes and end in `_bytes`; times are whole numbers and end in their unit (`_micros`, `_ms`, `_seconds`).
//! `default.toml` shows every key with its default; a test keeps it equal to the types here.

mod ingester_environment;
mod level;
mod load;
mod redact;
mod sections;
mod standard_environment;
mod unknown;
mod validate;

use std::path::PathBuf;

use eventrelay_server::grpc::GrpcOptions;
use eventrelay_server::http::{CompatOptions, ServerOptions};
use eventrelay_server::quota::QuotaOptions;
use eventrelay_server::tcp::TcpOptions;
use eventrelay_state::Subscription;
use eventrelay_telemetry::TelemetryOptions;
use serde::{Deserialize, Serialize};

pub use level::LevelError;
pub use load::{
    ConfigError, GrpcOverrides, HttpOverrides, LoggingOverrides, Overrides, Problem, Sources, TcpOverrides,
};
pub use sections::{
    Auth, Delivery, Egress, Log, LogFormat, LogRotation, LogSync, LogWriteMode, Logging, OperationalEvents,
    Publish,
};

/// Every key with its default, commented. What `eventrelay config default` prints.
pub const DEFAULT_TOML: &str = include_str!("default.toml");

/// The configuration of one relay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where everything durable is: the log in `log/`, delivery state in `state.db`. Created when missing.
    pub data_directory: PathBuf,
    /// The durable log.
    pub log: Log,
    /// What may be published.
    pub publish: Publish,
    /// The HTTP front door.
    pub http: ServerOptions,
    /// The gRPC front door.
    pub grpc: GrpcOptions,
    /// The TCP front door.
    pub tcp: TcpOptions,
    /// Who may use the front doors.
    pub auth: Auth,
    /// How much each tenant may ask for, and all together.
    pub quotas: QuotaOptions,
    /// The dispatchers.
    pub delivery: Delivery,
    /// Which clients of other systems are served.
    pub compat: CompatOptions,
    /// What sinks may connect to.
    pub egress: Egress,
    /// The export of traces.
    pub telemetry: TelemetryOptions,
    /// What the relay tells of itself.
    pub operational_events: OperationalEvents,
    /// The process's own log lines.
    pub logging: Logging,
    /// Subscriptions declared here. They are created or changed at every start; one that is no longer
    /// declared keeps its cursor, but delivers nothing.
    pub subscriptions: Vec<Subscription>,
    /// Subscriptions that an ingester's environment asks for, and no file. They may deliver to private addresses, for whoever
    /// sets the environment of the process is the operator.
    #[serde(skip)]
    pub environment_subscriptions: Vec<Subscription>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_directory: PathBuf::from("./data"),
            log: Log::default(),
            publish: Publish::default(),
            http: ServerOptions::default(),
            grpc: GrpcOptions::default(),
            tcp: TcpOptions::default(),
            auth: Auth::default(),
            quotas: QuotaOptions::default(),
            delivery: Delivery::default(),
            compat: CompatOptions::default(),
            egress: Egress::default(),
            telemetry: TelemetryOptions::default(),
            operational_events: OperationalEvents::default(),
            logging: Logging::default(),
            subscriptions: Vec::new(),
            environment_subscriptions: Vec::new(),
        }
    }
}

impl Config {
    /// Reads the configuration from all its sources and checks it whole.
    ///
    /// # Errors
    /// Every problem that was found, each with its key and the source that set it.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        load::load(sources)
    }

    /// Reads a configuration from the text of a file alone, and checks it whole. Blocking: it reads the files that are named.
    ///
    /// # Errors
    /// Every problem that was found, each with its key.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        load::from_toml(text)
    }

    /// All keys with their values, but for what could be a secret.
    pub(crate) fn without_secrets(&self) -> serde_json::Value {
        redact::redacted(self)
    }

    /// All subscriptions that stand outside of the API: those of the file, and those of the environment.
    pub fn declared_subscriptions(&self) -> impl Iterator<Item = &Subscription> {
        self.subscriptions.iter().chain(&self.environment_subscriptions)
    }

    /// Where the log's segments are.
    #[must_use]
    pub fn log_directory(&self) -> PathBuf {
        self.data_directory.join("log")
    }

    /// Where the delivery state is.
    #[must_use]
    pub fn state_path(&self) -> PathBuf {
        self.data_directory.join("state.db")
    }
}

#[cfg(test)]
mod tests;
