//! A load generator that costs little: prepared requests on kept connections, answers read and counted.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A request that is sent again and again.
pub(crate) fn post(path: &str, content_type: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// An event of about 256 bytes as JSON.
pub(crate) fn event() -> Vec<u8> {
    let data = "x".repeat(200);
    format!(r#"{{"type":"order.created","source":"/shop","data":{{"filler":"{data}"}}}}"#).into_bytes()
}

/// Sends `request` on `connections` connections, one at a time on each, for `duration` or until all have sent `most` together.
/// Answers how many were answered with 2xx, and in what time.
pub(crate) async fn send(
    address: SocketAddr,
    request: &[u8],
    connections: u64,
    duration: Duration,
    most: u64,
) -> (u64, Duration) {
    let began = Instant::now();
    let tasks: Vec<_> = (0..connections)
        .map(|_| {
            let request = request.to_vec();
            tokio::spawn(async move {
                let mut connection = Connection::open(address).await;
                let mut answered = 0;
                while began.elapsed() < duration && answered < most / connections {
                    connection.request(&request).await;
                    answered += 1;
                }
                answered
            })
        })
        .collect();
    let mut answered = 0;
    for task in tasks {
        answered += task.await.expect("a connection ends well");
    }
    (answered, began.elapsed())
}

/// A kept connection, with one request at a time.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("connected");
        stream.set_nodelay(true).expect("set");
        Self { stream, buffer: Vec::with_capacity(4_096) }
    }

    /// Sends a request and reads its answer, which must be a success with a Content-Length.
    pub(crate) async fn request(&mut self, request: &[u8]) {
        self.stream.write_all(request).await.expect("sent");
        loop {
            if let Some(end) = answer_end(&self.buffer) {
                assert!(self.buffer.starts_with(b"HTTP/1.1 2"), "{}", String::from_utf8_lossy(&self.buffer));
                self.buffer.drain(..end);
                return;
            }
            let read = self.stream.read_buf(&mut self.buffer).await.expect("read");
            assert!(read > 0, "the server closed the connection");
        }
    }
}

/// Where the first answer in `bytes` ends, once it is whole.
fn answer_end(bytes: &[u8]) -> Option<usize> {
    let head_end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&bytes[..head_end]).ok()?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let end = head_end + length.unwrap_or(0);
    (bytes.len() >= end).then_some(end)
}
