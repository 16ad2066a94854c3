//! The signals that end the server, and the one that has it read its certificates again.

use std::fmt;

use tokio::signal::unix::{self, SignalKind};

use crate::exit::{Exit, Failure};

/// A signal that asks the process to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    Interrupt,
    Terminate,
}

impl Signal {
    /// How the process ends when it obeys at once: 128 and the signal's number, as a shell has it.
    pub(crate) fn exit(self) -> Exit {
        match self {
            Self::Interrupt => Exit::Interrupted,
            Self::Terminate => Exit::Terminated,
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
        })
    }
}

/// SIGINT and SIGTERM, and SIGHUP where it has a meaning, from now on.
pub(crate) struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
    /// None: SIGHUP ends the process, as it does by itself.
    hang_up: Option<unix::Signal>,
}

impl Signals {
    /// From here on neither SIGINT nor SIGTERM ends the process by itself, nor does SIGHUP where it asks for a reload.
    pub(crate) fn listen(reload_on_hang_up: bool) -> Result<Self, Failure> {
        let listen = |kind| {
            unix::signal(kind)
                .map_err(|error| Failure::unexpected(format!("cannot listen for signals: {error}")))
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up: reload_on_hang_up.then(|| listen(SignalKind::hangup())).transpose()?,
        })
    }

    /// The next one. Nothing is missed between two calls.
    pub(crate) async fn next(&mut self) -> Signal {
        tokio::select! {
            Some(()) = self.interrupt.recv() => Signal::Interrupt,
            Some(()) = self.terminate.recv() => Signal::Terminate,
            // The runtime never closes a signal's stream while it runs.
            else => std::future::pending().await,
        }
    }

    /// The next time that it is asked to end, or, as none, to read its certificates again.
    pub(crate) async fn next_or_reload(&mut self) -> Option<Signal> {
        let Some(hang_up) = &mut self.hang_up else { return Some(self.next().await) };
        tokio::select! {
            Some(()) = self.interrupt.recv() => Some(Signal::Interrupt),
            Some(()) = self.terminate.recv() => Some(Signal::Terminate),
            Some(()) = hang_up.recv() => None,
            // The runtime never closes a signal's stream while it runs.
            else => std::future::pending().await,
        }
    }
}
