//! What keys cost at the front doors: every event with one of its own, and ten million known already.
//!
//! Beside each is the same protocol and form without keys, in turns on the same server.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::in_process::{open_log, runtime};
use crate::prepared::{Keyed, Prepared, json_event};
use crate::server::Server;
use crate::table::{Bar, Table};
use crate::{batches, grpc, keys};

const CONNECTIONS: usize = 16;
const FRAMES_IN_FLIGHT: usize = 256;
/// Frames are sent in bursts of so many.
const BURST: usize = 64;
const TURN: Duration = Duration::from_secs(4);
const TURNS: usize = 3;

pub(crate) fn at_the_front_doors(directory: &Path, table: &mut Table) {
    let data = directory.join("data");
    std::fs::create_dir_all(&data).expect("a directory");
    // The log knows no events, and a server looks at none that nobody asks for.
    let log = open_log(&data);
    runtime().block_on(keys::fill(&log));
    keys::wait_until_merged(&log);
    drop(log);
    let server = Server::start_with(directory, "[tcp]\ndecode = \"json\"\n", &["--create-missing-state"]);
    type Rate = fn(&Server, Keyed) -> f64;
    let doors: [(&str, Rate); 3] = [
        ("TCP, frames of JSON", tcp_rate),
        ("gRPC, messages of 32", grpc::rate),
        ("HTTP, batches of 100", batches::rate),
    ];
    for (what, rate) in doors {
        // In turns, so that a slower moment of the machine hits both.
        let (mut plain, mut keyed) = (Turns::default(), Turns::default());
        for _ in 0..TURNS {
            plain.add(&server, || rate(&server, Keyed::No));
            keyed.add(&server, || rate(&server, Keyed::Yes));
        }
        let beside = format!("{plain} without keys, {keyed} with");
        let slower = (1.0 - keyed.rate() / plain.rate()) * 100.0;
        table.add(&format!("distinct keys, {what}, slower by"), slower, "%", &beside, Bar::AtMost(25.0));
    }
}

/// What several turns came to.
#[derive(Default)]
struct Turns {
    rates: Vec<f64>,
    events: u64,
    /// The server's own, which tells more than the clock where others have the processor.
    processor_time: Duration,
}

impl Turns {
    fn add(&mut self, server: &Server, rate: impl FnOnce() -> f64) {
        let (events, time) = (server.durable_offset(), server.processor_time());
        self.rates.push(rate());
        self.events += server.durable_offset() - events;
        self.processor_time += server.processor_time() - time;
    }

    fn rate(&self) -> f64 {
        self.rates.iter().sum::<f64>() / self.rates.len() as f64
    }
}

impl fmt::Display for Turns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.processor_time.as_secs_f64() * 1e6 / self.events as f64;
        write!(f, "{:.0} events/s ({micros:.1} µs of the server's processor each)", self.rate())
    }
}

/// Events a second over TCP, all of them durable: JSON in frames.
fn tcp_rate(server: &Server, keyed: Keyed) -> f64 {
    let event = json_event(keyed);
    let length = u32::try_from(event.len()).expect("a small event");
    let burst = Prepared::new([&length.to_le_bytes()[..], event.as_bytes()].concat().repeat(BURST));
    let stored_before = server.durable_offset();
    let began = Instant::now();
    let frames: usize = runtime().block_on(async {
        let tasks: Vec<_> =
            (0..CONNECTIONS).map(|_| tokio::spawn(send(server.frames, burst.clone(), began))).collect();
        let mut acknowledged = 0;
        for task in tasks {
            acknowledged += task.await.expect("a connection ends well");
        }
        acknowledged
    });
    let took = began.elapsed();
    server.assert_stored(stored_before, frames);
    frames as f64 / took.as_secs_f64()
}

/// Keeps frames in flight until the turn is over. Answers how many were acknowledged.
async fn send(address: SocketAddr, mut burst: Prepared, began: Instant) -> usize {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    stream.set_nodelay(true).expect("set");
    let (mut sent, mut acknowledged) = (0, 0);
    let mut answers = [0xff; FRAMES_IN_FLIGHT];
    loop {
        while sent - acknowledged + BURST <= FRAMES_IN_FLIGHT && began.elapsed() < TURN {
            stream.write_all(burst.next()).await.expect("sent");
            sent += BURST;
        }
        if acknowledged == sent {
            return acknowledged;
        }
        let count = stream.read(&mut answers).await.expect("answered");
        assert!(count > 0, "the server closed the connection");
        assert!(answers[..count].iter().all(|answer| *answer == 0x00), "a frame was refused");
        acknowledged += count;
    }
}
