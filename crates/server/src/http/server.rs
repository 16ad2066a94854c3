//! The HTTP front door, from its socket to the end of its drain. The accept loop is [`crate::accept`]'s.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;

use super::connection::{Protocols, serve};
use super::options::ServerOptions;
use super::service::{Services, Shared};
use super::state::ConnectionState;
use crate::accept::{Acceptor, BindError, Door, Drained};
use crate::admission::Admission;
use crate::connection_metrics::ConnectionMetrics;
use crate::shutdown::Stage;

/// What a connection beyond the limit gets, whatever it asked.
const FULL_ANSWER: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    content-type: application/problem+json\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 153\r\n\r\n\
    {\"type\":\"urn:eventrelay:problem:too_many_connections\",\"title\":\"Too many connections are open\",\
    \"status\":503,\"code\":\"too_many_connections\",\"retry_after\":1}";

/// The HTTP front door, bound to its address.
#[derive(Debug)]
pub struct HttpServer {
    acceptor: Acceptor,
    door: HttpDoor,
    drain_timeout: Duration,
}

#[derive(Debug)]
struct HttpDoor {
    protocols: Arc<Protocols>,
    shared: Arc<Shared>,
}

impl HttpServer {
    /// Checks the options and listens. Connections wait until [`HttpServer::run`]. Also gives the address, which
    /// tells the port when the options leave it open.
    ///
    /// # Errors
    /// When a limit makes no sense or the address cannot be had.
    pub fn bind(options: &ServerOptions, services: Services) -> Result<(Self, SocketAddr), BindError> {
        options.validate()?;
        let admission = Admission::new(options.max_connections, options.max_connections_per_address);
        let (acceptor, bound) = Acceptor::bind("http.listen", options.listen, admission)?;
        let door = HttpDoor {
            protocols: Arc::new(Protocols::new(options)),
            shared: Arc::new(Shared::new(options, services, acceptor.stage())),
        };
        Ok((Self { acceptor, door, drain_timeout: options.drain_timeout() }, bound))
    }

    /// Serves until `shutdown` resolves; then takes nothing new, and gives what was begun `drain_timeout_ms` to
    /// finish before it is cut off. Dropping the future cuts off everything at once.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Drained {
        self.acceptor.run(self.door, self.drain_timeout, shutdown).await
    }
}

impl Door for HttpDoor {
    fn serve(
        &self,
        socket: TcpStream,
        peer: SocketAddr,
        stage: watch::Receiver<Stage>,
    ) -> impl Future<Output = ()> + Send + 'static {
        let state = ConnectionState::new(peer);
        serve(socket, state, Arc::clone(&self.protocols), Arc::clone(&self.shared), stage)
    }

    fn full_answer(&self) -> &[u8] {
        FULL_ANSWER
    }

    fn connections(&self) -> &ConnectionMetrics {
        &self.shared.metrics.connections
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
