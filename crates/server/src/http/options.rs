//! Every limit of the HTTP front door, in one table, with its default.
//!
//! Nothing that a client sends, holds open or leaves unread is without a bound here.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::public_url::PublicUrl;
use crate::limits::{LimitCheck, OptionsError};
use crate::tls::TlsOptions;

/// The `[http]` section of the configuration. Unknown names are errors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerOptions {
    /// Where to listen. Port 0 takes any free one. Default `127.0.0.1:8080`.
    pub listen: SocketAddr,
    /// Host names, besides the loopback ones, that a request may be sent to (`Host`), without port. Default none.
    pub allowed_hosts: Vec<String>,
    /// What those outside call the server, where it names itself: `https://relay.example`. Default none: what the request called it.
    pub public_url: Option<PublicUrl>,

    /// The most connections open at once; the next one is answered 503 and closed. Default 4096.
    pub max_connections: usize,
    /// The most connections open at once from one IP address. Default 1024.
    pub max_connections_per_address: usize,

    /// How long a new connection may stay silent. Default 10 s.
    pub first_byte_timeout_ms: u64,
    /// How long a request's head may take from its first byte to its last. Default 10 s.
    pub head_timeout_ms: u64,
    /// How long a connection may stay silent between requests. Default 75 s.
    pub idle_timeout_ms: u64,
    /// How long a client may take no byte of an answer before it is cut off. Default 30 s.
    pub write_timeout_ms: u64,
    /// The most bytes of a request's head: request line and headers. Default 32 KiB.
    pub max_head_bytes: usize,
    /// The most headers of a request; at most 100. Default 64.
    pub max_headers: usize,

    /// The most bytes of a request's body. Default 4 MiB.
    pub max_body_bytes: usize,
    /// How long a request's body may take altogether. Default 60 s.
    pub body_timeout_ms: u64,
    /// How long a body may take before `body_bytes_per_second` is asked of it. Default 5 s.
    pub body_grace_ms: u64,
    /// The least speed of a body, on average, once the grace time has passed. Default 4096.
    pub body_bytes_per_second: u64,
    /// The most bytes of all bodies in memory together. Default 64 MiB.
    pub body_memory_bytes: usize,
    /// How long a request waits for its share of `body_memory_bytes`. Default 1 s.
    pub body_memory_wait_ms: u64,
    /// A refused request's body is read and thrown away up to this size, so that the connection can go on;
    /// a longer one costs the connection. Default 64 KiB.
    pub discard_bytes: usize,
    /// How long throwing away such a body may take. Default 1 s.
    pub discard_timeout_ms: u64,
    /// How long a connection that we close reads on, so that its client gets to read the answer. Default 2 s.
    pub linger_timeout_ms: u64,

    /// The most publish streams (`POST /v1/events/stream`) at once. Default 256.
    pub max_publish_streams: usize,
    /// The most bytes of one line of such a stream, and never more than `body_memory_bytes`. Default 1 MiB.
    pub max_stream_line_bytes: usize,
    /// The most bytes of one stream's lines that are read and not yet answered; no more is read at the limit. They count
    /// against `body_memory_bytes` too. Default 2 MiB.
    pub stream_in_flight_bytes: usize,
    /// How long a line may take from its first byte to its last. Default 30 s.
    pub stream_line_timeout_ms: u64,
    /// How long a stream may stay silent with nothing in flight. Default 5 min.
    pub stream_idle_timeout_ms: u64,

    /// The most requests at once on one HTTP/2 connection. Default 128.
    pub max_http2_streams: u32,
    /// The most event streams (`GET /v1/events/stream`) at once. Default 64.
    pub max_event_streams: usize,
    /// How often a quiet event stream says that it is alive. Default 15 s.
    pub event_stream_heartbeat_ms: u64,

    /// How long open requests may take to finish at shutdown. Default 10 s.
    pub drain_timeout_ms: u64,

    /// Adds `POST /noop`, which reads the body and answers 204: the yardstick of the speed measurements.
    /// Not for production. Default false.
    pub enable_noop_route: bool,

    /// TLS on this door. Default none.
    pub tls: TlsOptions,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            allowed_hosts: Vec::new(),
            public_url: None,
            max_connections: 4096,
            max_connections_per_address: 1024,
            first_byte_timeout_ms: 10_000,
            head_timeout_ms: 10_000,
            idle_timeout_ms: 75_000,
            write_timeout_ms: 30_000,
            max_head_bytes: 32 * 1024,
            max_headers: 64,
            max_body_bytes: 4 * 1024 * 1024,
            body_timeout_ms: 60_000,
            body_grace_ms: 5_000,
            body_bytes_per_second: 4096,
            body_memory_bytes: 64 * 1024 * 1024,
            body_memory_wait_ms: 1_000,
            discard_bytes: 64 * 1024,
            discard_timeout_ms: 1_000,
            linger_timeout_ms: 2_000,
            max_publish_streams: 256,
            max_stream_line_bytes: 1 << 20,
            stream_in_flight_bytes: 2 << 20,
            stream_line_timeout_ms: 30_000,
            stream_idle_timeout_ms: 300_000,
            max_http2_streams: 128,
            max_event_streams: 64,
            event_stream_heartbeat_ms: 15_000,
            drain_timeout_ms: 10_000,
            enable_noop_route: false,
            tls: TlsOptions::default(),
        }
    }
}

impl ServerOptions {
    /// The largest `max_headers`: what the HTTP/1 parser has room for.
    pub const MAX_HEADERS_CEILING: usize = 100;
    /// The least `max_head_bytes`, which is also what a connection's read buffer starts with.
    pub const MIN_HEAD_BYTES: usize = 4096;

    /// Checks that the limits are possible and fit each other.
    ///
    /// # Errors
    /// The first limit that does not.
    pub fn validate(&self) -> Result<(), OptionsError> {
        let check = LimitCheck { section: "http" };
        check.at_least("max_connections", self.max_connections, 1, "at least 1")?;
        check.at_least("max_connections_per_address", self.max_connections_per_address, 1, "at least 1")?;
        check.at_least("max_head_bytes", self.max_head_bytes, Self::MIN_HEAD_BYTES, "at least 4096")?;
        check.at_most("max_head_bytes", self.max_head_bytes, 1 << 20, "at most 1 MiB")?;
        check.at_least("max_headers", self.max_headers, 1, "1 to 100")?;
        check.at_most("max_headers", self.max_headers, Self::MAX_HEADERS_CEILING, "1 to 100")?;
        check.at_least("max_body_bytes", self.max_body_bytes, 1, "at least 1")?;
        let memory = self.body_memory_bytes;
        check.at_least("body_memory_bytes", memory, self.max_body_bytes, "at least max_body_bytes")?;
        check.at_most("body_memory_bytes", memory, u32::MAX as usize, "below 4 GiB")?;
        let (line, in_flight) = (self.max_stream_line_bytes, self.stream_in_flight_bytes);
        check.at_least("max_stream_line_bytes", line, 1, "at least 1")?;
        check.at_least("stream_in_flight_bytes", in_flight, line, "at least max_stream_line_bytes")?;
        check.at_most("stream_in_flight_bytes", in_flight, u32::MAX as usize, "below 4 GiB")?;
        check.none_zero([
            ("first_byte_timeout_ms", self.first_byte_timeout_ms),
            ("head_timeout_ms", self.head_timeout_ms),
            ("idle_timeout_ms", self.idle_timeout_ms),
            ("write_timeout_ms", self.write_timeout_ms),
            ("body_timeout_ms", self.body_timeout_ms),
            ("body_bytes_per_second", self.body_bytes_per_second),
            ("stream_line_timeout_ms", self.stream_line_timeout_ms),
            ("stream_idle_timeout_ms", self.stream_idle_timeout_ms),
            ("event_stream_heartbeat_ms", self.event_stream_heartbeat_ms),
            ("max_http2_streams", u64::from(self.max_http2_streams)),
        ])?;
        self.tls.validate("http.tls")
    }

    /// How long open requests may take to finish at shutdown.
    #[must_use]
    pub fn drain_timeout(&self) -> Duration {
        Duration::from_millis(self.drain_timeout_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(ServerOptions::default().validate(), Ok(()));
    }

    #[test]
    fn an_unknown_name_is_an_error() {
        let error = serde_json::from_str::<ServerOptions>(r#"{"max_conections": 1}"#).unwrap_err();
        assert!(error.to_string().contains("max_conections"), "{error}");
    }

    #[test]
    fn a_body_that_can_never_fit_into_memory_is_refused_at_the_start() {
        let options =
            ServerOptions { max_body_bytes: 2048, body_memory_bytes: 1024, ..ServerOptions::default() };
        assert_eq!(options.validate().unwrap_err().name, "body_memory_bytes");
    }
}
