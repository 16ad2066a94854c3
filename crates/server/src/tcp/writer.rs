//! Where a connection's answers go: into its socket, and into the counters.

use std::time::Duration;

use eventrelay_event::Tenant;
use tokio::io::AsyncWriteExt;
use tokio::sync::SemaphorePermit;
use tokio::time::timeout;

use super::end::End;
use super::service::Shared;
use crate::payloads::answering::AnswerSink;
use crate::payloads::batch::Answered;
use crate::payloads::framing::Framing;
use crate::tls::WriteHalf;

/// What a batch holds until its answers are on their way.
pub(crate) enum Held<'a> {
    /// Its share of what may be in flight on the connection.
    InFlight(#[expect(dead_code, reason = "given back when it is dropped")] SemaphorePermit<'a>),
    /// It is the answer to a good login.
    LoggedIn(Tenant),
    Nothing,
}

/// The sending half of a connection.
pub(crate) struct Writer<'a> {
    shared: &'a Shared,
    framing: Framing,
    socket: WriteHalf<'a>,
    write_timeout: Duration,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(shared: &'a Shared, framing: Framing, socket: WriteHalf<'a>) -> Self {
        let write_timeout = Duration::from_millis(shared.options.write_timeout_ms);
        Self { shared, framing, socket, write_timeout }
    }
}

impl<'a> AnswerSink<Held<'a>> for Writer<'_> {
    type Error = End;

    fn render(&mut self, answered: &Answered<Held<'a>>, out: &mut Vec<u8>) {
        if let Held::LoggedIn(tenant) = answered.held() {
            return self.framing.write_logged_in(tenant, out);
        }
        let metrics = &self.shared.metrics;
        let mut accepted = 0;
        answered.each(|_, outcome| {
            match outcome {
                Ok(_) => accepted += 1,
                Err(refusal) => metrics.count_refused(refusal.code, 1),
            }
            self.framing.write_answer(outcome, out);
        });
        metrics.count_batch(self.framing, accepted, answered.took());
    }

    async fn write(&mut self, unwritten: &mut Vec<u8>) -> Result<(), End> {
        let mut written = 0;
        while written < unwritten.len() {
            match timeout(self.write_timeout, self.socket.write(&unwritten[written..])).await {
                Ok(Ok(count)) => written += count,
                Ok(Err(error)) => return Err(End::Broken(error.kind())),
                Err(_) => return Err(End::WriteTimeout),
            }
        }
        unwritten.clear();
        // With TLS, what was written may wait for the socket still.
        match timeout(self.write_timeout, self.socket.flush()).await {
            Ok(flushed) => flushed.map_err(|error| End::Broken(error.kind())),
            Err(_) => Err(End::WriteTimeout),
        }
    }
}
