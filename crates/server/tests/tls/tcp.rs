//! Frames and lines over TLS: pipelined, half-closed, and never acknowledged by accident.

use tokio::io::AsyncReadExt;

use crate::support::{Authority, Client, Ended, certified, until};
use crate::tcp_server::{TestServer, frame, line};

async fn start() -> (TestServer, Authority) {
    let (authority, files) = certified();
    (TestServer::start_with(|options| options.tls = files.options()).await, authority)
}

#[tokio::test]
async fn what_was_sent_before_the_end_is_acknowledged_after_it() {
    let (server, authority) = start().await;
    for (round, tcp_too) in [(1, true), (2, false)] {
        let mut client = Client::connect(server.frames_address(), authority.client(&[])).await;
        client.send(frame("pipelined").repeat(5_000)).await;
        match tcp_too {
            true => client.finish_sending().await,
            false => client.say_close_notify().await,
        }
        assert_eq!(client.until_ended().await, (vec![0; 5_000], Ended::Properly));
        assert_eq!(server.log.durable_offset(), round * 5_000);
    }
    server.until_metrics_say("eventrelay_tcp_ended_connections_total{reason=\"client\"} 2").await;
}

#[tokio::test]
async fn a_tcp_stream_that_ends_without_a_word_is_an_end_too() {
    let (server, authority) = start().await;
    let mut client = Client::connect(server.frames_address(), authority.client(&[])).await;
    client.send([frame("whole"), frame("cut short")[..7].to_vec()].concat()).await;
    let (socket, _) = client.stream.get_mut();
    tokio::io::AsyncWriteExt::shutdown(socket).await.unwrap();
    assert_eq!(client.until_ended().await, (vec![0], Ended::Properly));
    server.until_metrics_say("eventrelay_tcp_ended_connections_total{reason=\"half_payload\"} 1").await;
    assert_eq!(server.log.durable_offset(), 1);
}

#[tokio::test]
async fn frames_are_found_however_they_are_cut_into_records() {
    let (server, authority) = start().await;
    let mut client = Client::connect(server.frames_address(), authority.client(&[])).await;
    for byte in frame("byte by byte") {
        client.send([byte]).await;
    }
    assert_eq!(client.receive(1).await, [0]);
    let large = "x".repeat(700_000);
    client.send([frame(&large), frame("after it")].concat()).await;
    assert_eq!(client.receive(2).await, [0, 0]);
    assert_eq!(server.stored(1).data().unwrap().1.len(), 700_000);
}

#[tokio::test]
async fn lines_are_answered() {
    let (server, authority) = start().await;
    let mut client = Client::connect(server.lines_address(), authority.client(&[])).await;
    client.send(line("").repeat(300)).await;
    for offset in 0..300 {
        let receipt: serde_json::Value = serde_json::from_slice(&client.receive_past(b"\n").await).unwrap();
        assert_eq!(receipt["offset"], offset);
    }
    client.send("no object\n").await;
    let (refusal, ended) = client.until_ended().await;
    let refusal: serde_json::Value = serde_json::from_slice(&refusal).unwrap();
    assert_eq!((refusal["code"].as_str(), ended), (Some("not_an_object"), Ended::Properly));
}

#[tokio::test]
async fn a_client_that_forgot_tls_hears_nothing_that_it_could_take_for_an_acknowledgement() {
    let (server, _) = start().await;
    // The first byte of a frame is its length's: 0x16 is also that of a TLS record, and 0x10316 that of a likely one.
    for (length, why) in [(5, "not_tls"), (0x16, "tls_handshake_failed"), (0x1_0316, "tls_handshake_failed")]
    {
        let mut client = server.connect().await;
        let _ = client.try_send(frame(vec![1; length]).repeat(20)).await;
        assert_eq!(client.until_closed_after_finish().await, b"", "{length}");
        let counted = format!("eventrelay_tcp_refused_connections_total{{reason=\"{why}\"}}");
        until(|| server.metrics().contains(&counted)).await;
    }
    let mut client = server.connect_lines().await;
    client.send(line("")).await;
    assert_eq!(client.until_closed().await, b"");
    assert_eq!(server.log.durable_offset(), 0);
}

#[tokio::test]
async fn tls_on_a_port_that_speaks_none_fails_cleanly() {
    let (authority, _) = certified();
    // A short first message looks like a part of a frame.
    let server = TestServer::start_with(|options| options.frame_timeout_ms = 200).await;
    for address in [server.frames_address(), server.lines_address()] {
        assert!(Client::try_connect(address, authority.client(&[])).await.is_err());
    }
    server.assert_unharmed(0).await;
}

#[tokio::test]
async fn the_server_says_goodbye_when_it_ends_a_connection() {
    let (authority, files) = certified();
    let mut server = TestServer::start_with(|options| {
        (options.tls, options.idle_timeout_ms) = (files.options(), 200);
    })
    .await;
    let mut idle = Client::connect(server.frames_address(), authority.client(&[])).await;
    idle.send(frame("a")).await;
    assert_eq!(idle.until_ended().await, (vec![0], Ended::Properly));
    let mut drained = Client::connect(server.frames_address(), authority.client(&[])).await;
    drained.send(frame("b").repeat(1_000)).await;
    drained.receive(1).await;
    server.begin_shutdown();
    // The system may have received a part of them only; what was not acknowledged is not stored.
    let (acknowledged, ended) = drained.until_ended().await;
    assert_eq!((server.log.durable_offset(), ended), (2 + acknowledged.len() as u64, Ended::Properly));
}

#[tokio::test]
async fn a_connection_too_many_is_closed_without_a_handshake() {
    let (authority, files) = certified();
    let server = TestServer::start_with(|options| {
        (options.tls, options.max_connections) = (files.options(), 1);
    })
    .await;
    let mut first = Client::connect(server.frames_address(), authority.client(&[])).await;
    first.send(frame("a")).await;
    first.receive(1).await;
    let mut second = tokio::net::TcpStream::connect(server.frames_address()).await.unwrap();
    let mut said = Vec::new();
    second.read_to_end(&mut said).await.unwrap();
    assert_eq!(said, b"", "0x04 would be no word of TLS");
    first.send(frame("b")).await;
    assert_eq!(first.receive(1).await, [0]);
}
