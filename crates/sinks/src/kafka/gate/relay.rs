//! One connection of librdkafka's, passed on to its broker.
//!
//! Requests are looked at as far as their header and then streamed; answers are small and read whole. Either direction's end
//! ends both, so that a request never waits for an answer that nobody would pass on.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{
    AsyncBufRead, AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _,
};
use tokio::io::{BufReader, BufWriter};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::rewrite::{self, Pending};
use super::{Door, GateError, Shared};
use crate::kafka::broker::DialError;
use crate::kafka::wire::{MAX_RESPONSE_BYTES, Malformed, put_string, read_response};

const BUFFER_BYTES: usize = 64 * 1024;

/// The most requests whose answers are awaited. librdkafka has 5 of Produce and a few others.
const PENDING_REQUESTS: usize = 64;

/// More than the largest request that the settings allow: a message of 100 MB, and what is around it.
const MAX_REQUEST_BYTES: i32 = 128 * 1024 * 1024;

/// How long a connection may take to show its token. librdkafka does so at once.
const TOKEN_PATIENCE: Duration = Duration::from_secs(5);

/// API key, version, correlation id, length of the client id.
const HEADER_BYTES: i32 = 10;

/// A request's length and header.
struct Request {
    pending: Pending,
    /// What follows the header.
    body_bytes: u64,
}

/// Passes a connection on until either side ends it. Safe to drop at any await.
pub(super) async fn run(shared: &Arc<Shared>, door: &Door, local: TcpStream) -> Result<(), GateError> {
    local.set_nodelay(true)?;
    let (from_local, to_local) = local.into_split();
    let mut from_local = BufReader::with_capacity(BUFFER_BYTES, from_local);
    let first = tokio::time::timeout(TOKEN_PATIENCE, read_request(&mut from_local, &shared.token)).await;
    let first = first.map_err(|_| GateError::Stranger)??;
    let Some(first) = first else { return Ok(()) };

    let upstream = match dial(shared, door).await {
        Ok(upstream) => upstream,
        Err(error) => {
            door.note(Some(error));
            // The connection closes: librdkafka takes the broker to be down, which it is, and tries again.
            return Ok(());
        }
    };
    door.note(None);
    let (from_broker, to_broker) = tokio::io::split(upstream);
    let (pending, answered) = mpsc::channel(PENDING_REQUESTS);
    let patience = shared.dialler.timeout();
    let requests = Requests {
        shared,
        from_local,
        to_broker: BufWriter::with_capacity(BUFFER_BYTES, to_broker),
        pending,
        patience,
    };
    let ended = tokio::select! {
        ended = requests.pass_on(first) => ended,
        ended = pass_answers(shared, answered, BufReader::new(from_broker), to_local, patience) => ended,
    };
    if let Err(GateError::Answer(error)) = &ended {
        door.note(Some(format!("{}: {error}", door.address)));
    }
    ended
}

async fn dial(shared: &Shared, door: &Door) -> Result<crate::egress::Stream, String> {
    let connector = door.connector.as_ref().map_err(DialError::to_string)?;
    shared.dialler.dial(&door.address, connector).await.map_err(|error| error.to_string())
}

/// Reads a request up to its body; none when the connection ended before it. Refuses it when it does not carry the token.
async fn read_request(
    from: &mut (impl AsyncBufRead + Unpin),
    token: &str,
) -> Result<Option<Request>, GateError> {
    if from.fill_buf().await?.is_empty() {
        return Ok(None);
    }
    let length = from.read_i32().await?;
    let own_header = HEADER_BYTES + i32::try_from(token.len()).unwrap_or(i32::MAX);
    if !(own_header..=MAX_REQUEST_BYTES).contains(&length) {
        return Err(GateError::RequestLength(length));
    }
    let (key, version) = (from.read_i16().await?, from.read_i16().await?);
    let correlation = from.read_i32().await?;
    if usize::try_from(from.read_i16().await?) != Ok(token.len()) {
        return Err(GateError::Stranger);
    }
    let mut shown = vec![0; token.len()];
    from.read_exact(&mut shown).await?;
    if !equal(&shown, token.as_bytes()) {
        return Err(GateError::Stranger);
    }
    let api = rewrite::admit(key, version).ok_or(GateError::NotAdmitted { key, version })?;
    let body_bytes = u64::try_from(length - own_header).unwrap_or_default();
    Ok(Some(Request { pending: Pending { correlation, api, version }, body_bytes }))
}

/// Compares in a time that does not tell where the difference is.
fn equal(shown: &[u8], token: &[u8]) -> bool {
    shown.len() == token.len() && shown.iter().zip(token).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}

/// The way to the broker.
struct Requests<'a, R, W> {
    shared: &'a Shared,
    from_local: R,
    to_broker: W,
    pending: mpsc::Sender<Pending>,
    /// How long the broker may take no byte.
    patience: Duration,
}

impl<R: AsyncBufRead + Unpin, W: AsyncWrite + Unpin> Requests<'_, R, W> {
    async fn pass_on(mut self, first: Request) -> Result<(), GateError> {
        let mut next = Some(first);
        while let Some(request) = next {
            // Noted first: its answer may be there before the rest of this runs.
            if self.pending.send(request.pending).await.is_err() {
                return Ok(());
            }
            self.write_header(&request).await?;
            self.write_body(request.body_bytes).await?;
            next = read_request(&mut self.from_local, &self.shared.token).await?;
        }
        Ok(())
    }

    async fn write_header(&mut self, request: &Request) -> Result<(), GateError> {
        let Request { pending: Pending { correlation, api, version }, body_bytes } = *request;
        let mut header = Vec::with_capacity(64);
        header.extend_from_slice(&[0; 4]);
        header.extend_from_slice(&api.key().to_be_bytes());
        header.extend_from_slice(&version.to_be_bytes());
        header.extend_from_slice(&correlation.to_be_bytes());
        // The client id is a classic string in flexible headers too.
        put_string(&mut header, Some(self.shared.dialler.client_id()), false);
        let length = i32::try_from(header.len() as u64 - 4 + body_bytes).unwrap_or(i32::MAX);
        header[..4].copy_from_slice(&length.to_be_bytes());
        within(self.patience, self.to_broker.write_all(&header)).await
    }

    async fn write_body(&mut self, bytes: u64) -> Result<(), GateError> {
        let mut left = bytes;
        while left > 0 {
            let chunk = self.from_local.fill_buf().await?;
            if chunk.is_empty() {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            let taken = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len());
            within(self.patience, self.to_broker.write_all(&chunk[..taken])).await?;
            self.from_local.consume(taken);
            left -= taken as u64;
        }
        within(self.patience, self.to_broker.flush()).await
    }
}

/// The way back.
async fn pass_answers(
    shared: &Arc<Shared>,
    mut pending: mpsc::Receiver<Pending>,
    mut from_broker: impl AsyncRead + Unpin,
    mut to_local: impl AsyncWrite + Unpin,
    patience: Duration,
) -> Result<(), GateError> {
    loop {
        let mut frame = read_response(&mut from_broker).await?;
        // Brokers answer in the order of the requests.
        let Ok(request) = pending.try_recv() else {
            return Err(Malformed("it answers no request").into());
        };
        let refusal = rewrite::rewrite(&mut frame, request, |named| shared.doors(named))?;
        if let Some(code) = refusal {
            shared.latest_refusal.store(code, Ordering::Relaxed);
        }
        let length = i32::try_from(frame.len()).unwrap_or(i32::MAX);
        assert!(frame.len() <= 2 * MAX_RESPONSE_BYTES, "rewriting adds little");
        frame.splice(0..0, length.to_be_bytes());
        within(patience, to_local.write_all(&frame)).await?;
    }
}

/// Ends with an error when a write takes too long: a broker that takes nothing must not hold a connection for ever.
async fn within(patience: Duration, write: impl Future<Output = io::Result<()>>) -> Result<(), GateError> {
    match tokio::time::timeout(patience, write).await {
        Ok(written) => Ok(written?),
        Err(_elapsed) => Err(GateError::Stuck(patience.as_millis())),
    }
}
