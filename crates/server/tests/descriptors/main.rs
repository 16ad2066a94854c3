//! The process runs out of file descriptors. A binary of its own, since the limit is the process's.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code)]

#[path = "../fixtures/api_keys.rs"]
mod api_keys;
#[path = "../http/support.rs"]
mod support;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use support::TestServer;

#[tokio::test]
async fn accepting_goes_on_when_descriptors_are_to_be_had_again() {
    let server = TestServer::start().await;
    let mut early = server.connect().await;
    assert_eq!(early.get("/healthz").await.status, 200);

    let open = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
    let before = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(open + 16), maximum: before.maximum }).unwrap();
    // Taken without giving the server a turn, all that is left is the clients'.
    let mut clients = Vec::new();
    while let Ok(client) = std::net::TcpStream::connect(server.address) {
        clients.push(client);
    }
    assert!(!clients.is_empty());

    // Who is connected is still served.
    loop {
        let metrics = String::from_utf8(early.get("/metrics").await.body).unwrap();
        let line =
            metrics.lines().find(|line| line.starts_with("eventrelay_http_accept_errors_total")).unwrap();
        if !line.ends_with(" 0") {
            break;
        }
    }
    drop(clients);
    assert_eq!(server.connect().await.get("/healthz").await.status, 200);
    server.assert_unharmed().await;
}
