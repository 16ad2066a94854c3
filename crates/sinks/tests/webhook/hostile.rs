//! Receivers that answer too much, too little, too slowly or nonsense. Each attempt ends in bounded time and
//! memory with an outcome, and the sink goes on.

use std::time::Duration;

use eventrelay_sinks::{Attempt, Outcome};
use serde_json::json;

use crate::receiver::{OK, Receiver, Reply};
use crate::sinks::{deliver, retried, webhook};

/// Long enough for a well-behaved answer on a busy machine, short enough to wait for.
const TIMEOUT_MS: u64 = 1500;

/// Delivers to a receiver that answers so at first and well afterwards; the second delivery must succeed.
async fn first_answer(reply: Reply) -> (Attempt, Receiver) {
    let receiver =
        Receiver::start(move |request| if request == 1 { reply.clone() } else { Reply::ok() }).await;
    let sink = webhook(&receiver.url(), &json!({"timeout_ms": TIMEOUT_MS}));
    let attempt = deliver(&sink).await;
    assert!(attempt.took < Duration::from_millis(TIMEOUT_MS * 5), "took {:?}", attempt.took);
    assert_eq!(deliver(&sink).await.outcome, Outcome::Delivered, "the sink lives");
    (attempt, receiver)
}

fn with_length(length: usize, body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n").as_bytes(), body].concat()
}

#[tokio::test]
async fn ten_megabytes_are_cut_and_the_connection_is_not_used_again() {
    let body = vec![b'x'; 10 * 1024 * 1024];
    let (attempt, mut receiver) = first_answer(Reply::Bytes(with_length(body.len(), &body))).await;
    assert_eq!(attempt.outcome, Outcome::Delivered);
    let response = attempt.response.unwrap();
    assert_eq!((response.body.len(), response.truncated), (4096, true));
    assert_eq!(receiver.so_far().0, 2);
}

#[tokio::test]
async fn a_little_too_much_is_read_away_and_the_connection_kept() {
    let body = vec![b'x'; 40_000];
    let (attempt, mut receiver) = first_answer(Reply::Bytes(with_length(body.len(), &body))).await;
    let response = attempt.response.unwrap();
    assert_eq!((response.body.len(), response.truncated), (4096, true));
    assert_eq!(receiver.so_far().0, 1);
}

#[tokio::test]
async fn a_body_without_end_is_cut() {
    let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    let chunk = [b"1000\r\n".as_slice(), &[b'x'; 0x1000], b"\r\n"].concat();
    let (attempt, _receiver) = first_answer(Reply::Endless(head, chunk)).await;
    assert_eq!(attempt.outcome, Outcome::Delivered);
    let response = attempt.response.unwrap();
    assert_eq!((response.body.len(), response.truncated), (4096, true));
    assert!(attempt.took < Duration::from_millis(TIMEOUT_MS), "cut by size, not by time");
}

#[tokio::test]
async fn a_trickling_body_is_cut_in_time_and_what_came_is_kept() {
    let (attempt, _receiver) =
        first_answer(Reply::Trickle(with_length(1_000_000, b"begin"), b"x".to_vec())).await;
    assert_eq!(attempt.outcome, Outcome::Delivered, "the status has said so");
    let response = attempt.response.unwrap();
    assert!(response.body.starts_with(b"beginx") && response.truncated, "{response:?}");
}

#[tokio::test]
async fn a_trickling_head_is_a_timeout() {
    let (attempt, _receiver) =
        first_answer(Reply::Trickle(b"HTTP/1.1 200 OK\r\nx: ".to_vec(), b"x".to_vec())).await;
    assert!(retried(&attempt).contains("did not answer within 1500 ms"), "{attempt:?}");
    assert_eq!(attempt.response, None);
}

#[tokio::test]
async fn silence_is_a_timeout() {
    let (attempt, _receiver) = first_answer(Reply::Silence).await;
    assert!(retried(&attempt).contains("did not answer within 1500 ms"), "{attempt:?}");
    assert!(attempt.took >= Duration::from_millis(TIMEOUT_MS));
}

#[tokio::test]
async fn headers_without_end_are_refused() {
    let (attempt, _receiver) =
        first_answer(Reply::Endless(b"HTTP/1.1 200 OK\r\nx: ".to_vec(), vec![b'x'; 4096])).await;
    assert!(retried(&attempt).contains("no valid answer"), "{attempt:?}");
    let header = b"x: y\r\n".repeat(100);
    let (attempt, _receiver) = first_answer(Reply::Endless(b"HTTP/1.1 200 OK\r\n".to_vec(), header)).await;
    assert!(retried(&attempt).contains("no valid answer"), "{attempt:?}");
}

#[tokio::test]
async fn interim_answers_without_end_are_a_timeout() {
    let interim = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(50);
    let (attempt, _receiver) = first_answer(Reply::Endless(Vec::new(), interim)).await;
    assert!(retried(&attempt).contains("did not answer"), "{attempt:?}");
}

#[tokio::test]
async fn bytes_that_are_not_utf8_are_kept_as_they_are() {
    let body = b"\xff\xfe\x00\xc3\x28";
    let (attempt, _receiver) = first_answer(Reply::Bytes(with_length(body.len(), body))).await;
    assert_eq!(attempt.outcome, Outcome::Delivered);
    let response = attempt.response.unwrap();
    assert_eq!((&response.body[..], response.truncated), (&body[..], false));
}

#[tokio::test]
async fn headers_that_are_not_ascii_do_no_harm() {
    let answer =
        b"HTTP/1.1 503 Caf\xc3\xa9\r\nretry-after: \xff\xfe\r\nx-\xc3: 1\r\ncontent-length: 0\r\n\r\n";
    let (attempt, _receiver) = first_answer(Reply::Bytes(answer.to_vec())).await;
    retried(&attempt);
    let answer = b"HTTP/1.1 200 OK\r\nx: \xe2\x82\xac\xff\r\ncontent-length: 0\r\n\r\n";
    let (attempt, _receiver) = first_answer(Reply::Bytes(answer.to_vec())).await;
    assert_eq!(attempt.outcome, Outcome::Delivered);
}

#[tokio::test]
async fn a_close_before_an_answer_is_a_retry_and_sent_once() {
    for reply in
        [Reply::BytesThenClose(Vec::new()), Reply::BytesThenClose(b"HTTP/1.1 200 OK\r\nx: ".to_vec())]
    {
        let (attempt, mut receiver) = first_answer(reply).await;
        assert!(retried(&attempt).contains("closed the connection before it answered"), "{attempt:?}");
        assert_eq!(receiver.so_far().1.len(), 2, "a fresh connection that fails is not tried again");
    }
}

#[tokio::test]
async fn a_reset_is_a_retry() {
    let (attempt, _receiver) = first_answer(Reply::Reset).await;
    retried(&attempt);
}

#[tokio::test]
async fn a_body_that_ends_early_is_marked_as_cut() {
    let (attempt, _receiver) = first_answer(Reply::BytesThenClose(with_length(100, b"0123456789"))).await;
    assert_eq!(attempt.outcome, Outcome::Delivered, "the status has said so");
    let response = attempt.response.unwrap();
    assert_eq!((&response.body[..], response.truncated), (&b"0123456789"[..], true));
}

#[tokio::test]
async fn what_is_not_http_is_a_retry() {
    for answer in [
        "SSH-2.0-OpenSSH_9.6\r\n",
        "\0\0\0\0",
        "HTTP/1.1 banana OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
    ] {
        let (attempt, _receiver) = first_answer(Reply::BytesThenClose(answer.as_bytes().to_vec())).await;
        assert_eq!(attempt.response, None, "{answer:?}");
        retried(&attempt);
    }
}

#[tokio::test]
async fn an_upgrade_that_nobody_asked_for_is_no_success() {
    let reply = Reply::Bytes(
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n".to_vec(),
    );
    let (attempt, _receiver) = first_answer(reply).await;
    retried(&attempt);
}

#[tokio::test]
async fn bytes_after_an_answer_do_not_become_the_next_answer() {
    let smuggled = [OK, b"HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n"].concat();
    let (attempt, mut receiver) = first_answer(Reply::Bytes(smuggled)).await;
    assert_eq!(attempt.outcome, Outcome::Delivered);
    assert_eq!(receiver.so_far().0, 2, "the connection was not used again");
}

#[tokio::test]
async fn nobody_there_is_a_retry() {
    let receiver = Receiver::always(Reply::ok()).await;
    let url = receiver.url();
    drop(receiver);
    let attempt = deliver(&webhook(&url, &json!({}))).await;
    assert!(retried(&attempt).contains("cannot be connected to"), "{attempt:?}");
}
