//! How many deliveries a second one webhook manages to a local receiver that answers at once.
//!
//! `cargo bench -p eventrelay-sinks --bench webhook [-- <deliveries> <concurrency> <threads>]`
//!
//! The receiver does as little as one can: it counts requests by their framing and writes a fixed answer. It
//! has a thread of its own, so the processor time of each side is measured apart and the sink's share is what
//! is reported.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench fails by panicking")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use eventrelay_event::json::Limits;
use eventrelay_event::{Data, Event, StoredEvent, Tenant};
use eventrelay_sinks::egress::AddressPolicy;
use eventrelay_sinks::{Delivery, Environment, Outcome, Owner, Purpose, Sink, build};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
const DATA_BYTES: usize = 200;

fn main() {
    let numbers: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let deliveries = numbers.first().copied().unwrap_or(200_000);
    let concurrency = numbers.get(1).copied().unwrap_or(64);
    let threads = numbers.get(2).copied().unwrap_or(1);

    let address = start_receiver();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build().unwrap();
    let environment = Environment { addresses: AddressPolicy::private_allowed(), ..Environment::default() };
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let settings = json!({"url": format!("http://{address}/hook"), "secrets": [secret]});
    let owner = Owner { tenant: "default".to_owned(), subscription: "bench".to_owned(), log_id: [0; 16] };
    let sink = build("webhook", &settings, &owner, &environment).unwrap();
    let batch: Arc<[Delivery]> = Arc::from([delivery()]);

    runtime.block_on(run(&sink, &batch, deliveries / 10, concurrency));
    let (before, clock) = (processor_seconds(), Instant::now());
    runtime.block_on(run(&sink, &batch, deliveries, concurrency));
    let (took, after) = (clock.elapsed(), processor_seconds());

    let sink_seconds = after.0 - before.0;
    let receiver_seconds = after.1 - before.1;
    let per_second = |seconds: f64| deliveries as f64 / seconds;
    println!(
        "deliveries            {deliveries} at a concurrency of {concurrency}, {threads} thread(s) and the receiver's"
    );
    println!("deliveries/s          {:.0}", per_second(took.as_secs_f64()));
    println!("deliveries/s per core {:.0} (sink alone)", per_second(sink_seconds));
    println!("sink, µs each         {:.1}", sink_seconds * 1e6 / deliveries as f64);
    println!("receiver, µs each     {:.1}", receiver_seconds * 1e6 / deliveries as f64);
}

async fn run(sink: &Arc<dyn Sink>, batch: &Arc<[Delivery]>, deliveries: usize, concurrency: usize) {
    let left = Arc::new(AtomicUsize::new(deliveries));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..concurrency {
        let (sink, batch, left) = (Arc::clone(sink), Arc::clone(batch), Arc::clone(&left));
        tasks.spawn(async move {
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
            {
                let attempts = sink.deliver(&batch).await;
                assert_eq!(attempts[0].outcome, Outcome::Delivered);
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
}

fn delivery() -> Delivery {
    let data = json!({"text": "x".repeat(DATA_BYTES)}).to_string();
    let event = Event {
        data: Some(Data::json(Bytes::from(data), &Limits::default()).unwrap()),
        ..Event::new(Tenant::default(), "order.created".to_owned(), "/shop".to_owned())
    };
    let mut record = Vec::new();
    StoredEvent::encode(&event, &mut record);
    Delivery {
        event: StoredEvent::decode(7, 1_769_860_800_000_123, Bytes::from(record)).unwrap(),
        attempt: 1,
        purpose: Purpose::Live,
        span: None,
        keep_exchange: false,
    }
}

/// Listens on a thread named `receiver`.
fn start_receiver() -> SocketAddr {
    let (sender, address) = std::sync::mpsc::channel();
    let serve = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            sender.send(listener.local_addr().unwrap()).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(answer(stream));
            }
        });
    };
    std::thread::Builder::new().name("receiver".to_owned()).spawn(serve).unwrap();
    address.recv_timeout(Duration::from_secs(10)).unwrap()
}

/// Every request of a connection has the same length, so the first tells where each ends.
async fn answer(mut stream: TcpStream) {
    stream.set_nodelay(true).unwrap();
    let mut buffer = vec![0; 64 * 1024];
    let (mut filled, mut request_bytes) = (0, None);
    while let Ok(read @ 1..) = stream.read(&mut buffer[filled..]).await {
        filled += read;
        let length = match request_bytes {
            Some(length) => length,
            None => match request_length(&buffer[..filled]) {
                Some(length) => *request_bytes.insert(length),
                None => continue,
            },
        };
        while filled >= length {
            filled -= length;
            stream.write_all(ANSWER).await.unwrap();
        }
    }
}

fn request_length(bytes: &[u8]) -> Option<usize> {
    let head_end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&bytes[..head_end]).unwrap().to_ascii_lowercase();
    let (_, rest) = head.split_once("content-length: ").unwrap();
    let body: usize = rest.split_once('\r').unwrap().0.parse().unwrap();
    Some(head_end + body)
}

/// The processor time so far of all other threads and of the receiver's.
fn processor_seconds() -> (f64, f64) {
    const TICKS_PER_SECOND: f64 = 100.0;
    let (mut others, mut receiver) = (0.0, 0.0);
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let stat = std::fs::read_to_string(task.unwrap().path().join("stat")).unwrap();
        let (name, fields) = stat.split_once(')').unwrap();
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
        *if name.ends_with("(receiver") { &mut receiver } else { &mut others } += ticks / TICKS_PER_SECOND;
    }
    (others, receiver)
}
