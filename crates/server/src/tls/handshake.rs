//! From an accepted socket to a connection that speaks TLS, within a deadline.
//!
//! The client's first message is read here and given to rustls whole, for two reasons. What is no TLS is told from what is
//! while nothing has been said yet. And what is no first message gets no alert: there is a zero byte in one, which to a client of
//! TCP frames that has come to the wrong port would say that a frame of its is safe.

use std::io;
use std::time::Duration;

use rustls::server::{Accepted, Acceptor};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::StartHandshake;
use tokio_rustls::server::TlsStream;

use super::certificate;
use super::certificates::Certificates;
use super::stream::Stream;

/// The first byte of every record of a handshake.
const HANDSHAKE_RECORD: u8 = 0x16;
/// How long a client that is not let in may take to hear why.
const LINGER: Duration = Duration::from_secs(1);

/// Why there was no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error("the handshake took too long")]
    Timeout,
    #[error("the client left before the handshake was done")]
    Left,
    #[error("the client does not speak TLS")]
    NotTls,
    #[error("the client's certificate is missing or not believed: {0}")]
    ClientCertificate(rustls::Error),
    #[error("the client refuses: {0}")]
    RefusedByClient(rustls::Error),
    #[error("{0}")]
    Failed(io::Error),
}

impl HandshakeError {
    /// Its name in metrics.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Timeout => "tls_handshake_timeout",
            Self::Left => "tls_client_left",
            Self::NotTls => "not_tls",
            Self::ClientCertificate(_) => "tls_client_certificate",
            Self::RefusedByClient(_) => "tls_refused_by_client",
            Self::Failed(_) => "tls_handshake_failed",
        }
    }
}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        use rustls::Error::{AlertReceived, InvalidCertificate, NoCertificatesPresented};
        if matches!(
            error.kind(),
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
        ) {
            return Self::Left;
        }
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(cause @ (NoCertificatesPresented | InvalidCertificate(_))) => {
                Self::ClientCertificate(cause.clone())
            }
            Some(cause @ AlertReceived(_)) => Self::RefusedByClient(cause.clone()),
            _ => Self::Failed(error),
        }
    }
}

/// Shakes hands. Who begins with something that cannot be TLS gets `not_tls_answer`.
///
/// # Errors
/// When there is no connection in the end; the socket is closed then.
pub(crate) async fn accept(
    certificates: &Certificates,
    mut socket: TcpStream,
    not_tls_answer: &[u8],
) -> Result<Stream, HandshakeError> {
    let deadline = Instant::now() + certificates.handshake_timeout();
    let shake_hands = async {
        if !begins_with_tls(&socket).await? {
            // However that ends, it is the end.
            let _ = timeout(LINGER, answer_in_the_clear(&mut socket, not_tls_answer)).await;
            return Err(HandshakeError::NotTls);
        }
        let hello = first_message(&socket).await?;
        let handshake = StartHandshake::from_parts(hello, socket);
        match handshake.into_stream(certificates.current()).into_fallible().await {
            Ok(stream) => Ok(stream),
            Err((error, mut socket)) => {
                // The alert is sent. With TLS 1.3 the client may have sent more than was read.
                let _ = timeout(LINGER, linger(&mut socket)).await;
                Err(error.into())
            }
        }
    };
    let stream = timeout_at(deadline, shake_hands).await.unwrap_or(Err(HandshakeError::Timeout))?;
    note_client(&stream);
    Ok(Stream::tls(stream))
}

/// Looks at the first byte, and leaves it where it is.
async fn begins_with_tls(socket: &TcpStream) -> Result<bool, HandshakeError> {
    let mut first = [0];
    match socket.peek(&mut first).await? {
        0 => Err(HandshakeError::Left),
        _ => Ok(first == [HANDSHAKE_RECORD]),
    }
}

/// Reads until the client's first message is whole; rustls bounds it at 64 KiB.
async fn first_message(socket: &TcpStream) -> Result<Accepted, HandshakeError> {
    let mut acceptor = Acceptor::default();
    loop {
        socket.readable().await?;
        match acceptor.read_tls(&mut Readable(socket)) {
            Ok(0) => return Err(HandshakeError::Left),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error.into()),
        }
        match acceptor.accept() {
            Ok(Some(accepted)) => return Ok(accepted),
            Ok(None) => {}
            Err((error, mut alert)) => {
                // A whole first message, of an old client: it may hear why. A courtesy, which the closing can do without.
                if matches!(error, rustls::Error::PeerIncompatible(_))
                    && let Err(error) = alert.write(&mut Writable(socket))
                {
                    tracing::debug!(%error, "an old client was not told why it is not let in");
                }
                return Err(HandshakeError::Failed(io::Error::new(io::ErrorKind::InvalidData, error)));
            }
        }
    }
}

/// What a socket has at this moment.
struct Readable<'a>(&'a TcpStream);

impl io::Read for Readable<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

/// Where a socket takes what it takes at this moment.
struct Writable<'a>(&'a TcpStream);

impl io::Write for Writable<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Says so to a client that has come to the wrong port.
async fn answer_in_the_clear(socket: &mut TcpStream, answer: &[u8]) -> io::Result<()> {
    if answer.is_empty() {
        return Ok(());
    }
    socket.write_all(answer).await?;
    linger(socket).await
}

/// Says no more, and reads on until the client has heard the last word: a socket that is closed with unread bytes resets the
/// connection, which can overtake it.
async fn linger(socket: &mut TcpStream) -> io::Result<()> {
    socket.shutdown().await?;
    let mut unread = [0; 1024];
    while socket.read(&mut unread).await? > 0 {}
    Ok(())
}

/// Who a client with a certificate is: for debugging only, since it opens nothing that an API key does not.
fn note_client(stream: &TlsStream<TcpStream>) {
    if !tracing::enabled!(tracing::Level::DEBUG) {
        return;
    }
    let (socket, connection) = stream.get_ref();
    if let (Some([shown, ..]), Ok(peer)) = (connection.peer_certificates(), socket.peer_addr()) {
        tracing::debug!(%peer, subject = certificate::subject(shown), "the client has shown a certificate");
    }
}
