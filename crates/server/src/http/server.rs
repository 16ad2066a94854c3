//! The HTTP front door, from its socket to the end of its drain. The accept loop is [`crate::accept`]'s.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::connection::{Protocols, serve};
use super::options::ServerOptions;
use super::service::{Services, Shared};
use super::state::ConnectionState;
use crate::accept::{Acceptor, BindError, Door, Drained};
use crate::admission::Admission;
use crate::connection_metrics::ConnectionMetrics;
use crate::shutdown::Stage;
use crate::tls::{self, Certificates, Stream};

/// What can be spoken over TLS (ALPN).
const PROTOCOLS: &[&[u8]] = &[b"h2", b"http/1.1"];

/// What a connection beyond the limit gets, whatever it asked.
const FULL_ANSWER: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    content-type: application/problem+json\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 153\r\n\r\n\
    {\"type\":\"urn:eventrelay:problem:too_many_connections\",\"title\":\"Too many connections are open\",\
    \"status\":503,\"code\":\"too_many_connections\",\"retry_after\":1}";

/// What a client gets that speaks no TLS to a port where TLS is spoken.
const NOT_TLS_ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    content-type: application/problem+json\r\nconnection: close\r\ncontent-length: 123\r\n\r\n\
    {\"type\":\"urn:eventrelay:problem:tls_required\",\"title\":\"This port speaks TLS: use https\",\"status\":400,\
    \"code\":\"tls_required\"}";

/// The HTTP front door, bound to its address.
#[derive(Debug)]
pub struct HttpServer {
    acceptor: Acceptor,
    door: HttpDoor,
    certificates: Option<Certificates>,
    drain_timeout: Duration,
}

#[derive(Debug)]
struct HttpDoor {
    protocols: Arc<Protocols>,
    shared: Arc<Shared>,
}

impl HttpServer {
    /// Checks the options and listens. Connections wait until [`HttpServer::run`]. Also gives the address, which
    /// tells the port when the options leave it open. Blocking where there are files of TLS to read.
    ///
    /// # Errors
    /// When a limit makes no sense, a file of TLS cannot be used, or the address cannot be had.
    pub fn bind(options: &ServerOptions, services: Services) -> Result<(Self, SocketAddr), BindError> {
        options.validate()?;
        let admission = Admission::new(options.max_connections, options.max_connections_per_address);
        let metrics = &services.metrics.connections.tls;
        let certificates = Certificates::open("http.tls", &options.tls, PROTOCOLS, metrics)?;
        let (acceptor, bound) =
            Acceptor::bind("http.listen", options.listen, admission, certificates.clone())?;
        let door = HttpDoor {
            protocols: Arc::new(Protocols::new(options)),
            shared: Arc::new(Shared::new(options, services, acceptor.stage())),
        };
        Ok((Self { acceptor, door, certificates, drain_timeout: options.drain_timeout() }, bound))
    }

    /// The certificates that it shows; none where it speaks in the clear.
    #[must_use]
    pub fn certificates(&self) -> Option<Certificates> {
        self.certificates.clone()
    }

    /// Serves until `shutdown` resolves; then takes nothing new, and gives what was begun `drain_timeout_ms` to
    /// finish before it is cut off. Dropping the future cuts off everything at once.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Drained {
        let tasks = self.door.shared.control.tasks();
        let running = self.acceptor.run(self.door, self.drain_timeout, shutdown);
        let drained = tls::kept_fresh(self.certificates.as_ref(), running).await;
        tasks.close();
        if tokio::time::timeout(self.drain_timeout, tasks.wait()).await.is_err() {
            tracing::warn!(open = tasks.len(), "operations were still under way when the server stopped");
        }
        drained
    }
}

impl Door for HttpDoor {
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
        FULL_ANSWER
    }

    fn not_tls_answer(&self) -> &[u8] {
        NOT_TLS_ANSWER
    }

    fn connections(&self) -> &ConnectionMetrics {
        &self.shared.metrics.connections
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_are_made_beforehand_are_whole_ones() {
        for (answer, code) in [(FULL_ANSWER, "too_many_connections"), (NOT_TLS_ANSWER, "tls_required")] {
            let text = std::str::from_utf8(answer).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(head.contains(&format!("content-length: {}", body.len())), "{} bytes", body.len());
            let problem: serde_json::Value = serde_json::from_str(body).unwrap();
            assert_eq!(problem["code"], code);
        }
    }
}
