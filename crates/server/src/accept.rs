//! The accept loop of every front door: lets connections in, owns their tasks, and sees them out.
//!
//! Nothing ends it but its shutdown. When the process or the system is out of descriptors or memory, accepting waits
//! a little and tries again, longer each time; a connection that failed before it was accepted is counted and
//! forgotten. Every connection is a task of one [`JoinSet`], so dropping the loop's future drops them all.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::admission::{Admission, Full};
use crate::connection_metrics::ConnectionMetrics;
use crate::limits::OptionsError;
use crate::shutdown::Stage;
use crate::tls::{self, Certificates, Stream, TlsError};

/// Connections that the system holds for us while we are busy.
const BACKLOG: u32 = 1024;
const FIRST_BACKOFF: Duration = Duration::from_millis(5);
const LONGEST_BACKOFF: Duration = Duration::from_secs(1);

/// Why a front door cannot open.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// A limit makes no sense.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The contracts that are compiled in are not sound.
    #[error("the gRPC contracts cannot be shown: {why}")]
    Contracts {
        /// What is wrong with them.
        why: String,
    },
    /// The files of TLS cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The address cannot be had.
    #[error("cannot listen on {address} ({key}): {error}")]
    Listen {
        /// The configuration's key for the address.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
}

/// How a front door closed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Drained {
    /// Connections that had to be cut off at the deadline.
    pub cut_off: usize,
}

/// What is done with a connection.
pub(crate) trait Door: Send + Sync + 'static {
    /// Serves it to its end, or, once the stage is [`Stage::Draining`], until what was begun is finished.
    fn serve(
        &self,
        stream: Stream,
        peer: SocketAddr,
        stage: watch::Receiver<Stage>,
    ) -> impl Future<Output = ()> + Send + 'static;

    /// What a connection beyond the limit gets, whatever it asks. With TLS there is no word before the handshake, which is
    /// too dear for a connection that is not served.
    fn full_answer(&self) -> &[u8];

    /// What is said in the clear, where TLS is spoken, to a client whose first byte is none of TLS.
    fn not_tls_answer(&self) -> &[u8] {
        b""
    }

    /// Where connections are counted.
    fn connections(&self) -> &ConnectionMetrics;
}

/// A socket that listens, and who is let in.
#[derive(Debug)]
pub(crate) struct Acceptor {
    listener: TcpListener,
    admission: Admission,
    certificates: Option<Certificates>,
    stage: watch::Sender<Stage>,
}

impl Acceptor {
    /// Listens on `address`, which the configuration knows as `key`, for connections that speak TLS if there are certificates.
    /// They wait until [`Acceptor::run`]. Also gives the address that was had, which tells the port when `address` leaves it
    /// open.
    pub(crate) fn bind(
        key: &'static str,
        address: SocketAddr,
        admission: Admission,
        certificates: Option<Certificates>,
    ) -> Result<(Self, SocketAddr), BindError> {
        let failed = |error| BindError::Listen { key, address, error };
        let listener = listen(address).map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        Ok((Self { listener, admission, certificates, stage: watch::Sender::new(Stage::Running) }, bound))
    }

    /// Tells the stage to those who must know it before there is a connection.
    pub(crate) fn stage(&self) -> watch::Receiver<Stage> {
        self.stage.subscribe()
    }

    /// Serves until `shutdown` resolves; then takes nothing new, and gives what was begun `drain_timeout` to finish
    /// before it is cut off. Dropping the future cuts off everything at once.
    pub(crate) async fn run(
        self,
        door: impl Door,
        drain_timeout: Duration,
        shutdown: impl Future<Output = ()>,
    ) -> Drained {
        let mut connections = JoinSet::new();
        let door = Arc::new(door);
        self.accept(&door, &mut connections, shutdown).await;
        let Self { listener, stage, .. } = self;
        // New clients are refused by the system at once, and can turn elsewhere.
        drop(listener);
        stage.send_replace(Stage::Draining);
        drain(connections, drain_timeout).await
    }

    async fn accept(
        &self,
        door: &Arc<impl Door>,
        connections: &mut JoinSet<()>,
        shutdown: impl Future<Output = ()>,
    ) {
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
                    self.admit(door, connections, socket, peer);
                }
                Err(error) => {
                    door.connections().count_accept_error();
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

    fn admit(
        &self,
        door: &Arc<impl Door>,
        connections: &mut JoinSet<()>,
        socket: TcpStream,
        peer: SocketAddr,
    ) {
        let place = match self.admission.admit(peer.ip()) {
            Ok(place) => place,
            Err(full) => {
                let reason = match full {
                    Full::Server => "max_connections",
                    Full::Address => "max_connections_per_address",
                };
                door.connections().count_refused(reason);
                // A courtesy: when it cannot be written at once, the closing says enough.
                if self.certificates.is_none()
                    && let Err(error) = socket.try_write(door.full_answer())
                {
                    tracing::debug!(%peer, %error, "a refused connection was not told why");
                }
                return;
            }
        };
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%peer, %error, "the connection is gone already");
            return;
        }
        let open = door.connections().open();
        let stage = self.stage.subscribe();
        // Two tasks of different size: one in the clear does not carry the room for a handshake.
        match self.certificates.clone() {
            None => {
                let serving = door.serve(Stream::Plain(socket), peer, stage);
                connections.spawn(async move {
                    serving.await;
                    drop((open, place));
                });
            }
            Some(certificates) => {
                let door = Arc::clone(door);
                connections.spawn(async move {
                    serve_tls(&*door, &certificates, socket, peer, stage).await;
                    drop((open, place));
                });
            }
        }
    }
}

/// Shakes hands, then serves.
async fn serve_tls(
    door: &impl Door,
    certificates: &Certificates,
    socket: TcpStream,
    peer: SocketAddr,
    mut stage: watch::Receiver<Stage>,
) {
    let shaken = tokio::select! {
        shaken = tls::accept(certificates, socket, door.not_tls_answer()) => shaken,
        // Nothing was asked yet, so there is nothing to finish.
        _ = stage.wait_for(|stage| *stage != Stage::Running) => return,
    };
    match shaken {
        Ok(stream) => door.serve(stream, peer, stage).await,
        Err(error) => {
            door.connections().count_refused(error.reason());
            tracing::debug!(%peer, %error, "no TLS handshake");
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart must not wait for the last run's connections to time out.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Whether only the connection that was to be accepted is at fault, so that the next one can be taken at once.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

async fn drain(mut connections: JoinSet<()>, timeout: Duration) -> Drained {
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

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection's task failed");
    }
}
