//! Compressed bodies: taken, and bounded by what they become.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::support::{Answer, TestServer};

const EVENT: &str = r#"{"type":"t","source":"/s","data":{"n":1}}"#;

fn gzip(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes.as_ref()).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    zstd::encode_all(bytes.as_ref(), 3).unwrap()
}

/// Publishes a body of JSON with this encoding.
async fn publish(server: &TestServer, encoding: &str, body: impl AsRef<[u8]>) -> Answer {
    let headers = format!("Content-Type: application/json\r\nContent-Encoding: {encoding}\r\n");
    server.connect().await.post(&headers, body).await
}

#[tokio::test]
async fn gzip_and_zstd_bodies_are_taken() {
    let server = TestServer::start().await;
    // Of several members or frames, as tools that append make them.
    let (head, tail) = EVENT.split_at(10);
    let bodies = [
        ("gzip", gzip(EVENT)),
        ("x-gzip", [gzip(head), gzip(tail)].concat()),
        ("ZSTD", zstd(EVENT)),
        ("zstd", [zstd(head), zstd(tail)].concat()),
        ("identity", EVENT.as_bytes().to_vec()),
    ];
    for (offset, (encoding, body)) in bodies.iter().enumerate() {
        let answer = publish(&server, encoding, body).await;
        assert_eq!(answer.status, 201, "{encoding}: {answer:?}");
        assert_eq!(answer.json()["offset"], offset);
        let stored = server
            .connect()
            .await
            .get(&format!("/v1/events/{}", answer.json()["id"].as_str().unwrap()))
            .await;
        assert_eq!(stored.json()["data"], serde_json::json!({"n": 1}), "{encoding}");
    }
}

#[tokio::test]
async fn the_limit_holds_for_what_comes_out() {
    let server = TestServer::start_with(|options| {
        (options.max_body_bytes, options.body_memory_bytes) = (200_000, 1 << 20);
    })
    .await;
    let event = |bytes: usize| {
        let rest = bytes - r#"{"type":"t","source":"/s","data":""}"#.len();
        format!(r#"{{"type":"t","source":"/s","data":"{}"}}"#, "x".repeat(rest))
    };
    for (encoding, compress) in [("gzip", gzip as fn(String) -> Vec<u8>), ("zstd", zstd)] {
        assert_eq!(publish(&server, encoding, compress(event(200_000))).await.status, 201, "{encoding}");
        let answer = publish(&server, encoding, compress(event(200_001))).await;
        assert_eq!((answer.status, answer.code().as_str()), (413, "body_too_large"), "{encoding}");
        let bomb = compress(" ".repeat(50 << 20));
        assert!(bomb.len() < 200_000, "{encoding}: {}", bomb.len());
        let answer = publish(&server, encoding, bomb).await;
        assert_eq!((answer.status, answer.code().as_str()), (413, "body_too_large"), "{encoding}");
    }
    assert_eq!(server.log.durable_offset(), 2);
}

#[tokio::test]
async fn what_is_not_what_the_head_says_is_refused() {
    let server = TestServer::start().await;
    let (gzipped, zstandard) = (gzip(EVENT), zstd(EVENT));
    let mut flipped = gzipped.clone();
    let checksum = flipped.len() - 5;
    flipped[checksum] ^= 1;
    for (encoding, body) in [
        ("gzip", EVENT.as_bytes()),
        ("zstd", EVENT.as_bytes()),
        ("gzip", &zstandard),
        ("zstd", &gzipped),
        ("gzip", &gzipped[..gzipped.len() - 1]),
        ("zstd", &zstandard[..zstandard.len() - 1]),
        ("gzip", &[&gzipped[..], b"more"].concat()),
        ("zstd", &[&zstandard[..], b"more"].concat()),
        ("gzip", &flipped),
    ] {
        let answer = publish(&server, encoding, body).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, "malformed_compression"),
            "{encoding} {body:?}"
        );
    }
    server.assert_unharmed().await;
}

#[tokio::test]
async fn a_window_beyond_8_mib_is_refused() {
    let server = TestServer::start().await;
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(24).unwrap();
    encoder.write_all(EVENT.as_bytes()).unwrap();
    // Without it the frame would say how much there is, which makes a window as small as that.
    encoder.flush().unwrap();
    let body = encoder.finish().unwrap();
    let answer = publish(&server, "zstd", body).await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "malformed_compression"));
    server.assert_unharmed().await;
}

#[tokio::test]
async fn other_encodings_and_several_are_refused() {
    let server = TestServer::start().await;
    for encoding in ["br", "gzip, zstd", "deflate", "gzip\r\nContent-Encoding: gzip"] {
        let answer = publish(&server, encoding, gzip(EVENT)).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (415, "unsupported_content_encoding"),
            "{encoding}"
        );
    }
    server.assert_unharmed().await;
}
