//! Makes one vetted connection: resolve, judge, dial the judged address, judge the peer, TLS.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::endpoint::EndpointHost;
use super::{AddressPolicy, ClientTls, Endpoint, Forbidden, Resolve, Stream};

/// Look-ups that one sink may have under way. A name server that does not answer holds a thread for each of
/// them, and those threads are shared with every other sink.
const CONCURRENT_LOOKUPS: usize = 4;

/// A name's addresses that are dialled, one after the other.
const ADDRESSES_TRIED: usize = 4;

/// Makes connections to one endpoint.
pub(crate) struct Connector {
    endpoint: Endpoint,
    policy: AddressPolicy,
    resolver: Arc<dyn Resolve>,
    tls: Option<ClientTls>,
    timeout: Duration,
    lookups: Arc<Semaphore>,
}

/// A fresh connection.
pub(crate) struct Established {
    pub(crate) stream: Stream,
    /// Whether HTTP/2 was agreed on in the TLS handshake.
    pub(crate) http2: bool,
}

/// Why there is no connection. Shows neither the URL's path nor what a name resolved to: that would let
/// anyone who can write a subscription ask for the names of the inside.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("{endpoint} is {why}, which may not be connected to")]
    ForbiddenAddress { endpoint: Endpoint, why: Forbidden },
    #[error("{endpoint} resolves to {why}, which may not be connected to")]
    ForbiddenName { endpoint: Endpoint, why: Forbidden },
    #[error("{endpoint} cannot be resolved: {source}")]
    Resolve { endpoint: Endpoint, source: io::Error },
    #[error("{endpoint} resolves to no address")]
    NoAddress { endpoint: Endpoint },
    #[error("{endpoint} cannot be connected to: {source}")]
    Connect { endpoint: Endpoint, source: io::Error },
    #[error("{endpoint}: the TLS handshake failed: {source}")]
    Tls { endpoint: Endpoint, source: io::Error },
    #[error("{endpoint}: HTTP could not be begun: {why}")]
    Http { endpoint: Endpoint, why: String },
    #[error("{endpoint} took longer than {} ms to connect ({phase})", limit.as_millis())]
    TimedOut { endpoint: Endpoint, phase: &'static str, limit: Duration },
}

impl Connector {
    /// `timeout` covers look-up, connection and TLS handshake together.
    pub(crate) fn new(
        endpoint: Endpoint,
        policy: AddressPolicy,
        resolver: Arc<dyn Resolve>,
        tls: Option<ClientTls>,
        timeout: Duration,
    ) -> Self {
        assert_eq!(
            tls.is_some(),
            endpoint.tls_name().is_some(),
            "TLS is used exactly where the URL asks for it"
        );
        Self {
            endpoint,
            policy,
            resolver,
            tls,
            timeout,
            lookups: Arc::new(Semaphore::new(CONCURRENT_LOOKUPS)),
        }
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub(crate) fn uses_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// The error of a connection on which HTTP could not be begun.
    pub(crate) fn http_failed(&self, error: &dyn std::error::Error) -> ConnectError {
        ConnectError::Http { endpoint: self.endpoint.clone(), why: crate::error::chain(error) }
    }

    /// Makes a connection. Safe to drop at any await.
    pub(crate) async fn connect(&self) -> Result<Established, ConnectError> {
        let deadline = Instant::now() + self.timeout;
        let addresses = timeout_at(deadline, self.vetted_addresses())
            .await
            .map_err(|_| self.timed_out("resolving the name"))??;
        let stream = self.dial(&addresses, deadline).await?;
        let (Some(tls), Some(name)) = (&self.tls, self.endpoint.tls_name()) else {
            return Ok(Established { stream: Stream::Plain(stream), http2: false });
        };
        let stream = timeout_at(deadline, tls.handshake(name.clone(), stream))
            .await
            .map_err(|_| self.timed_out("TLS handshake"))?
            .map_err(|source| ConnectError::Tls { endpoint: self.endpoint.clone(), source })?;
        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok(Established { stream: Stream::Tls(stream), http2 })
    }

    /// The endpoint's addresses, all of them allowed: for a client library that dials by itself, which must be given
    /// these and no name.
    pub(crate) async fn vetted_addresses(&self) -> Result<Vec<IpAddr>, ConnectError> {
        let name = match self.endpoint.host() {
            EndpointHost::Address(address) => {
                self.policy.check(*address).map_err(|why| self.forbidden(why))?;
                return Ok(vec![*address]);
            }
            EndpointHost::Name(name) => name.clone(),
        };
        let addresses = self
            .resolve(name)
            .await
            .map_err(|source| ConnectError::Resolve { endpoint: self.endpoint.clone(), source })?;
        if addresses.is_empty() {
            return Err(ConnectError::NoAddress { endpoint: self.endpoint.clone() });
        }
        for address in &addresses {
            self.policy.check(*address).map_err(|why| self.forbidden(why))?;
        }
        Ok(addresses)
    }

    /// A look-up cannot be called off, so it goes on in its own task when the caller gives up, and keeps its
    /// permit until the system's resolver is done with it.
    async fn resolve(&self, name: String) -> io::Result<Vec<IpAddr>> {
        let permit = Arc::clone(&self.lookups).acquire_owned().await.map_err(io::Error::other)?;
        let resolver = Arc::clone(&self.resolver);
        let lookup = tokio::spawn(async move {
            let addresses = resolver.resolve(&name).await;
            drop(permit);
            addresses
        });
        lookup.await.map_err(io::Error::other)?
    }

    /// Connects to the first address that answers. Each has an equal share of the time that is left.
    async fn dial(&self, addresses: &[IpAddr], deadline: Instant) -> Result<TcpStream, ConnectError> {
        let tried = &addresses[..addresses.len().min(ADDRESSES_TRIED)];
        let mut failure = self.timed_out("TCP connection");
        for (index, address) in tried.iter().enumerate() {
            let shares = u32::try_from(tried.len() - index).unwrap_or(1);
            let until = Instant::now() + deadline.saturating_duration_since(Instant::now()) / shares;
            match timeout_at(until, self.dial_one(*address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => failure = error,
                Err(_elapsed) => failure = self.timed_out("TCP connection"),
            }
        }
        Err(failure)
    }

    async fn dial_one(&self, address: IpAddr) -> Result<TcpStream, ConnectError> {
        let failed = |source| ConnectError::Connect { endpoint: self.endpoint.clone(), source };
        let stream =
            TcpStream::connect(SocketAddr::new(address, self.endpoint.port())).await.map_err(failed)?;
        // What was judged is what was dialled; that the kernel agrees is checked, not assumed.
        let peer = stream.peer_addr().map_err(failed)?;
        self.policy.check(peer.ip()).map_err(|why| self.forbidden(why))?;
        // A request is written at once, so waiting for more would only add the other side's delayed ACK to
        // it.
        stream.set_nodelay(true).map_err(failed)?;
        Ok(stream)
    }

    fn forbidden(&self, why: Forbidden) -> ConnectError {
        let endpoint = self.endpoint.clone();
        match endpoint.host() {
            EndpointHost::Address(_) => ConnectError::ForbiddenAddress { endpoint, why },
            EndpointHost::Name(_) => ConnectError::ForbiddenName { endpoint, why },
        }
    }

    fn timed_out(&self, phase: &'static str) -> ConnectError {
        ConnectError::TimedOut { endpoint: self.endpoint.clone(), phase, limit: self.timeout }
    }
}
