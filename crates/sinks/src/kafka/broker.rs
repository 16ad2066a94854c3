//! Where brokers are, and how a connection to one is made: through [`crate::egress`], by TLS where the settings ask for
//! it, logged in where they name a user.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use url::Host;

use super::login::{Credentials, LoginError};
use crate::Environment;
use crate::egress::{ClientTls, ConnectError, Connector, Endpoint, Stream};

/// The port of a broker whose address names none.
const DEFAULT_PORT: u16 = 9092;

/// A broker's address, as the settings or another broker give it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct BrokerAddress {
    host: Host<String>,
    port: u16,
}

/// A text that is no broker's address. Does not quote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a host, or a host and a port: `broker.example:9092`")]
pub(super) struct InvalidAddress;

/// Makes connections to brokers.
pub(super) struct Dialler {
    environment: Environment,
    tls: Option<ClientTls>,
    credentials: Option<Credentials>,
    client_id: String,
    timeout: Duration,
}

/// Why there is no connection to a broker.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("{0} is no address that can be connected to")]
    Address(BrokerAddress),
    #[error("{0}: its port is not among the allowed ones")]
    Port(BrokerAddress),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("{address}: {source}")]
    Login { address: BrokerAddress, source: LoginError },
    #[error("{address} took longer than {} ms to log us in", limit.as_millis())]
    TimedOut { address: BrokerAddress, limit: Duration },
}

impl BrokerAddress {
    /// Reads `host`, `host:port`, `[address]` or `[address]:port`.
    pub(super) fn parse(text: &str) -> Result<Self, InvalidAddress> {
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| InvalidAddress)?),
            _ => (text, DEFAULT_PORT),
        };
        let host = Host::parse(host).map_err(|_| InvalidAddress)?;
        if port == 0 {
            return Err(InvalidAddress);
        }
        Ok(Self { host, port })
    }

    /// The address that a broker gives for another, whose IPv6 addresses have no brackets.
    pub(super) fn advertised(host: &str, port: u16) -> Result<Self, InvalidAddress> {
        let host = match host.parse::<Ipv6Addr>() {
            Ok(address) => Host::Ipv6(address),
            Err(_) => Host::parse(host).map_err(|_| InvalidAddress)?,
        };
        if port == 0 {
            return Err(InvalidAddress);
        }
        Ok(Self { host, port })
    }

    /// The address, where it is not a name.
    pub(super) fn ip(&self) -> Option<IpAddr> {
        match self.host {
            Host::Domain(_) => None,
            Host::Ipv4(address) => Some(IpAddr::V4(address)),
            Host::Ipv6(address) => Some(IpAddr::V6(address)),
        }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for BrokerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl Dialler {
    /// `timeout` covers name look-up, connection, TLS and log-in together.
    pub(super) fn new(
        environment: Environment,
        tls: Option<ClientTls>,
        credentials: Option<Credentials>,
        client_id: String,
        timeout: Duration,
    ) -> Self {
        Self { environment, tls, credentials, client_id, timeout }
    }

    pub(super) fn client_id(&self) -> &str {
        &self.client_id
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// What makes connections to one broker, again and again.
    pub(super) fn connector(&self, address: &BrokerAddress) -> Result<Connector, DialError> {
        let ports = &self.environment.allowed_ports;
        if !ports.is_empty() && !ports.contains(&address.port) {
            return Err(DialError::Port(address.clone()));
        }
        let endpoint = Endpoint::new(address.host.clone(), address.port, self.tls.is_some())
            .map_err(|_| DialError::Address(address.clone()))?;
        Ok(self.environment.connector(endpoint, self.tls.clone(), self.timeout))
    }

    /// Makes a connection that is ready for requests. Safe to drop at any await.
    pub(super) async fn dial(
        &self,
        address: &BrokerAddress,
        connector: &Connector,
    ) -> Result<Stream, DialError> {
        let dialling = async {
            let mut stream = connector.connect().await?.stream;
            if let Some(credentials) = &self.credentials {
                let login = credentials.login(&mut stream, &self.client_id).await;
                login.map_err(|source| DialError::Login { address: address.clone(), source })?;
            }
            Ok(stream)
        };
        // Connecting has the same deadline of its own, and says more about it.
        match tokio::time::timeout(self.timeout + Duration::from_millis(1), dialling).await {
            Ok(dialled) => dialled,
            Err(_elapsed) => Err(DialError::TimedOut { address: address.clone(), limit: self.timeout }),
        }
    }
}

impl fmt::Debug for Dialler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dialler({})", self.client_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_in_every_spelling() {
        for (text, shown) in [
            ("broker.example:9093", "broker.example:9093"),
            ("BROKER.example", "broker.example:9092"),
            ("127.0.0.1:1", "127.0.0.1:1"),
            ("2130706433:1", "127.0.0.1:1"),
            ("[::1]", "[::1]:9092"),
            ("[::1]:9093", "[::1]:9093"),
        ] {
            assert_eq!(BrokerAddress::parse(text).unwrap().to_string(), shown);
        }
        for text in ["", ":9092", "a:b", "a:0", "a:70000", "a b:1", "::1", "a:1:2", "kafka://a:1", "a/b:1"] {
            assert_eq!(BrokerAddress::parse(text), Err(InvalidAddress), "{text}");
        }
    }

    #[test]
    fn what_a_broker_advertises_is_read_as_an_address_where_it_is_one() {
        let ip = |host| BrokerAddress::advertised(host, 1).unwrap().ip();
        assert_eq!(ip("::1"), Some("::1".parse().unwrap()));
        assert_eq!(ip("0x7f.1"), Some("127.0.0.1".parse().unwrap()));
        assert_eq!(ip("broker"), None);
        assert!(BrokerAddress::advertised("broker", 0).is_err());
        assert!(BrokerAddress::advertised("", 1).is_err());
    }
}
