//! One connection, from its first byte to its last.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;

use super::options::GrpcOptions;
use super::service::{Shared, answer, draining};
use crate::connection_tasks::ConnectionTasks;
use crate::http::gate::{FramingLimits, Gate, GateLimits, Protocol};
use crate::http::state::ConnectionState;
use crate::protocol_error::is_protocol_error;
use crate::shutdown::Stage;
use crate::tls::{Stream, say_goodbye};

/// What a client may send ahead of its readers, on one stream and on one connection. A connection that sends more than it
/// may is ended, so these bound what it can make the server hold.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// What is held of a stream's answers while its client does not take them.
const SEND_BUFFER_BYTES: usize = 256 * 1024;
/// The most headers that a refused HTTP/1 request is looked at for.
const MAX_HEADERS: usize = 64;

/// What a client that speaks no HTTP/2 gets.
const HTTP1_ANSWER: &[u8] = b"HTTP/1.1 505 HTTP Version Not Supported\r\n\
    content-type: application/problem+json\r\nconnection: close\r\ncontent-length: 159\r\n\r\n\
    {\"type\":\"urn:eventrelay:problem:unsupported_version\",\"title\":\"This port speaks gRPC; HTTP/1.1 has a port of\
    \x20its own\",\"status\":505,\"code\":\"unsupported_version\"}";

/// How connections are served; the same for all of them.
#[derive(Debug, Clone)]
pub(crate) struct Protocols {
    gate: GateLimits,
    max_streams: u32,
    max_head_bytes: u32,
    keep_alive_interval: Duration,
    keep_alive_timeout: Duration,
}

impl Protocols {
    pub(crate) fn new(options: &GrpcOptions) -> Self {
        let millis = Duration::from_millis;
        Self {
            gate: GateLimits {
                framing: FramingLimits { head_bytes: options.max_head_bytes as usize, headers: MAX_HEADERS },
                first_byte: millis(options.first_byte_timeout_ms),
                head: millis(options.first_byte_timeout_ms),
                idle: millis(options.idle_timeout_ms),
                write: millis(options.write_timeout_ms),
                linger: Duration::ZERO,
            },
            max_streams: options.max_streams_per_connection,
            max_head_bytes: options.max_head_bytes,
            keep_alive_interval: millis(options.keep_alive_interval_ms),
            keep_alive_timeout: millis(options.keep_alive_timeout_ms),
        }
    }

    fn http2(&self, tasks: ConnectionTasks) -> http2::Builder<ConnectionTasks> {
        let mut builder = http2::Builder::new(tasks);
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(self.max_streams)
            .max_header_list_size(self.max_head_bytes)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_send_buf_size(SEND_BUFFER_BYTES)
            .keep_alive_interval(self.keep_alive_interval)
            .keep_alive_timeout(self.keep_alive_timeout);
        builder
    }
}

/// Serves a connection until it ends, or until a drain has let it finish what it had begun.
pub(crate) async fn serve(
    stream: Stream,
    state: Arc<ConnectionState>,
    protocols: Arc<Protocols>,
    shared: Arc<Shared>,
    mut stage: watch::Receiver<Stage>,
) {
    let peer = state.peer();
    let metrics = shared.metrics.clone();
    let mut gate = Gate::new(stream, protocols.gate, Arc::clone(&state));
    let protocol = tokio::select! {
        protocol = gate.detect() => protocol,
        // Nothing was asked yet, so there is nothing to finish.
        () = draining(&mut stage) => return say_goodbye(&mut gate).await,
    };
    match protocol {
        Ok(Some(Protocol::Http2)) => {}
        Ok(Some(Protocol::Http1)) => {
            metrics.connections.count_refused("not_http2");
            // A courtesy: when it cannot be written, the closing says enough.
            if let Err(error) = async {
                gate.write_all(HTTP1_ANSWER).await?;
                gate.shutdown().await
            }
            .await
            {
                tracing::debug!(%peer, %error, "a client of another protocol was not told so");
            }
            return;
        }
        Ok(None) => return metrics.connections.count_refused("silent"),
        Err(error) => return tracing::debug!(%peer, %error, "the connection failed before its first call"),
    }
    let tasks = ConnectionTasks::default();
    let _ending = tasks.ending();
    let streams = tasks.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let (shared, tasks, state) = (Arc::clone(&shared), streams.clone(), Arc::clone(&state));
        async move { Ok::<_, Infallible>(answer(shared, tasks, state, request).await) }
    });
    let mut connection = pin!(protocols.http2(tasks.clone()).serve_connection(TokioIo::new(gate), service));
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = draining(&mut stage) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        // A client that leaves in the middle is no fault of ours, and refusals are counted elsewhere.
        if is_protocol_error(&error) {
            metrics.count_protocol_error();
        }
        tracing::debug!(%peer, %error, "the connection ended early");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_another_protocol_is_a_whole_one() {
        let text = std::str::from_utf8(HTTP1_ANSWER).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{} bytes", body.len());
        let problem: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(problem["code"], "unsupported_version");
    }
}
