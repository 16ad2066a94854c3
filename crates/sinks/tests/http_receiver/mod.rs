//! A receiver of HTTP requests made of a bare socket, so that it can also answer as no HTTP library would.

#![allow(dead_code, reason = "each sink's tests use a part")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// An answer that keeps the connection open.
pub(crate) const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// How a receiver answers a request.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// With these bytes, then waits for the next request.
    Bytes(Vec<u8>),
    /// With these bytes, then closes.
    BytesThenClose(Vec<u8>),
    /// With the first bytes, then the second over and over.
    Endless(Vec<u8>, Vec<u8>),
    /// With the first bytes, then the second over and over, a pause of 5 ms before each.
    Trickle(Vec<u8>, Vec<u8>),
    /// Never, but holds the connection.
    Silence,
    /// With a TCP reset.
    Reset,
}

impl Reply {
    pub(crate) fn ok() -> Self {
        Self::Bytes(OK.to_vec())
    }

    /// An answer with a body that keeps the connection open.
    pub(crate) fn with_body(line: &str, headers: &str, body: &str) -> Self {
        let length = body.len();
        Self::Bytes(
            format!("HTTP/1.1 {line}\r\n{headers}content-length: {length}\r\n\r\n{body}").into_bytes(),
        )
    }

    pub(crate) fn status(line: &str, headers: &str) -> Self {
        Self::Bytes(format!("HTTP/1.1 {line}\r\n{headers}content-length: 0\r\n\r\n").into_bytes())
    }
}

/// A request as it came over the wire.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) line: String,
    /// Names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

/// What happens at a receiver, in order.
#[derive(Debug)]
pub(crate) enum Event {
    Connected,
    Request(Box<Received>),
    /// The other side closed a connection.
    Closed,
}

pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    events: mpsc::UnboundedReceiver<Event>,
    pub(crate) connections: usize,
    _tasks: JoinSet<()>,
}

impl Receiver {
    /// Listens on 127.0.0.1. `reply` says how to answer the n-th request, from 1, of all connections.
    pub(crate) async fn start(reply: impl Fn(usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_on("127.0.0.1:0".parse().unwrap(), reply).await
    }

    /// Answers every request alike.
    pub(crate) async fn always(reply: Reply) -> Self {
        Self::start(move |_| reply.clone()).await
    }

    pub(crate) async fn start_on(
        address: SocketAddr,
        reply: impl Fn(usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::bind(address, Arc::new(move |number, _: &Received| reply(number))).await
    }

    /// Listens on 127.0.0.1. `reply` says how to answer a request, which is the n-th of all connections, from 1.
    pub(crate) async fn answering(reply: impl Fn(usize, &Received) -> Reply + Send + Sync + 'static) -> Self {
        Self::bind("127.0.0.1:0".parse().unwrap(), Arc::new(reply)).await
    }

    async fn bind(address: SocketAddr, reply: ReplyTo) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, events) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, reply, sender));
        Self { address, events, connections: 0, _tasks: tasks }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// Waits for the next request, counting the connections on the way.
    pub(crate) async fn request(&mut self) -> Received {
        loop {
            match self.event().await {
                Event::Connected => self.connections += 1,
                Event::Request(request) => return *request,
                Event::Closed => {}
            }
        }
    }

    /// Waits until the other side closes a connection.
    pub(crate) async fn closed(&mut self) {
        while !matches!(self.event().await, Event::Closed) {}
    }

    /// What has come so far: the number of connections and all requests.
    pub(crate) fn so_far(&mut self) -> (usize, Vec<Received>) {
        let mut requests = Vec::new();
        while let Ok(event) = self.events.try_recv() {
            match event {
                Event::Connected => self.connections += 1,
                Event::Request(request) => requests.push(*request),
                Event::Closed => {}
            }
        }
        (self.connections, requests)
    }

    async fn event(&mut self) -> Event {
        let event = tokio::time::timeout(Duration::from_secs(20), self.events.recv()).await;
        event.expect("the receiver waited too long").expect("the receiver runs")
    }
}

type ReplyTo = Arc<dyn Fn(usize, &Received) -> Reply + Send + Sync>;

async fn accept(listener: TcpListener, reply: ReplyTo, events: mpsc::UnboundedSender<Event>) {
    let requests = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let _ = events.send(Event::Connected);
        let (reply, events, requests) = (Arc::clone(&reply), events.clone(), Arc::clone(&requests));
        connections.spawn(async move {
            let next = || requests.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1;
            serve(stream, &reply, &events, next).await;
            let _ = events.send(Event::Closed);
        });
    }
}

async fn serve(
    mut stream: TcpStream,
    reply: &ReplyTo,
    events: &mpsc::UnboundedSender<Event>,
    next: impl Fn() -> usize,
) {
    let mut buffer = Vec::new();
    while let Some(request) = read_request(&mut stream, &mut buffer).await {
        let answer = reply(next(), &request);
        let _ = events.send(Event::Request(Box::new(request)));
        let alive = match answer {
            Reply::Bytes(bytes) => stream.write_all(&bytes).await.is_ok(),
            Reply::BytesThenClose(bytes) => {
                let _ = stream.write_all(&bytes).await;
                false
            }
            Reply::Endless(head, rest) => {
                let _ = stream.write_all(&head).await;
                while stream.write_all(&rest).await.is_ok() {}
                false
            }
            Reply::Trickle(head, rest) => {
                let _ = stream.write_all(&head).await;
                let mut pause = tokio::time::interval(Duration::from_millis(5));
                while stream.write_all(&rest).await.is_ok() {
                    pause.tick().await;
                }
                false
            }
            Reply::Silence => {
                let _ = stream.read(&mut [0]).await;
                false
            }
            Reply::Reset => {
                stream.set_zero_linger().unwrap();
                false
            }
        };
        if !alive {
            return;
        }
    }
}

async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Received> {
    let head_end = loop {
        if let Some(position) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break position;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(buffer[..head_end].to_vec()).unwrap();
    let mut lines = head.split("\r\n");
    let line = lines.next().unwrap().to_owned();
    let headers: BTreeMap<_, _> = lines
        .map(|line| line.split_once(": ").expect("a header"))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length: usize = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let end = head_end + 4 + length;
    while buffer.len() < end {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    let body = buffer[head_end + 4..end].to_vec();
    buffer.drain(..end);
    Some(Received { line, headers, body })
}
