//! What the parts of one connection tell each other: the gate below hyper, and the service above it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};

use super::gate::Violation;

/// One connection's shared state.
#[derive(Debug)]
pub(crate) struct ConnectionState {
    peer: SocketAddr,
    is_tls: bool,
    /// Requests whose answer is not yet handed to hyper. While there are any, a silent client is a waiting one.
    in_flight: AtomicU32,
    /// Requests ever begun, modulo 2^32.
    begun: AtomicU32,
    /// Why the gate let no more bytes through; 0 when it did not.
    violation: AtomicU8,
    /// Whether the answer to the latest request must be the last.
    closing: AtomicBool,
}

impl ConnectionState {
    pub(crate) fn new(peer: SocketAddr, is_tls: bool) -> Arc<Self> {
        Arc::new(Self {
            peer,
            is_tls,
            in_flight: AtomicU32::new(0),
            begun: AtomicU32::new(0),
            violation: AtomicU8::new(0),
            closing: AtomicBool::new(false),
        })
    }

    pub(crate) fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Whether it is encrypted from here on, and not by somebody in front of us.
    pub(crate) fn is_tls(&self) -> bool {
        self.is_tls
    }

    pub(crate) fn has_requests_in_flight(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) > 0
    }

    /// How many requests have ever begun, modulo 2^32.
    pub(crate) fn requests_begun(&self) -> u32 {
        self.begun.load(Ordering::Relaxed)
    }

    pub(crate) fn refuse(&self, violation: Violation) {
        self.violation.store(violation as u8, Ordering::Relaxed);
    }

    pub(crate) fn violation(&self) -> Option<Violation> {
        Violation::from_number(self.violation.load(Ordering::Relaxed))
    }

    /// Makes the answer to the request at hand the connection's last.
    pub(crate) fn close_after_answer(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }
}

/// A request in flight: from its head until hyper has taken the last of its answer.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<ConnectionState>);

impl InFlight {
    pub(crate) fn begin(connection: &Arc<ConnectionState>) -> Self {
        connection.in_flight.fetch_add(1, Ordering::Relaxed);
        connection.begun.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(connection))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
