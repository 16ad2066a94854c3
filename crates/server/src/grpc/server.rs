//! The accept loop of the gRPC front door: lets connections in, owns their tasks, and sees them out.
//!
//! It is that of the HTTP front door, whose parts it uses; connections beyond the limit are closed without a word, since
//! gRPC has none for them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::connection::{Protocols, serve};
use super::metrics::GrpcMetrics;
use super::options::{GrpcOptions, GrpcOptionsError};
use super::reflection::Reflection;
use super::service::{Services, Shared};
use crate::http::Drained;
use crate::http::admission::{Admission, Full};
use crate::http::server::{FIRST_BACKOFF, LONGEST_BACKOFF, drain, is_of_one_connection, listen, report};
use crate::http::shutdown::Stage;
use crate::http::state::ConnectionState;

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum GrpcBindError {
    /// A limit makes no sense.
    #[error(transparent)]
    Options(#[from] GrpcOptionsError),
    /// The address cannot be had.
    #[error("cannot listen on {address} for gRPC: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// The contracts that are compiled in are not sound.
    #[error("the gRPC contracts cannot be shown: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// The gRPC front door, bound to its address.
#[derive(Debug)]
pub struct GrpcServer {
    listener: TcpListener,
    admission: Admission,
    protocols: Arc<Protocols>,
    shared: Arc<Shared>,
    drain_timeout: Duration,
    stage: watch::Sender<Stage>,
}

impl GrpcServer {
    /// Checks the options and listens. Connections wait until [`GrpcServer::run`]. Also gives the address, which tells the
    /// port when the options leave it open.
    ///
    /// # Errors
    /// When a limit makes no sense or the address cannot be had.
    pub fn bind(options: &GrpcOptions, services: Services) -> Result<(Self, SocketAddr), GrpcBindError> {
        options.validate()?;
        let address = options.listen;
        let failed = |error| GrpcBindError::Listen { address, error };
        let listener = listen(address).map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        let (stage, watched) = watch::channel(Stage::Running);
        let server = Self {
            listener,
            admission: Admission::new(options.max_connections, options.max_connections_per_address),
            protocols: Arc::new(Protocols::new(options)),
            shared: Arc::new(Shared::new(options, services, Reflection::new()?, watched)),
            drain_timeout: options.drain_timeout(),
            stage,
        };
        Ok((server, bound))
    }

    /// Serves until `shutdown` resolves; then takes nothing new, and gives what was begun `drain_timeout_ms` to finish
    /// before it is cut off. Dropping the future cuts off everything at once.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Drained {
        let mut connections = JoinSet::new();
        self.accept(&mut connections, shutdown).await;
        let Self { listener, drain_timeout, stage, .. } = self;
        // New clients are refused by the system at once, and can turn elsewhere.
        drop(listener);
        stage.send_replace(Stage::Draining);
        drain(connections, drain_timeout).await
    }

    async fn accept(&self, connections: &mut JoinSet<()>, shutdown: impl Future<Output = ()>) {
        let mut shutdown = std::pin::pin!(shutdown);
        let mut backoff = FIRST_BACKOFF;
        loop {
            let accepted = tokio::select! {
                () = &mut shutdown => return,
                Some(ended) = connections.join_next() => {
                    report(ended);
                    continue;
                }
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((socket, peer)) => {
                    backoff = FIRST_BACKOFF;
                    self.admit(connections, socket, peer);
                }
                Err(error) => {
                    self.shared.metrics.count_accept_error();
                    if is_of_one_connection(&error) {
                        continue;
                    }
                    tracing::warn!(%error, wait_ms = backoff.as_millis(), "cannot accept gRPC connections");
                    tokio::select! {
                        () = &mut shutdown => return,
                        () = tokio::time::sleep(backoff) => {}
                    }
                    backoff = (backoff * 2).min(LONGEST_BACKOFF);
                }
            }
        }
    }

    fn admit(&self, connections: &mut JoinSet<()>, socket: TcpStream, peer: SocketAddr) {
        let place = match self.admission.admit(peer.ip()) {
            Ok(place) => place,
            Err(full) => {
                let reason = match full {
                    Full::Server => "max_connections",
                    Full::Address => "max_connections_per_address",
                };
                return self.shared.metrics.count_refused_connection(reason);
            }
        };
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%peer, %error, "the connection is gone already");
            return;
        }
        let open = OpenConnection::new(&self.shared.metrics);
        let serving = serve(
            socket,
            ConnectionState::new(peer),
            Arc::clone(&self.protocols),
            Arc::clone(&self.shared),
            self.stage.subscribe(),
        );
        connections.spawn(async move {
            serving.await;
            drop((open, place));
        });
    }
}

/// Counts a connection for as long as it is open, however its task ends.
struct OpenConnection(GrpcMetrics);

impl OpenConnection {
    fn new(metrics: &GrpcMetrics) -> Self {
        metrics.connections.inc();
        Self(metrics.clone())
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.connections.dec();
    }
}
