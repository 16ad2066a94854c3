//! Every limit of the TCP front door, in one table, with its default.
//!
//! Nothing that a client sends, holds open or leaves unread is without a bound here.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use eventrelay_event::{Envelope, Event, EventLimits, InvalidEvent, Tenant};
use serde::{Deserialize, Serialize};

use crate::limits::{LimitCheck, OptionsError};
use crate::listen::Listen;
use crate::tls::TlsOptions;

/// The `[tcp]` section of the configuration. Unknown names are errors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TcpOptions {
    /// Where length-prefixed frames are taken. Default `127.0.0.1:9000`.
    pub frames_listen: Listen,
    /// Where lines of JSON are taken. Default off.
    pub lines_listen: Listen,

    /// The tenant of all events that come by TCP, where no API keys are asked for. Default `default`.
    pub tenant: String,
    /// What a frame's payload is. Default [`Decode::Opaque`].
    pub decode: Decode,
    /// The type of events whose payload is opaque. Default `tcp.payload`.
    pub event_type: String,
    /// The source of events whose payload is opaque. Default `/tcp`.
    pub event_source: String,

    /// The most bytes of a frame's payload, or of a line. Default 1 MiB.
    pub max_frame_bytes: usize,
    /// The most connections open at once, on both listeners together. Default 4096.
    pub max_connections: usize,
    /// The most connections open at once from one IP address. Default 1024.
    pub max_connections_per_address: usize,
    /// The most bytes of one connection that wait for their acknowledgement; no more is read meanwhile. Default 4 MiB.
    pub max_in_flight_bytes: usize,
    /// The most bytes of all receive buffers together, beyond the 16 KiB that each connection has. Default 64 MiB.
    pub buffer_memory_bytes: usize,

    /// How long a client may take to log in, where API keys are asked for. Default 10 s.
    pub login_timeout_ms: u64,
    /// How long a connection may stay silent with nothing in flight. Default 5 min.
    pub idle_timeout_ms: u64,
    /// How long a frame or line may take from its first byte to its last. Default 30 s.
    pub frame_timeout_ms: u64,
    /// How long a client may take no byte of its acknowledgements before it is cut off. Default 30 s.
    pub write_timeout_ms: u64,
    /// How long a connection that we close reads on, so that its client gets to read the last acknowledgements. Default 2 s.
    pub linger_timeout_ms: u64,
    /// How long connections may take to finish at shutdown. Default 10 s.
    pub drain_timeout_ms: u64,

    /// TLS on both listeners. Default none.
    pub tls: TlsOptions,
}

/// `tcp.decode`: what a frame's payload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decode {
    /// Bytes that nobody looks into: the data of an event of the configured type and source.
    Opaque,
    /// One event in our own JSON form.
    Json,
}

impl Default for TcpOptions {
    fn default() -> Self {
        Self {
            frames_listen: Listen::At(SocketAddr::from((Ipv4Addr::LOCALHOST, 9000))),
            lines_listen: Listen::Off,
            tenant: "default".to_owned(),
            decode: Decode::Opaque,
            event_type: "tcp.payload".to_owned(),
            event_source: "/tcp".to_owned(),
            max_frame_bytes: 1 << 20,
            max_connections: 4096,
            max_connections_per_address: 1024,
            max_in_flight_bytes: 4 << 20,
            buffer_memory_bytes: 64 << 20,
            login_timeout_ms: 10_000,
            idle_timeout_ms: 300_000,
            frame_timeout_ms: 30_000,
            write_timeout_ms: 30_000,
            linger_timeout_ms: 2_000,
            drain_timeout_ms: 10_000,
            tls: TlsOptions::default(),
        }
    }
}

impl TcpOptions {
    /// The largest `max_frame_bytes`. It is below what the first bytes of an HTTP request (`GET `, `POST`, `HEAD`, `PRI `)
    /// say when they are taken for a length, so that no web page can have its requests taken for frames.
    pub const MAX_FRAME_BYTES_CEILING: usize = 256 << 20;

    /// Checks that the limits are possible and fit each other, and that the envelope makes an event.
    ///
    /// # Errors
    /// The first that does not.
    pub fn validate(&self) -> Result<(), OptionsError> {
        let check = LimitCheck { section: "tcp" };
        check.at_least("max_frame_bytes", self.max_frame_bytes, 1, "at least 1")?;
        let most = Self::MAX_FRAME_BYTES_CEILING;
        check.at_most("max_frame_bytes", self.max_frame_bytes, most, "at most 256 MiB")?;
        check.at_least("max_connections", self.max_connections, 1, "at least 1")?;
        check.at_least("max_connections_per_address", self.max_connections_per_address, 1, "at least 1")?;
        let (in_flight, memory) = (self.max_in_flight_bytes, self.buffer_memory_bytes);
        check.at_least("max_in_flight_bytes", in_flight, self.max_frame_bytes, "at least max_frame_bytes")?;
        check.at_most("max_in_flight_bytes", in_flight, u32::MAX as usize, "below 4 GiB")?;
        check.at_least("buffer_memory_bytes", memory, self.max_frame_bytes, "at least max_frame_bytes")?;
        check.at_most("buffer_memory_bytes", memory, u32::MAX as usize, "below 4 GiB")?;
        check.none_zero([
            ("login_timeout_ms", self.login_timeout_ms),
            ("idle_timeout_ms", self.idle_timeout_ms),
            ("frame_timeout_ms", self.frame_timeout_ms),
            ("write_timeout_ms", self.write_timeout_ms),
        ])?;
        self.tls.validate("tcp.tls")?;
        match self.envelope(self.tenant()?, &EventLimits::default()) {
            Err(InvalidEvent::Field { field, why }) if field == "source" => {
                Err(check.error("event_source", &self.event_source, why))
            }
            Err(InvalidEvent::Field { why, .. }) => Err(check.error("event_type", &self.event_type, why)),
            // One that is too large for its limits is refused payload by payload.
            Ok(_) | Err(InvalidEvent::TooLarge { .. }) => Ok(()),
        }
    }

    /// Whose all events are.
    pub(crate) fn tenant(&self) -> Result<Tenant, OptionsError> {
        let check = LimitCheck { section: "tcp" };
        let expected = "1 to 64 characters of a-z, 0-9, '-' and '_'";
        Tenant::parse(&self.tenant).map_err(|_| check.error("tenant", &self.tenant, expected))
    }

    /// What every opaque payload is put into.
    pub(crate) fn envelope(&self, tenant: Tenant, limits: &EventLimits) -> Result<Envelope, InvalidEvent> {
        Envelope::new(Event::new(tenant, self.event_type.clone(), self.event_source.clone()), limits)
    }

    /// How long connections may take to finish at shutdown.
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
        assert_eq!(TcpOptions::default().validate(), Ok(()));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        type Change = fn(&mut TcpOptions);
        let cases: [(&str, Change); 6] = [
            ("tenant", |options| options.tenant = "No Tenant".to_owned()),
            ("event_type", |options| options.event_type = String::new()),
            ("event_source", |options| options.event_source = "no uri".to_owned()),
            ("max_in_flight_bytes", |options| options.max_in_flight_bytes = options.max_frame_bytes - 1),
            ("max_frame_bytes", |options| options.max_frame_bytes = 1 << 30),
            ("frame_timeout_ms", |options| options.frame_timeout_ms = 0),
        ];
        for (name, change) in cases {
            let mut options = TcpOptions::default();
            change(&mut options);
            assert_eq!(options.validate().unwrap_err().name, name);
        }
    }

    #[test]
    fn no_http_request_can_begin_like_a_frame() {
        for method in [b"GET ", b"POST", b"HEAD", b"PUT ", b"OPTI", b"PRI ", b"get "] {
            assert!(u32::from_le_bytes(*method) as usize > TcpOptions::MAX_FRAME_BYTES_CEILING);
        }
    }
}
