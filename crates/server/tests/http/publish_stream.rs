//! Events without end, one a line: each is answered as it becomes durable, while the body goes on.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::support::{Client, TestServer};

const LINE: &str = "{\"type\":\"t\",\"source\":\"/s\"}\n";
const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";

pub(crate) fn line(rest: &str) -> String {
    format!("{{\"type\":\"t\",\"source\":\"/s\"{rest}}}\n")
}

pub(crate) fn chunk(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

/// A stream of a client's: what it sends, and the lines that come back.
pub(crate) struct Stream {
    pub(crate) client: Client,
    pub(crate) head: String,
    /// What has come of the answer's body and is not yet a line.
    received: Vec<u8>,
    pub(crate) ended: bool,
}

impl Stream {
    /// Opens one with a chunked body; `headers` are whole lines.
    pub(crate) async fn open(server: &TestServer, headers: &str) -> Self {
        let mut client = server.connect().await;
        client.send(head(&format!("{CHUNKED}{headers}"))).await;
        Self::of(client).await
    }

    /// The stream of a client that has sent a head.
    pub(crate) async fn of(mut client: Client) -> Self {
        let head = client.read_head().await;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        Self { client, head, received: Vec::new(), ended: false }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.client.send(chunk(bytes)).await;
    }

    /// Ends the body.
    pub(crate) async fn finish(&mut self) {
        self.client.send("0\r\n\r\n").await;
    }

    /// The next line of the answer; none at its proper end.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.received.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            if self.ended {
                assert_eq!(self.received, b"", "the answer ends in the middle of a line");
                return None;
            }
            let size = self.client.read_past(b"\r\n").await;
            let size = usize::from_str_radix(std::str::from_utf8(&size).unwrap().trim(), 16).unwrap();
            let bytes = self.client.read_exactly(size + 2).await;
            self.received.extend_from_slice(&bytes[..size]);
            self.ended = size == 0;
        }
    }

    pub(crate) async fn receipt(&mut self) -> u64 {
        let answer = self.next().await.expect("a receipt");
        answer["offset"].as_u64().unwrap_or_else(|| panic!("no receipt: {answer}"))
    }

    /// The code of the next line, which ends the stream, and the number of the line that it is about.
    pub(crate) async fn last(&mut self) -> (String, u64) {
        let answer = self.next().await.expect("a last line");
        assert_eq!(answer["ends_stream"], true, "{answer}");
        assert_eq!(self.next().await, None, "something follows {answer}");
        (answer["code"].as_str().unwrap().to_owned(), answer["line"].as_u64().unwrap())
    }
}

pub(crate) fn head(headers: &str) -> String {
    format!(
        "POST /v1/events/stream HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n{headers}\r\n"
    )
}

#[tokio::test]
async fn receipts_come_back_before_the_body_ends() {
    let server = TestServer::start().await;
    let mut stream = Stream::open(&server, "").await;
    assert!(stream.head.contains("content-type: application/x-ndjson"), "{}", stream.head);
    for offset in 0..3 {
        stream.send(LINE).await;
        assert_eq!(stream.receipt().await, offset);
        assert_eq!(server.log.durable_offset(), offset + 1, "a receipt came before the event was durable");
    }
    stream.send(LINE.repeat(2000)).await;
    for offset in 3..2003 {
        assert_eq!(stream.receipt().await, offset);
    }
    stream.finish().await;
    assert_eq!(stream.next().await, None);
    // The connection goes on.
    assert_eq!(stream.client.publish(LINE).await.status, 201);
}

#[tokio::test]
async fn a_bad_line_is_refused_by_itself_and_numbered() {
    let server = TestServer::start().await;
    let mut stream = Stream::open(&server, "").await;
    let lines = [
        line(r#","idempotency_key":"k","data":1"#),
        line(r#","colour":"red""#),
        "\r\n\n".to_owned(),
        line(r#","idempotency_key":"k","data":2"#),
        "{not JSON\n".to_owned(),
        line(r#","idempotency_key":"k","data":1"#),
        line(""),
    ];
    stream.send(lines.concat()).await;
    assert_eq!(stream.receipt().await, 0);
    let unknown = stream.next().await.unwrap();
    assert_eq!(
        (&unknown["code"], &unknown["field"], &unknown["line"], unknown.get("ends_stream")),
        (&json!("unknown_field"), &json!("colour"), &json!(2), None)
    );
    let reused = stream.next().await.unwrap();
    assert_eq!((&reused["code"], &reused["line"]), (&json!("idempotency_key_reused"), &json!(5)));
    let malformed = stream.next().await.unwrap();
    assert_eq!((&malformed["code"], &malformed["line"]), (&json!("malformed_json"), &json!(6)));
    let again = stream.next().await.unwrap();
    assert_eq!((&again["offset"], &again["duplicate"]), (&json!(0), &json!(true)));
    assert_eq!(stream.receipt().await, 1);
    stream.finish().await;
    assert_eq!(stream.next().await, None);
}

#[tokio::test]
async fn a_body_with_a_length_ends_where_it_says_and_its_last_line_needs_no_line_feed() {
    let server = TestServer::start().await;
    let body = format!("{LINE}{}", LINE.trim_end());
    let mut client = server.connect().await;
    client.send(head(&format!("Content-Length: {}\r\n", body.len()))).await;
    client.send(&body).await;
    let mut stream = Stream::of(client).await;
    assert_eq!((stream.receipt().await, stream.receipt().await), (0, 1));
    assert_eq!(stream.next().await, None);
    assert_eq!(stream.client.get("/healthz").await.status, 200);

    let mut client = server.connect().await;
    client.send(head("Content-Length: 0\r\n")).await;
    assert_eq!(Stream::of(client).await.next().await, None);
}

#[tokio::test]
async fn half_an_event_at_the_end_is_not_taken() {
    let server = TestServer::start().await;
    let mut stream = Stream::open(&server, "").await;
    stream.send(format!("{LINE}{}", &LINE[..20])).await;
    assert_eq!(stream.receipt().await, 0);
    stream.finish().await;
    let half = stream.next().await.unwrap();
    assert_eq!((&half["code"], &half["line"]), (&json!("malformed_json"), &json!(2)));
    assert_eq!(stream.next().await, None);

    // What would be a whole event, had the body not been cut off behind it.
    let mut cut = Stream::open(&server, "").await;
    cut.send(LINE.trim_end()).await;
    cut.client.finish_sending().await;
    cut.client.until_closed().await;
    assert_eq!(server.log.durable_offset(), 1);
}

#[tokio::test]
async fn what_cannot_be_told_apart_ends_the_stream_after_the_answers_before_it() {
    let server = TestServer::start_with(|options| options.max_stream_line_bytes = 100).await;
    let long = format!("{{{}", " ".repeat(100));
    for (bad, code) in [
        (long.as_str(), "line_too_large"),
        ("[]\n", "not_an_object"),
        ("GET / HTTP/1.1\r\n", "not_an_object"),
    ] {
        let before = server.log.durable_offset();
        let mut stream = Stream::open(&server, "").await;
        stream.send([LINE, "\n", LINE, bad, LINE].concat()).await;
        assert_eq!((stream.receipt().await, stream.receipt().await), (before, before + 1));
        assert_eq!(stream.last().await, (code.to_owned(), 4));
        stream.client.finish_sending().await;
        stream.client.until_closed().await;
        assert_eq!(server.log.durable_offset(), before + 2, "a line behind {bad:?} was taken");
    }
}

#[tokio::test]
async fn a_client_that_asks_first_is_told_to_go_on() {
    let server = TestServer::start().await;
    let mut client = server.connect().await;
    client.send(head(&format!("{CHUNKED}Expect: 100-continue\r\n"))).await;
    assert_eq!(client.read_head().await, "HTTP/1.1 100 Continue");
    client.send(chunk(LINE)).await;
    let mut stream = Stream::of(client).await;
    assert_eq!(stream.receipt().await, 0);
    stream.send(LINE).await;
    assert_eq!(stream.receipt().await, 1);
    stream.finish().await;
    assert_eq!(stream.next().await, None);

    // One that is refused is not.
    let mut client = server.connect().await;
    let refused = "POST /v1/events/stream HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n";
    client.send(format!("{refused}{CHUNKED}Content-Type: application/json\r\n\r\n")).await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.code().as_str()), (415, "unsupported_content_type"));
}

#[tokio::test]
async fn what_the_head_alone_refuses_is_refused_before_the_stream() {
    let server = TestServer::start().await;
    let long_key = "x".repeat(240);
    for (headers, status, code) in [
        ("Content-Encoding: br\r\n".to_owned(), 415, "unsupported_content_encoding"),
        ("Content-Type: application/x-ndjson\r\n".to_owned(), 415, "unsupported_content_type"),
        (format!("Idempotency-Key: {long_key}\r\n"), 400, "invalid_idempotency_key"),
    ] {
        let mut client = server.connect().await;
        client.send(head(&format!("{CHUNKED}{headers}"))).await;
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{headers}");
    }
    let answer = server.connect().await.post("", "").await;
    assert_eq!(answer.status, 415);
    server.assert_unharmed().await;
}

#[tokio::test]
async fn the_heads_key_and_trace_are_for_every_event() {
    let server = TestServer::start().await;
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let headers = format!("Idempotency-Key: many\r\nTraceparent: {parent}\r\n");
    let own = line(r#","headers":{"traceparent":"own"},"idempotency_key":"mine""#);
    for duplicate in [false, true] {
        let mut stream = Stream::open(&server, &headers).await;
        // A repeated stream need not come in the same pieces.
        for piece in if duplicate {
            vec![[LINE, "\n", &own, LINE].concat()]
        } else {
            vec![LINE.to_owned(), own.clone(), LINE.to_owned()]
        } {
            stream.send(piece).await;
        }
        for offset in 0..3 {
            let receipt = stream.next().await.unwrap();
            assert_eq!((&receipt["offset"], &receipt["duplicate"]), (&json!(offset), &json!(duplicate)));
            let path = format!("/v1/events/{}", receipt["id"].as_str().unwrap());
            let stored = server.connect().await.get(&path).await.json();
            let (trace, key) =
                if offset == 1 { ("own", "mine") } else { (parent, ["many/0", "", "many/2"][offset]) };
            assert_eq!(
                (&stored["headers"], &stored["idempotency_key"]),
                (&json!({"traceparent": trace}), &json!(key))
            );
        }
        stream.finish().await;
        assert_eq!(stream.next().await, None);
    }
}

#[tokio::test]
async fn a_body_may_be_compressed_and_comes_out_as_it_comes_in() {
    let server = TestServer::start().await;
    let mut offset = 0;
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    let mut stream = Stream::open(&server, "Content-Encoding: gzip\r\n").await;
    for _ in 0..3 {
        gzip.write_all(LINE.as_bytes()).unwrap();
        gzip.flush().unwrap();
        stream.send(std::mem::take(gzip.get_mut())).await;
        assert_eq!(stream.receipt().await, offset);
        offset += 1;
    }
    stream.send(gzip.finish().unwrap()).await;
    stream.finish().await;
    assert_eq!(stream.next().await, None);

    let mut zstd = zstd::Encoder::new(Vec::new(), 3).unwrap();
    let mut stream = Stream::open(&server, "Content-Encoding: zstd\r\n").await;
    for _ in 0..3 {
        zstd.write_all(LINE.as_bytes()).unwrap();
        zstd.flush().unwrap();
        stream.send(std::mem::take(zstd.get_mut())).await;
        assert_eq!(stream.receipt().await, offset);
        offset += 1;
    }
    stream.send(zstd.finish().unwrap()).await;
    stream.finish().await;
    assert_eq!(stream.next().await, None);
}

#[tokio::test]
async fn a_body_that_cannot_be_decompressed_ends_the_stream_where_it_breaks() {
    let server = TestServer::start().await;
    for encoding in ["gzip", "zstd"] {
        let before = server.log.durable_offset();
        let mut good = match encoding {
            "gzip" => {
                let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
                gzip.write_all(LINE.as_bytes()).unwrap();
                gzip.finish().unwrap()
            }
            _ => zstd::encode_all(LINE.as_bytes(), 3).unwrap(),
        };
        let mut stream = Stream::open(&server, &format!("Content-Encoding: {encoding}\r\n")).await;
        good.extend_from_slice(b"no more of it, but this");
        stream.send(good).await;
        assert_eq!(stream.receipt().await, before);
        assert_eq!(stream.last().await, ("malformed_compression".to_owned(), 2));
    }
}
