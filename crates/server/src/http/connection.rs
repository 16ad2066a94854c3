//! One connection, from its first byte to its last.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::watch;

use super::gate::{FramingLimits, Gate, GateLimits, Protocol};
use super::options::ServerOptions;
use super::service::{Shared, answer};
use super::state::ConnectionState;
use crate::connection_tasks::ConnectionTasks;
use crate::protocol_error::is_protocol_error;
use crate::shutdown::Stage;
use crate::tls::{Stream, say_goodbye};

/// How connections are served; the same for all of them.
#[derive(Debug, Clone)]
pub(crate) struct Protocols {
    gate: GateLimits,
    http1: http1::Builder,
    max_http2_streams: u32,
    max_head_bytes: u32,
    idle: Duration,
}

impl Protocols {
    pub(crate) fn new(options: &ServerOptions) -> Self {
        let millis = Duration::from_millis;
        let gate = GateLimits {
            framing: FramingLimits { head_bytes: options.max_head_bytes, headers: options.max_headers },
            first_byte: millis(options.first_byte_timeout_ms),
            head: millis(options.head_timeout_ms),
            idle: millis(options.idle_timeout_ms),
            write: millis(options.write_timeout_ms),
            linger: millis(options.linger_timeout_ms),
        };
        let mut http1 = http1::Builder::new();
        // The gate times heads. Small answers go out in one piece, head and body.
        http1.header_read_timeout(None).writev(false).max_buf_size(2 * options.max_head_bytes.max(32 * 1024));
        Self {
            gate,
            http1,
            max_http2_streams: options.max_http2_streams,
            max_head_bytes: u32::try_from(options.max_head_bytes).unwrap_or(u32::MAX),
            idle: gate.idle,
        }
    }

    fn http2(&self, streams: ConnectionTasks) -> http2::Builder<ConnectionTasks> {
        let mut builder = http2::Builder::new(streams);
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(self.max_http2_streams)
            .max_header_list_size(self.max_head_bytes)
            // What a client may send before its request's handler takes it; hyper's own windows are 1 MiB.
            .initial_stream_window_size(64 * 1024)
            .initial_connection_window_size(256 * 1024)
            .max_send_buf_size(64 * 1024)
            .keep_alive_interval(self.idle)
            .keep_alive_timeout(self.gate.head);
        builder
    }
}

/// Serves a connection until it ends, or until a drain has let it finish what it had begun.
pub(crate) async fn serve(
    stream: Stream,
    state: Arc<ConnectionState>,
    protocols: Arc<Protocols>,
    shared: Arc<Shared>,
    shutdown: watch::Receiver<Stage>,
) {
    let mut gate = Gate::new(stream, protocols.gate, Arc::clone(&state));
    let mut draining = shutdown.clone();
    let protocol = tokio::select! {
        protocol = gate.detect() => protocol,
        // Nothing was asked yet, so there is nothing to finish.
        () = async { drop(draining.wait_for(|stage| *stage != Stage::Running).await) } => {
            return say_goodbye(&mut gate).await;
        }
    };
    let peer = state.peer();
    let metrics = shared.metrics.clone();
    let tasks = ConnectionTasks::default();
    let _ending = tasks.ending();
    let streams = tasks.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let (shared, state, tasks) = (Arc::clone(&shared), Arc::clone(&state), tasks.clone());
        async move { Ok::<_, Infallible>(answer(&shared, &state, &tasks, request).await) }
    });
    let io = TokioIo::new(gate);
    let ended = match protocol {
        Ok(Some(Protocol::Http1)) => {
            let connection = pin!(protocols.http1.serve_connection(io, service));
            drive(connection, http1::Connection::graceful_shutdown, shutdown).await
        }
        Ok(Some(Protocol::Http2)) => {
            let connection = pin!(protocols.http2(streams).serve_connection(io, service));
            drive(connection, http2::Connection::graceful_shutdown, shutdown).await
        }
        Ok(None) => Ok(()),
        Err(error) => return tracing::debug!(%peer, %error, "the connection failed before its first request"),
    };
    if let Err(error) = ended {
        // A client that leaves in the middle is no fault of ours, and the answers are counted elsewhere.
        if is_protocol_error(&error) {
            metrics.count_protocol_error();
        }
        tracing::debug!(%peer, %error, "the connection ended early");
    }
}

/// Runs a connection to its end; when the server drains, tells it to take no further request.
async fn drive<C: Future<Output = hyper::Result<()>>>(
    mut connection: Pin<&mut C>,
    finish: fn(Pin<&mut C>),
    mut shutdown: watch::Receiver<Stage>,
) -> hyper::Result<()> {
    tokio::select! {
        biased;
        ended = connection.as_mut() => return ended,
        // An error means that the server is gone, which is as good a reason.
        _ = shutdown.wait_for(|stage| *stage != Stage::Running) => {}
    }
    finish(connection.as_mut());
    connection.await
}
