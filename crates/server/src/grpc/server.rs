//! The gRPC front door: where it listens, and what its connections share.
//!
//! Its accept loop is that of every front door (`crate::accept`). A connection beyond the limit is closed without a word, since
//! gRPC has none for it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::connection::{Protocols, serve};
use super::options::GrpcOptions;
use super::reflection::Reflection;
use super::service::{Services, Shared};
use crate::accept::{Acceptor, BindError, Door, Drained};
use crate::admission::Admission;
use crate::connection_metrics::ConnectionMetrics;
use crate::http::state::ConnectionState;
use crate::shutdown::Stage;
use crate::tls::{self, Certificates, Stream};

/// What can be spoken over TLS (ALPN).
const PROTOCOLS: &[&[u8]] = &[b"h2"];

/// The gRPC front door, bound to its address.
#[derive(Debug)]
pub struct GrpcServer {
    acceptor: Acceptor,
    door: GrpcDoor,
    certificates: Option<Certificates>,
    drain_timeout: Duration,
}

/// What serves connections.
#[derive(Debug)]
struct GrpcDoor {
    protocols: Arc<Protocols>,
    shared: Arc<Shared>,
}

impl GrpcServer {
    /// Checks the options and listens. Connections wait until [`GrpcServer::run`]. Also gives the address, which tells the
    /// port when the options leave it open. Blocking where there are files of TLS to read.
    ///
    /// # Errors
    /// When a limit makes no sense, a file of TLS cannot be used, or the address cannot be had.
    pub fn bind(options: &GrpcOptions, services: Services) -> Result<(Self, SocketAddr), BindError> {
        options.validate()?;
        let admission = Admission::new(options.max_connections, options.max_connections_per_address);
        let metrics = &services.metrics.connections.tls;
        let certificates = Certificates::open("grpc.tls", &options.tls, PROTOCOLS, metrics)?;
        let (acceptor, bound) =
            Acceptor::bind("grpc.listen", options.listen, admission, certificates.clone())?;
        let reflection =
            Reflection::new().map_err(|error| BindError::Contracts { why: error.to_string() })?;
        let door = GrpcDoor {
            protocols: Arc::new(Protocols::new(options)),
            shared: Arc::new(Shared::new(options, services, reflection, acceptor.stage())),
        };
        Ok((Self { acceptor, door, certificates, drain_timeout: options.drain_timeout() }, bound))
    }

    /// The certificates that it shows; none where it speaks in the clear.
    #[must_use]
    pub fn certificates(&self) -> Option<Certificates> {
        self.certificates.clone()
    }

    /// Serves until `shutdown` resolves; then takes nothing new, and gives what was begun `drain_timeout_ms` to finish
    /// before it is cut off. Dropping the future cuts off everything at once.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Drained {
        let running = self.acceptor.run(self.door, self.drain_timeout, shutdown);
        tls::kept_fresh(self.certificates.as_ref(), running).await
    }
}

impl Door for GrpcDoor {
    fn serve(
        &self,
        stream: Stream,
        peer: SocketAddr,
        stage: watch::Receiver<Stage>,
    ) -> impl Future<Output = ()> + Send + 'static {
        let state = ConnectionState::new(peer, stream.is_tls());
        serve(stream, state, Arc::clone(&self.protocols), Arc::clone(&self.shared), stage)
    }

    fn full_answer(&self) -> &[u8] {
        b""
    }

    fn connections(&self) -> &ConnectionMetrics {
        &self.shared.metrics.connections
    }
}
