//! Durable events a second over TCP, each acknowledged by itself.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::in_process::runtime;
use crate::server::Server;
use crate::table::{Bar, Table};

const CONNECTIONS: usize = 16;
const FRAMES_IN_FLIGHT: usize = 256;
const PAYLOAD_BYTES: usize = 256;
const TURN: Duration = Duration::from_secs(4);

pub(crate) fn pipelined_frames(directory: &Path, table: &mut Table) {
    let runtime = runtime();
    let server = Server::start(directory, "");
    let began = Instant::now();
    let acknowledged: usize = runtime.block_on(async {
        let tasks: Vec<_> = (0..CONNECTIONS).map(|_| tokio::spawn(send(server.frames, began))).collect();
        let mut acknowledged = 0;
        for task in tasks {
            acknowledged += task.await.expect("a connection ends well");
        }
        acknowledged
    });
    let rate = acknowledged as f64 / began.elapsed().as_secs_f64();
    let beside = format!("{:.0} MB/s of payload, each frame acknowledged", rate * PAYLOAD_BYTES as f64 / 1e6);
    table.add(
        "TCP, 16 connections, 256 frames of 256 B in flight on each",
        rate,
        "events/s",
        &beside,
        Bar::AtLeast(500_000.0),
    );
}

/// Keeps frames in flight until the turn is over. Answers how many were acknowledged.
async fn send(address: SocketAddr, began: Instant) -> usize {
    let mut frame = (PAYLOAD_BYTES as u32).to_le_bytes().to_vec();
    frame.resize(frame.len() + PAYLOAD_BYTES, b'x');
    let burst = frame.repeat(FRAMES_IN_FLIGHT);
    let mut stream = TcpStream::connect(address).await.expect("connected");
    stream.set_nodelay(true).expect("set");
    stream.write_all(&burst).await.expect("sent");
    let (mut sent, mut acknowledged) = (FRAMES_IN_FLIGHT, 0);
    let mut answers = [0xff; FRAMES_IN_FLIGHT];
    while acknowledged < sent {
        let count = stream.read(&mut answers).await.expect("answered");
        assert!(count > 0, "the server closed the connection");
        assert!(answers[..count].iter().all(|answer| *answer == 0x00), "a frame was refused");
        acknowledged += count;
        if began.elapsed() < TURN {
            stream.write_all(&burst[..count * frame.len()]).await.expect("sent");
            sent += count;
        }
    }
    acknowledged
}
