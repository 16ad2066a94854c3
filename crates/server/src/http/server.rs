//! The accept loop: lets connections in, owns their tasks, and sees them out.
//!
//! Nothing ends it but its shutdown. When the process or the system is out of descriptors or memory, accepting waits
//! a little and tries again, longer each time; a connection that failed before it was accepted is counted and
//! forgotten. Every connection is a task of one [`JoinSet`], so dropping the server's future drops them all.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::admission::{Admission, Full};
use super::connection::{Protocols, serve};
use super::options::{OptionsError, ServerOptions};
use super::service::{Services, Shared};
use super::shutdown::Stage;
use super::state::ConnectionState;

/// Connections that the system holds for us while we are busy.
const BACKLOG: u32 = 1024;
pub(crate) const FIRST_BACKOFF: Duration = Duration::from_millis(5);
pub(crate) const LONGEST_BACKOFF: Duration = Duration::from_secs(1);

/// What a connection beyond the limit gets, whatever it asked.
const FULL_ANSWER: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    content-type: application/problem+json\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 153\r\n\r\n\
    {\"type\":\"urn:eventrelay:problem:too_many_connections\",\"title\":\"Too many connections are open\",\
    \"status\":503,\"code\":\"too_many_connections\",\"retry_after\":1}";

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// A limit makes no sense.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The address cannot be had.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
}

/// How the server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections that had to be cut off at the deadline.
    pub cut_off: usize,
}

/// The HTTP front door, bound to its address.
#[derive(Debug)]
pub struct HttpServer {
    listener: TcpListener,
    admission: Admission,
    protocols: Arc<Protocols>,
    shared: Arc<Shared>,
    drain_timeout: Duration,
    stage: watch::Sender<Stage>,
}

impl HttpServer {
    /// Checks the options and listens. Connections wait until [`HttpServer::run`]. Also gives the address, which
    /// tells the port when the options leave it open.
    ///
    /// # Errors
    /// When a limit makes no sense or the address cannot be had.
    pub fn bind(options: &ServerOptions, services: Services) -> Result<(Self, SocketAddr), BindError> {
        options.validate()?;
        let address = options.listen;
        let failed = |error| BindError::Listen { address, error };
        let listener = listen(address).map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        let (stage, watched) = watch::channel(Stage::Running);
        let server = Self {
            listener,
            admission: Admission::new(options.max_connections, options.max_connections_per_address),
            protocols: Arc::new(Protocols::new(options)),
            shared: Arc::new(Shared::new(options, services, watched)),
            drain_timeout: options.drain_timeout(),
            stage,
        };
        Ok((server, bound))
    }

    /// Serves until `shutdown` resolves; then takes nothing new, and gives what was begun `drain_timeout_ms` to
    /// finish before it is cut off. Dropping the future cuts off everything at once.
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
                    tracing::warn!(%error, wait_ms = backoff.as_millis(), "cannot accept connections");
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
                self.shared.metrics.count_refused_connection(reason);
                // A courtesy: when it cannot be written at once, the closing says enough.
                if let Err(error) = socket.try_write(FULL_ANSWER) {
                    tracing::debug!(%peer, %error, "a refused connection was not told why");
                }
                return;
            }
        };
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%peer, %error, "the connection is gone already");
            return;
        }
        let state = ConnectionState::new(peer);
        let open = OpenConnection::new(&self.shared);
        let serving = serve(
            socket,
            state,
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
struct OpenConnection(Arc<Shared>);

impl OpenConnection {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.metrics.connections.inc();
        Self(Arc::clone(shared))
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.metrics.connections.dec();
    }
}

/// Listens on an address.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart must not wait for the last run's connections to time out.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Whether only the connection that was to be accepted is at fault, so that the next one can be taken at once.
pub(crate) fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// Lets connections finish until the time is up, and cuts off those that have not.
pub(crate) async fn drain(mut connections: JoinSet<()>, timeout: Duration) -> Drained {
    let deadline = Instant::now() + timeout;
    while let Ok(Some(ended)) = tokio::time::timeout_at(deadline, connections.join_next()).await {
        report(ended);
    }
    let cut_off = connections.len();
    connections.shutdown().await;
    if cut_off > 0 {
        tracing::warn!(connections = cut_off, "cut off connections that did not finish in time");
    }
    Drained { cut_off }
}

pub(crate) fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection's task failed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_a_connection_too_many_is_a_whole_one() {
        let text = std::str::from_utf8(FULL_ANSWER).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{} bytes", body.len());
        let problem: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(problem["code"], "too_many_connections");
    }
}
