//! One connection, from its first byte to its last. Its two halves run in one task: one reads and submits, the other waits
//! and answers, and between them is a queue of the batches in flight.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::timeout;

use super::end::End;
use super::reader::Reader;
use super::service::Shared;
use super::writer::Writer;
use crate::payloads::answering;
use crate::payloads::framing::Framing;
use crate::shutdown::Stage;
use crate::tls::{Stream, say_goodbye};

/// The most batches in flight on one connection; their bytes are bounded beside.
const BATCHES_IN_FLIGHT: usize = 64;

/// Serves a connection until it ends, or until a drain has let it finish what it had begun.
pub(crate) async fn serve(
    mut stream: Stream,
    peer: SocketAddr,
    shared: Arc<Shared>,
    framing: Framing,
    stage: watch::Receiver<Stage>,
) {
    let end = exchange(&mut stream, &shared, framing, stage).await;
    shared.metrics.count_ended(end.reason());
    // A client that leaves in the middle is no fault of ours.
    tracing::debug!(%peer, ?end, framing = framing.label(), "the connection ended");
    if end.leaves_bytes_unread() {
        linger(stream, Duration::from_millis(shared.options.linger_timeout_ms)).await;
    } else {
        say_goodbye(&mut stream).await;
    }
}

async fn exchange(
    stream: &mut Stream,
    shared: &Shared,
    framing: Framing,
    stage: watch::Receiver<Stage>,
) -> End {
    let (read_half, write_half) = stream.split();
    let in_flight = Semaphore::new(shared.options.max_in_flight_bytes);
    let (sender, batches) = mpsc::channel(BATCHES_IN_FLIGHT);
    let reader = Reader::new(shared, framing, read_half, &in_flight, sender, stage);
    let mut reading = pin!(reader.run());
    let writer = Writer::new(shared, framing, write_half);
    let mut answering = pin!(answering::answer(&shared.publisher, batches, writer));
    tokio::select! {
        biased;
        // It outlasts the other half, unless it fails.
        answered = &mut answering => answered.err().unwrap_or(End::NobodyReads),
        end = &mut reading => match answering.await {
            Ok(()) => end,
            Err(failed) => failed,
        },
    }
}

/// Says that no more comes, and reads on for a while, so that the client gets to read the answers.
async fn linger(mut stream: Stream, time: Duration) {
    let until_closed = async {
        stream.shutdown().await?;
        let mut unread = [0; 4096];
        while stream.read(&mut unread).await? > 0 {}
        Ok::<_, std::io::Error>(())
    };
    // However that ends, it is the end.
    let _ = timeout(time, until_closed).await;
}
