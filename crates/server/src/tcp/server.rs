//! The TCP front door: a listener for frames and one for lines, each of which may be off. They share all limits.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use eventrelay_ingest::Publisher;
use tokio::sync::watch;

use super::connection::serve;
use super::metrics::TcpMetrics;
use super::options::TcpOptions;
use super::service::Shared;
use crate::accept::{Acceptor, BindError, Door, Drained};
use crate::admission::Admission;
use crate::auth::ApiKeys;
use crate::connection_metrics::ConnectionMetrics;
use crate::listen::Listen;
use crate::payloads::framing::Framing;
use crate::shutdown::Stage;
use crate::tls::{self, Certificates, Stream};

/// What a connection beyond the limit gets: to a client that has sent a frame already, the answer to that.
const FRAMES_FULL_ANSWER: &[u8] = &[0x04];
const LINES_FULL_ANSWER: &[u8] =
    b"{\"code\":\"too_many_connections\",\"detail\":\"too many connections are open\",\"retry_after\":1}\n";

/// The TCP front door, bound to its addresses.
#[derive(Debug)]
pub struct TcpServer {
    frames: Option<Listener>,
    lines: Option<Listener>,
    certificates: Option<Certificates>,
    drain_timeout: Duration,
}

/// Where it listens; nowhere where a listener is off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TcpAddresses {
    /// For frames.
    pub frames: Option<SocketAddr>,
    /// For lines.
    pub lines: Option<SocketAddr>,
}

#[derive(Debug)]
struct Listener {
    acceptor: Acceptor,
    door: TcpDoor,
    address: SocketAddr,
}

#[derive(Debug)]
struct TcpDoor {
    framing: Framing,
    shared: Arc<Shared>,
}

impl TcpServer {
    /// Checks the options and listens. Connections wait until [`TcpServer::run`]. Also gives the addresses, which
    /// tell the ports when the options leave them open. Blocking where there are files of TLS to read.
    ///
    /// # Errors
    /// When a limit makes no sense, a file of TLS cannot be used, or an address cannot be had.
    pub fn bind(
        options: &TcpOptions,
        publisher: Arc<Publisher>,
        api_keys: Arc<ApiKeys>,
        metrics: TcpMetrics,
    ) -> Result<(Self, TcpAddresses), BindError> {
        options.validate()?;
        let admission = Admission::new(options.max_connections, options.max_connections_per_address);
        // Nothing is agreed on by ALPN: what is spoken here has no name there.
        let certificates = Certificates::open("tcp.tls", &options.tls, &[], &metrics.connections.tls)?;
        let shared = Arc::new(Shared::new(options, publisher, api_keys, metrics)?);
        let bind = |key, listen: Listen, framing| {
            let Some(address) = listen.address() else { return Ok(None) };
            let (acceptor, address) = Acceptor::bind(key, address, admission.clone(), certificates.clone())?;
            let door = TcpDoor { framing, shared: Arc::clone(&shared) };
            Ok::<_, BindError>(Some(Listener { acceptor, door, address }))
        };
        let frames = bind("tcp.frames_listen", options.frames_listen, Framing::Frames)?;
        let lines = bind("tcp.lines_listen", options.lines_listen, Framing::Lines)?;
        let address = |listener: &Option<Listener>| listener.as_ref().map(|listener| listener.address);
        let addresses = TcpAddresses { frames: address(&frames), lines: address(&lines) };
        Ok((Self { frames, lines, certificates, drain_timeout: options.drain_timeout() }, addresses))
    }

    /// The certificates that it shows on both; none where it speaks in the clear.
    #[must_use]
    pub fn certificates(&self) -> Option<Certificates> {
        self.certificates.clone()
    }

    /// Serves until `shutdown` resolves; then takes nothing new, answers what was received, and gives connections
    /// `drain_timeout_ms` to finish before they are cut off. Dropping the future cuts off everything at once.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Drained {
        let stop = watch::Sender::new(false);
        let stopped = || {
            let mut stop = stop.subscribe();
            async move {
                // An error means that the server is gone, which is as good a reason.
                let _ = stop.wait_for(|stop| *stop).await;
            }
        };
        let both = async {
            tokio::join!(
                run_listener(self.frames, self.drain_timeout, stopped()),
                run_listener(self.lines, self.drain_timeout, stopped()),
                async {
                    shutdown.await;
                    stop.send_replace(true);
                },
            )
        };
        let (frames, lines, ()) = tls::kept_fresh(self.certificates.as_ref(), both).await;
        Drained { cut_off: frames.cut_off + lines.cut_off }
    }
}

async fn run_listener(
    listener: Option<Listener>,
    drain_timeout: Duration,
    shutdown: impl Future<Output = ()>,
) -> Drained {
    match listener {
        Some(Listener { acceptor, door, .. }) => acceptor.run(door, drain_timeout, shutdown).await,
        None => Drained::default(),
    }
}

impl Door for TcpDoor {
    fn serve(
        &self,
        stream: Stream,
        peer: SocketAddr,
        stage: watch::Receiver<Stage>,
    ) -> impl Future<Output = ()> + Send + 'static {
        serve(stream, peer, Arc::clone(&self.shared), self.framing, stage)
    }

    fn full_answer(&self) -> &[u8] {
        match self.framing {
            Framing::Frames => FRAMES_FULL_ANSWER,
            Framing::Lines => LINES_FULL_ANSWER,
        }
    }

    fn connections(&self) -> &ConnectionMetrics {
        &self.shared.metrics.connections
    }
}
