//! Clients that send a byte now and then, at every door: each has its time and no more.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::good_clients::GoodClients;
use crate::harness::{DEADLINE, SMALL_LOG, poll};
use crate::ports::{Port, Ports, Server};

/// At each door.
const SLOW_CLIENTS: usize = 50;
/// Each byte comes long before any deadline that starts anew with each byte.
const BETWEEN_BYTES: Duration = Duration::from_millis(100);

const SHORT_DEADLINES: &str = "
    [http]
    first_byte_timeout_ms = 1000
    head_timeout_ms = 1000
    [grpc]
    first_byte_timeout_ms = 1000
    idle_timeout_ms = 1000
    [tcp]
    idle_timeout_ms = 1000
    frame_timeout_ms = 1000
";

/// What a slow client would say if it had the time; longer than it gets to.
fn whole(port: Port) -> Vec<u8> {
    match port {
        Port::Http => {
            [b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n".to_vec(), b"X: y\r\n".repeat(500)].concat()
        }
        // A preface is 24 bytes, and 50 frames of settings that say nothing follow.
        Port::Grpc => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".iter().copied().chain([0; 1000]).collect(),
        Port::Frames => [&1000_u32.to_le_bytes()[..], &[7; 1000]].concat(),
        Port::Lines => format!(r#"{{"type":"t","source":"/s","data":"{}"}}"#, "x".repeat(1000)).into_bytes(),
    }
}

#[test]
fn slow_clients_at_every_door_are_cut_off_and_harm_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &format!("{SMALL_LOG}{SHORT_DEADLINES}"));
    let good = GoodClients::start(server.ports);
    let mut slow: Vec<(Port, Vec<u8>, TcpStream)> = Vec::new();
    for port in [Port::Http, Port::Grpc, Port::Frames, Port::Lines] {
        for _ in 0..SLOW_CLIENTS {
            slow.push((port, whole(port), connect(&server.ports, port)));
        }
    }
    let deadline = Instant::now() + DEADLINE;
    let mut at = 0;
    while !slow.is_empty() {
        assert!(Instant::now() < deadline, "{} slow clients are still there", slow.len());
        slow.retain_mut(|(_, bytes, stream)| {
            let sent = stream.write_all(&bytes[at..=at]).is_ok();
            sent && !is_closed(stream)
        });
        at += 1;
        std::thread::park_timeout(BETWEEN_BYTES);
    }
    let stored = good.stop();
    println!("{} slow clients were cut off after at most {at} bytes; {stored}", 4 * SLOW_CLIENTS);
    assert_eq!(server.durable_offset(), stored.events);
    poll::until("they are counted", || {
        let slow = server.metric("eventrelay_tcp_ended_connections_total{reason=\"frame_timeout\"}")?;
        (slow >= 2.0 * SLOW_CLIENTS as f64).then_some(())
    });
}

fn connect(ports: &Ports, port: Port) -> TcpStream {
    let stream = TcpStream::connect(ports.of(port)).unwrap();
    stream.set_nonblocking(true).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Whether the server has said its last.
fn is_closed(stream: &mut TcpStream) -> bool {
    let mut answer = [0; 4096];
    loop {
        match stream.read(&mut answer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() != std::io::ErrorKind::WouldBlock,
        }
    }
}
