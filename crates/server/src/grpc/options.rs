//! Every limit of the gRPC front door, in one table, with its default.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::limits::OptionsError;
use crate::tls::TlsOptions;
use serde::{Deserialize, Serialize};

/// The `[grpc]` section of the configuration. Unknown names are errors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GrpcOptions {
    /// Whether there is a gRPC front door at all. Default true.
    pub enabled: bool,
    /// Where to listen. Port 0 takes any free one. Default `127.0.0.1:50051`.
    pub listen: SocketAddr,
    /// Host names, besides the loopback ones, that a call may be sent to (`:authority`), without port. Default none.
    pub allowed_hosts: Vec<String>,

    /// The most connections open at once; the next one is closed. Default 1024.
    pub max_connections: usize,
    /// The most connections open at once from one IP address. Default 256.
    pub max_connections_per_address: usize,
    /// The most calls at once on one connection. Default 128.
    pub max_streams_per_connection: u32,

    /// How long a new connection may stay silent. Default 10 s.
    pub first_byte_timeout_ms: u64,
    /// How long a connection may stay without a call. Default 5 min.
    pub idle_timeout_ms: u64,
    /// How often a connection is asked whether it is alive. Default 60 s.
    pub keep_alive_interval_ms: u64,
    /// How long it may take to answer that. Default 20 s.
    pub keep_alive_timeout_ms: u64,
    /// How long a client may take no byte of what is sent to it before it is cut off. Default 30 s.
    pub write_timeout_ms: u64,
    /// The longest that a call which is no stream may take; clients may ask for less. Default 60 s.
    pub call_timeout_ms: u64,
    /// The longest that a message may take from its first byte to its last. Default 30 s.
    pub message_timeout_ms: u64,

    /// The most bytes of a call's metadata. Default 16 KiB.
    pub max_head_bytes: u32,
    /// The most bytes of one message. Default 4 MiB.
    pub max_message_bytes: usize,
    /// The most bytes of one stream's messages that are read and not yet answered; no more is read at the limit.
    /// Default 4 MiB.
    pub stream_in_flight_bytes: usize,
    /// The most bytes of all messages in memory: as many for those that are arriving, and as many for those that are
    /// being stored. Default 64 MiB.
    pub memory_bytes: usize,
    /// The most calls of `Subscribe` at once. Default 64.
    pub max_subscribe_streams: usize,

    /// How long open calls may take to finish at shutdown. Default 10 s.
    pub drain_timeout_ms: u64,

    /// TLS on this door. Default none.
    pub tls: TlsOptions,
}

impl Default for GrpcOptions {
    fn default() -> Self {
        Self {
            enabled: true,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 50051)),
            allowed_hosts: Vec::new(),
            max_connections: 1024,
            max_connections_per_address: 256,
            max_streams_per_connection: 128,
            first_byte_timeout_ms: 10_000,
            idle_timeout_ms: 300_000,
            keep_alive_interval_ms: 60_000,
            keep_alive_timeout_ms: 20_000,
            write_timeout_ms: 30_000,
            call_timeout_ms: 60_000,
            message_timeout_ms: 30_000,
            max_head_bytes: 16 * 1024,
            max_message_bytes: 4 * 1024 * 1024,
            stream_in_flight_bytes: 4 * 1024 * 1024,
            memory_bytes: 64 * 1024 * 1024,
            max_subscribe_streams: 64,
            drain_timeout_ms: 10_000,
            tls: TlsOptions::default(),
        }
    }
}

impl GrpcOptions {
    /// The largest `max_message_bytes` and `memory_bytes`: what a message's length and a count of bytes have room for.
    const BYTES_CEILING: usize = u32::MAX as usize;

    /// Checks that the limits are possible and fit each other.
    ///
    /// # Errors
    /// The first limit that does not.
    pub fn validate(&self) -> Result<(), OptionsError> {
        let refused = |name, value: u64, expected| {
            Err(OptionsError { section: "grpc", name, value: value.to_string(), expected })
        };
        for (name, value) in [
            ("max_connections", self.max_connections as u64),
            ("max_connections_per_address", self.max_connections_per_address as u64),
            ("max_streams_per_connection", u64::from(self.max_streams_per_connection)),
            ("first_byte_timeout_ms", self.first_byte_timeout_ms),
            ("idle_timeout_ms", self.idle_timeout_ms),
            ("keep_alive_interval_ms", self.keep_alive_interval_ms),
            ("keep_alive_timeout_ms", self.keep_alive_timeout_ms),
            ("write_timeout_ms", self.write_timeout_ms),
            ("call_timeout_ms", self.call_timeout_ms),
            ("message_timeout_ms", self.message_timeout_ms),
            ("max_message_bytes", self.max_message_bytes as u64),
            ("stream_in_flight_bytes", self.stream_in_flight_bytes as u64),
        ] {
            if value == 0 {
                return refused(name, value, "at least 1");
            }
        }
        if !(4096..=1 << 20).contains(&self.max_head_bytes) {
            return refused("max_head_bytes", u64::from(self.max_head_bytes), "4096 to 1048576");
        }
        if self.memory_bytes < self.max_message_bytes {
            return refused("memory_bytes", self.memory_bytes as u64, "at least max_message_bytes");
        }
        if self.memory_bytes > Self::BYTES_CEILING {
            return refused("memory_bytes", self.memory_bytes as u64, "below 4 GiB");
        }
        self.tls.validate("grpc.tls")
    }

    /// How long open calls may take to finish at shutdown.
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
        assert_eq!(GrpcOptions::default().validate(), Ok(()));
    }

    #[test]
    fn an_unknown_name_is_an_error() {
        let error = serde_json::from_str::<GrpcOptions>(r#"{"max_conections": 1}"#).unwrap_err();
        assert!(error.to_string().contains("max_conections"), "{error}");
    }

    #[test]
    fn a_message_that_can_never_fit_into_memory_is_refused_at_the_start() {
        let options = GrpcOptions { max_message_bytes: 2048, memory_bytes: 1024, ..GrpcOptions::default() };
        assert_eq!(options.validate().unwrap_err().name, "memory_bytes");
    }
}
