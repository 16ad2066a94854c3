//! Why a connection ended.

use std::io;

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The client has sent all that it had.
    ByClient,
    /// The client has ended in the middle of a frame or line.
    HalfPayload,
    /// What it sent cannot be taken, for this reason, and what follows cannot be told apart, or must not be.
    Refused(&'static str),
    /// The client did not log in in time.
    LoginTimeout,
    /// A frame or line took too long.
    FrameTimeout,
    /// Nothing came for too long, and nothing was in flight.
    IdleTimeout,
    /// The client did not take its answers in time.
    WriteTimeout,
    /// The server is shutting down.
    Drained {
        /// Whether the client had nothing under way.
        was_idle: bool,
    },
    /// The half that answers has ended, and says why.
    NobodyReads,
    /// The connection failed.
    Broken(io::ErrorKind),
}

impl End {
    /// Its name in metrics.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::ByClient => "client",
            Self::HalfPayload => "half_payload",
            Self::Refused(code) => code,
            Self::LoginTimeout => "login_timeout",
            Self::FrameTimeout => "frame_timeout",
            Self::IdleTimeout => "idle_timeout",
            Self::WriteTimeout => "write_timeout",
            Self::Drained { .. } => "drained",
            Self::NobodyReads | Self::Broken(_) => "broken",
        }
    }

    /// Whether the client may still be sending. Closing a socket that has unread bytes resets the connection, which can
    /// cost the client the answers that it has not read yet.
    pub(crate) fn leaves_bytes_unread(self) -> bool {
        match self {
            Self::Refused(_) | Self::FrameTimeout | Self::Drained { was_idle: false } => true,
            Self::ByClient
            | Self::HalfPayload
            | Self::LoginTimeout
            | Self::IdleTimeout
            | Self::WriteTimeout
            | Self::Drained { was_idle: true }
            | Self::NobodyReads
            | Self::Broken(_) => false,
        }
    }
}
