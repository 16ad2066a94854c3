//! A webhook receiver, apart from the server under test: a few lines of HTTP/1.1 over threads, so that none of the
//! server's own code judges the server.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::connection::{content_length, header};

/// A request as it came.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }
}

/// What the receiver does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reply {
    Status(u16),
    /// Closes the connection without an answer.
    HangUp,
}

/// Listens until it is dropped; then nobody does at its address.
#[derive(Debug)]
pub(crate) struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stopped: AtomicBool,
    /// Every open connection, to be ended with the receiver.
    connections: Mutex<HashMap<u64, TcpStream>>,
}

impl Receiver {
    /// Listens on a free port and lets `handler` decide on each request. It is called from many threads at once.
    pub(crate) fn start(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), handler)
    }

    /// The same at a given address.
    pub(crate) fn start_at(
        address: SocketAddr,
        handler: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let for_acceptor = Arc::clone(&shared);
        let handler = Arc::new(handler);
        let acceptor = std::thread::spawn(move || {
            for (number, stream) in (0..).zip(listener.incoming()) {
                if for_acceptor.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                for_acceptor.connections.lock().unwrap().insert(number, stream.try_clone().unwrap());
                let (handler, shared) = (Arc::clone(&handler), Arc::clone(&for_acceptor));
                std::thread::spawn(move || {
                    // Ends when the peer does, or with the receiver. An error is the peer's death, which is expected.
                    let _ = serve(&stream, &*handler);
                    shared.connections.lock().unwrap().remove(&number);
                });
            }
        });
        Self { address, shared, acceptor: Some(acceptor) }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL with a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the acceptor.
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        if let Ok(connections) = self.shared.connections.lock() {
            for connection in connections.values() {
                let _ = connection.shutdown(std::net::Shutdown::Both);
            }
        }
    }
}

fn serve(stream: &TcpStream, handler: &impl Fn(&Request) -> Reply) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    while let Some(request) = read_request(&mut reader)? {
        match handler(&request) {
            Reply::Status(status) => {
                let answer = format!("HTTP/1.1 {status} -\r\nContent-Length: 0\r\n\r\n");
                (&mut &*stream).write_all(answer.as_bytes())?;
            }
            Reply::HangUp => return stream.shutdown(std::net::Shutdown::Both),
        }
    }
    Ok(())
}

/// The next request; none when the peer has ended between two.
fn read_request(reader: &mut BufReader<&TcpStream>) -> io::Result<Option<Request>> {
    let mut head = String::new();
    loop {
        let read = reader.read_line(&mut head)?;
        if read == 0 && head.is_empty() {
            return Ok(None);
        }
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if head.ends_with("\r\n\r\n") {
            break;
        }
    }
    let length = content_length(&head).ok_or_else(|| io::Error::other("a request without a length"))?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    Ok(Some(Request { path, head, body }))
}
