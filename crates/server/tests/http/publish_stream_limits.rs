//! Streams of any length in little memory, and clients that are slow, silent, deaf or many.

use std::time::Duration;

use eventrelay_event::Tenant;
use eventrelay_server::auth::{Author, NewApiKey, Scope};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::mpsc;

use crate::publish_stream::{Stream, chunk, head, line};
use crate::support::{PATIENCE, TestServer};

const LINE: &str = "{\"type\":\"t\",\"source\":\"/s\"}\n";

#[tokio::test]
async fn a_body_larger_than_every_limit_of_bodies_is_taken() {
    // Nothing of this could hold the 32 MiB that are sent.
    let server = TestServer::start_with(|options| {
        (options.max_body_bytes, options.body_memory_bytes) = (1000, 96 << 10);
        (options.max_stream_line_bytes, options.stream_in_flight_bytes) = (20_000, 64 << 10);
        options.body_timeout_ms = 1;
    })
    .await;
    const LINES: u64 = 2048;
    let sent = line(&format!(",\"data\":\"{}\"", "x".repeat(16 << 10)));
    let mut stream = Stream::open(&server, "").await;
    let (mut reading, mut writing) = stream.client.split();
    let sending = async {
        let sent = chunk(&sent);
        for _ in 0..LINES {
            writing.send(&sent).await;
        }
        writing.send("0\r\n\r\n").await;
    };
    let receiving = async {
        let received = reading.until_chunk_end().await;
        received.windows(9).filter(|window| window == b"\"offset\":").count() as u64
    };
    let ((), receipts) = tokio::join!(sending, receiving);
    assert_eq!((receipts, server.log.durable_offset()), (LINES, LINES));
}

#[tokio::test]
async fn a_bomb_is_taken_line_by_line_or_refused_by_its_first_long_one() {
    let server = TestServer::start_with(|options| {
        (options.max_body_bytes, options.body_memory_bytes) = (1000, 8 << 20);
        (options.max_stream_line_bytes, options.stream_in_flight_bytes) = (1000, 64 << 10);
    })
    .await;
    let blank_lines = vec![b'\n'; 64 << 20];
    let long_line = vec![b'{'; 64 << 20];
    for (bomb, code) in [(blank_lines, None), (long_line, Some("line_too_large"))] {
        let bomb = zstd::encode_all(&bomb[..], 3).unwrap();
        assert!(bomb.len() < 20_000, "{}", bomb.len());
        let mut stream = Stream::open(&server, "Content-Encoding: zstd\r\n").await;
        stream.send(zstd::encode_all(LINE.as_bytes(), 3).unwrap()).await;
        stream.receipt().await;
        stream.send(bomb).await;
        match code {
            Some(code) => assert_eq!(stream.last().await, (code.to_owned(), 2)),
            None => {
                stream.finish().await;
                assert_eq!(stream.next().await, None);
            }
        }
    }
}

#[tokio::test]
async fn a_client_that_reads_no_answers_is_cut_off_and_harms_nobody_else() {
    let server = TestServer::start_with(|options| options.write_timeout_ms = 200).await;
    let mut deaf = server.connect().await;
    deaf.send(head("Transfer-Encoding: chunked\r\n")).await;
    let lines = chunk(LINE.repeat(1000));
    let flood = async { while deaf.try_send(&lines).await {} };
    let others = async {
        let mut stream = Stream::open(&server, "").await;
        for _ in 0..20 {
            stream.send(LINE).await;
            stream.receipt().await;
        }
    };
    let both = async { tokio::join!(flood, others) };
    tokio::time::timeout(PATIENCE, both).await.expect("it is cut off");
    until_metric(&server, "eventrelay_http_publish_streams 0").await;
    let metrics = server.connect().await.get("/metrics").await;
    let metrics = String::from_utf8(metrics.body).unwrap();
    // Which of the two notices first, the stream or its connection, is up to chance.
    let ends = ["write_timeout", "abandoned", "incomplete_body"];
    let counted = |end| format!("eventrelay_http_ended_publish_streams_total{{reason=\"{end}\"}} 1");
    assert!(ends.into_iter().any(|end| metrics.contains(&counted(end))), "{metrics}");
}

#[tokio::test]
async fn silence_ends_a_stream_and_half_a_line_has_its_time() {
    let server = TestServer::start_with(|options| options.stream_idle_timeout_ms = 100).await;
    let mut silent = Stream::open(&server, "").await;
    silent.send(LINE).await;
    assert_eq!(silent.receipt().await, 0);
    assert_eq!(silent.last().await, ("request_timeout".to_owned(), 2));

    let server = TestServer::start_with(|options| options.stream_line_timeout_ms = 100).await;
    let mut slow = Stream::open(&server, "").await;
    let trickle = async {
        // It never ends its line, however busy it looks.
        while slow.client.try_send(chunk("{")).await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, trickle).await.expect("it is cut off");
    server.assert_unharmed().await;
}

#[tokio::test]
async fn streams_are_limited_and_places_given_back() {
    let server = TestServer::start_with(|options| options.max_publish_streams = 1).await;
    let mut first = Stream::open(&server, "").await;
    let mut client = server.connect().await;
    client.send(head("Content-Length: 0\r\n")).await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "too_many_streams"));
    first.finish().await;
    assert_eq!(first.next().await, None);
    until_metric(&server, "eventrelay_http_publish_streams 0").await;
    Stream::open(&server, "").await;
}

#[tokio::test]
async fn memory_that_is_not_there_is_waited_for_and_then_refused() {
    let server = TestServer::start_with(|options| {
        (options.max_body_bytes, options.body_memory_bytes) = (100, 50_000);
        (options.max_stream_line_bytes, options.stream_in_flight_bytes) = (50_000, 50_000);
        options.body_memory_wait_ms = 50;
    })
    .await;
    // Beyond what every stream has of its own.
    let half_line = format!("{{\"type\":\"t\",{}", " ".repeat(45_000));
    let mut first = Stream::open(&server, "").await;
    first.send(&half_line).await;
    until_metric(&server, &format!("eventrelay_http_request_body_bytes_total {}", half_line.len())).await;
    let mut second = Stream::open(&server, "").await;
    second.send(&half_line).await;
    // Whichever came first has it.
    second.send("\"source\":\"/s\"}\n").await;
    let answer = second.next().await.unwrap();
    assert_eq!((&answer["code"], &answer["ends_stream"]), (&"overloaded".into(), &true.into()), "{answer}");
    first.send("\"source\":\"/s\"}\n").await;
    assert_eq!(first.receipt().await, 0);
    first.finish().await;
    assert_eq!(first.next().await, None);
}

#[tokio::test]
async fn a_drain_answers_what_was_received_and_says_why_the_stream_ends() {
    let mut server = TestServer::start().await;
    let mut busy = Stream::open(&server, "").await;
    let mut idle = Stream::open(&server, "").await;
    busy.send(LINE.repeat(3)).await;
    busy.receipt().await;
    server.begin_shutdown();
    assert_eq!((busy.receipt().await, busy.receipt().await), (1, 2));
    assert_eq!(busy.last().await, ("shutting_down".to_owned(), 4));
    assert_eq!(idle.last().await, ("shutting_down".to_owned(), 1));
    for stream in [&mut busy, &mut idle] {
        stream.client.finish_sending().await;
        stream.client.until_closed().await;
    }
    assert_eq!(server.stopped().await.cut_off, 0);
}

#[tokio::test]
async fn a_stream_is_its_keys_and_ends_with_it() {
    let server = TestServer::start_asking_for_keys(true, |_| {}).await;
    let mut keys = Vec::new();
    for scope in [Scope::Publish, Scope::Read] {
        let scopes = [scope].into_iter().collect();
        let new = NewApiKey {
            name: "test".to_owned(),
            tenant: Tenant::parse("acme").unwrap(),
            scopes,
            lifetime: None,
        };
        keys.push(server.api_keys.create(new, &Author::system()).await.unwrap());
    }
    let mut client = server.connect().await;
    client.send(head(&format!("X-Api-Key: {}\r\nContent-Length: 0\r\n", keys[1].0.expose()))).await;
    assert_eq!(client.answer().await.code(), "missing_scope");

    let headers = format!("X-Api-Key: {}\r\n", keys[0].0.expose());
    let (mut idle, mut busy) = (Stream::open(&server, &headers).await, Stream::open(&server, &headers).await);
    busy.send(LINE).await;
    assert_eq!(busy.receipt().await, 0);
    let record = server.log.read(0).unwrap().unwrap().record(0).unwrap();
    let event = eventrelay_event::StoredEvent::decode(0, record.append_time_micros, record.payload).unwrap();
    assert_eq!(event.tenant(), "acme");
    server.api_keys.revoke(keys[0].1.clone(), &Author::system()).await.unwrap();
    assert_eq!(idle.last().await, ("unauthenticated".to_owned(), 1));
    busy.client.try_send(chunk(LINE)).await;
    assert_eq!(busy.last().await.0, "unauthenticated");
    assert_eq!(server.log.durable_offset(), 1);
}

#[tokio::test]
async fn http2_streams_both_ways_and_a_deaf_one_leaves_the_others_alone() {
    let server = TestServer::start_with(|options| options.write_timeout_ms = 200).await;
    let socket = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await.unwrap();
    tokio::spawn(connection);
    let mut open = async || {
        let (pieces, receiver) = mpsc::channel::<&'static str>(1);
        let body = futures_util::stream::unfold(receiver, |mut receiver| async {
            let piece = receiver.recv().await?;
            Some((Ok::<_, std::convert::Infallible>(Frame::data(bytes::Bytes::from(piece))), receiver))
        });
        let request = http::Request::post("http://localhost/v1/events/stream")
            .header("content-type", "application/x-ndjson")
            .body(StreamBody::new(Box::pin(body)))
            .unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), 200);
        (pieces, response.into_body())
    };
    let (deaf_pieces, deaf) = open().await;
    let (pieces, mut body) = open().await;
    let lines: &'static str = LINE.repeat(1000).leak();
    let flood = async {
        // Until it is reset.
        while deaf_pieces.send(lines).await.is_ok() {}
    };
    let other = async {
        for offset in 1..50 {
            pieces.send(LINE).await.unwrap();
            let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
            let receipt: serde_json::Value = serde_json::from_slice(&frame).unwrap();
            assert!(receipt["offset"].is_u64(), "{offset}: {receipt}");
        }
        drop(pieces);
        let rest = body.collect().await.expect("it ends well").to_bytes();
        assert_eq!(rest, "", "something follows the last receipt");
    };
    let both = async { tokio::join!(flood, other) };
    tokio::time::timeout(PATIENCE, both).await.expect("the deaf one is cut off");
    let end = tokio::time::timeout(PATIENCE, deaf.collect()).await.unwrap();
    assert!(end.is_err(), "an answer that was cut off looks whole");
}

async fn until_metric(server: &TestServer, wanted: &str) {
    let wait = async {
        loop {
            let metrics = server.connect().await.get("/metrics").await;
            if String::from_utf8_lossy(&metrics.body).lines().any(|line| line == wanted) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("no {wanted:?}"));
}
