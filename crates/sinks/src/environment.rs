//! What the process allows its sinks, whatever a subscription's settings ask for.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::egress::{AddressPolicy, ClientTls, Connector, Endpoint, Resolve, SystemResolver};

/// The operator's side of a sink: limits that no subscription can lift.
#[derive(Debug, Clone)]
pub struct Environment {
    /// Which addresses may be connected to. The default refuses everything that is not on the public
    /// internet.
    pub addresses: AddressPolicy,
    /// The ports that may be connected to; empty allows every port.
    pub allowed_ports: Vec<u16>,
    /// Whether settings may name files, folders and environment variables of this machine: true for those
    /// that the operator wrote, false (the default) for those that came through the API.
    pub trusted_settings: bool,
    /// Where a file sink's relative `directory` begins. The default is the working directory.
    pub files_directory: PathBuf,
    /// How names become addresses. The default asks the operating system.
    pub resolver: Arc<dyn Resolve>,
}

impl Environment {
    /// Connects to an endpoint as this environment allows: with TLS where there are settings for it, and within that time.
    pub(crate) fn connector(
        &self,
        endpoint: Endpoint,
        tls: Option<ClientTls>,
        timeout: Duration,
    ) -> Connector {
        Connector::new(endpoint, self.addresses.clone(), Arc::clone(&self.resolver), tls, timeout)
    }
}

impl Default for Environment {
    fn default() -> Self {
        Self {
            addresses: AddressPolicy::default(),
            allowed_ports: Vec::new(),
            trusted_settings: false,
            files_directory: PathBuf::from("."),
            resolver: Arc::new(SystemResolver),
        }
    }
}
