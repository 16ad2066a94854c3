//! Ten thousand connections that say nothing, or nothing more.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpSocket;

use crate::good_clients::GoodClients;
use crate::harness::{DEADLINE, SMALL_LOG, poll};
use crate::ports::{Port, Ports, Server};

/// How many at each door.
const AT_DOORS: [(Port, usize); 4] =
    [(Port::Http, 4_000), (Port::Grpc, 2_000), (Port::Frames, 2_000), (Port::Lines, 2_000)];
const TOGETHER: usize = 10_000;
/// The clients' own ends, and what else a test process has open.
const OPEN_FILES: u64 = TOGETHER as u64 + 1_000;
/// So that no address has more connections than the limit on one address is by default.
const ADDRESSES: u8 = 16;

/// Room for all of them, and time to look at them.
const ROOM: &str = "
    [http]
    max_connections = 5000
    first_byte_timeout_ms = 600000
    idle_timeout_ms = 600000
    [grpc]
    max_connections = 2500
    first_byte_timeout_ms = 600000
    idle_timeout_ms = 600000
    keep_alive_interval_ms = 600000
    [tcp]
    max_connections = 5000
    idle_timeout_ms = 600000
";

/// What the server may take, all together: a third more than measured, in a debug build.
const RESIDENT_LIMIT_MIB: u64 = 256;

#[test]
fn ten_thousand_idle_connections_cost_little_and_hold_up_nobody() {
    raise_open_files();
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &format!("{SMALL_LOG}{ROOM}"));
    let mebibytes = || server.relay.resident_bytes() >> 20;
    let before = mebibytes();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut idle = Vec::with_capacity(TOGETHER);
    let mut connected = vec![];
    for (port, count) in AT_DOORS {
        for n in 0..count {
            idle.push(runtime.block_on(connect(&server.ports, port, n)));
        }
        connected.push((port, mebibytes()));
    }
    let open = || {
        let metrics = crate::http::get(server.ports.http, "/metrics").body;
        ["http", "grpc", "tcp"].map(|door| {
            crate::ports::sample(&metrics, &format!("eventrelay_{door}_connections")).unwrap_or(0.0)
        })
    };
    poll::until("all of them are connected", || {
        let [http, grpc, tcp] = open();
        (http >= 4_000.0 && grpc >= 2_000.0 && tcp >= 4_000.0).then_some(())
    });
    let with_them = mebibytes();
    let good = GoodClients::start(server.ports);
    let stored = good.stop();
    let after_events = mebibytes();
    println!(
        "resident: {before} MiB before, {with_them} MiB with {TOGETHER} idle connections ({connected:?}), \
         {after_events} MiB after; {stored}"
    );
    assert!(after_events <= RESIDENT_LIMIT_MIB, "{after_events} MiB");
    // None of them was closed to make room for another.
    let [http, grpc, tcp] = open();
    assert!(http >= 4_000.0 && grpc >= 2_000.0 && tcp >= 4_000.0, "{http} {grpc} {tcp}");
    assert_eq!(server.durable_offset(), stored.events);
    drop(idle);
    poll::until("they are forgotten", || {
        let [http, grpc, tcp] = open();
        (http <= 2.0 && grpc == 0.0 && tcp == 0.0).then_some(())
    });
    assert_eq!(server.relay.terminate().code(), Some(0));
}

/// The test has as many sockets as the server, which raises its own limit.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.map(|most| most.max(OPEN_FILES));
    // More than the hard limit is for root alone.
    let raised = setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most });
    assert!(raised.is_ok(), "needs a limit of {OPEN_FILES} open files (ulimit -Hn); there is {limit:?}");
}

/// A connection from one of several addresses. Every other one has said something and been answered.
async fn connect(ports: &Ports, port: Port, n: usize) -> TcpStream {
    let address = Ipv4Addr::new(127, 0, 0, 2 + u8::try_from(n % usize::from(ADDRESSES)).unwrap());
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((address, 0))).unwrap();
    let stream = socket.connect(ports.of(port)).await.unwrap().into_std().unwrap();
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut stream = stream;
    if n.is_multiple_of(2) {
        return stream;
    }
    match port {
        Port::Http => say(&mut stream, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        // A preface and empty settings, which are answered with settings.
        Port::Grpc => say(&mut stream, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"),
        // Nothing is stored of a refused payload, and the connection goes on.
        Port::Frames => say(&mut stream, &[0; 4]),
        Port::Lines => say(&mut stream, b"{}\n"),
    }
    stream
}

fn say(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).unwrap();
    assert!(stream.read(&mut [0; 4096]).unwrap() > 0, "it is answered");
}
