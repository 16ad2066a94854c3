//! Lines of JSON: a receipt or a problem for each.

use eventrelay_event::TraceContext;
use eventrelay_server::tcp::Decode;
use serde_json::json;

use crate::support::{TestServer, frame, line};

#[tokio::test]
async fn every_line_has_a_receipt_or_a_problem_in_its_order() {
    let server = TestServer::start().await;
    let mut client = server.connect_lines().await;
    let lines = [
        line(r#","idempotency_key":"k","data":{"n":1}"#),
        line(r#","colour":"red""#),
        "\r\n".to_owned(),
        line(r#","idempotency_key":"k","data":{"n":1}"#),
        line(r#","idempotency_key":"k","data":{"n":2}"#),
        line(""),
    ];
    client.send(lines.concat()).await;
    let first = client.receive_line().await;
    assert_eq!((&first["offset"], &first["duplicate"]), (&json!(0), &json!(false)));
    let unknown = client.receive_line().await;
    assert_eq!((&unknown["code"], &unknown["field"]), (&json!("unknown_field"), &json!("colour")));
    let again = client.receive_line().await;
    assert_eq!((&again["id"], &again["duplicate"]), (&first["id"], &json!(true)));
    assert_eq!(client.receive_line().await["code"], "idempotency_key_reused");
    let last = client.receive_line().await;
    assert_eq!(last["offset"], 1, "{last}");
    assert_eq!(server.stored(0).id().to_string(), first["id"]);
}

#[tokio::test]
async fn a_line_that_is_no_object_ends_the_connection_after_the_answers_before_it() {
    let server = TestServer::start().await;
    for bad in ["POST / HTTP/1.1\r\n", "[]\n", "\u{0}\n", "1\n"] {
        let before = server.log.durable_offset();
        let mut client = server.connect_lines().await;
        client.send([line("").as_str(), bad, &line("")].concat()).await;
        assert_eq!(client.receive_line().await["offset"], before);
        assert_eq!(client.receive_line().await["code"], "not_an_object", "{bad:?}");
        client.finish_sending().await;
        assert_eq!(client.until_closed().await, b"");
        assert_eq!(server.log.durable_offset(), before + 1, "the line behind {bad:?} was taken");
    }
}

#[tokio::test]
async fn a_line_over_the_limit_ends_the_connection() {
    let server = TestServer::start_with(|options| options.max_frame_bytes = 100).await;
    let mut client = server.connect_lines().await;
    client.send(format!("{}{{{}", line(""), " ".repeat(200))).await;
    assert_eq!(client.receive_line().await["offset"], 0);
    assert_eq!(client.receive_line().await["code"], "line_too_large");
    client.finish_sending().await;
    assert_eq!(client.until_closed().await, b"");
}

#[tokio::test]
async fn a_line_without_its_end_is_not_taken() {
    let server = TestServer::start().await;
    let mut client = server.connect_lines().await;
    client.send(line("").trim_end()).await;
    client.finish_sending().await;
    assert_eq!(client.receive_line().await["code"], "incomplete_line");
    assert_eq!(client.until_closed().await, b"");
    server.assert_unharmed(0).await;
}

#[tokio::test]
async fn many_lines_are_answered_each() {
    let server = TestServer::start().await;
    let mut client = server.connect_lines().await;
    let lines: String = (0..3000).map(|index| line(&format!(",\"data\":{index}"))).collect();
    client.send(lines).await;
    for offset in 0..3000 {
        assert_eq!(client.receive_line().await["offset"], offset);
    }
}

#[tokio::test]
async fn a_long_line_is_taken_in_a_few_reads() {
    let server = TestServer::start().await;
    let mut client = server.connect_lines().await;
    client.send([line(&format!(",\"data\":\"{}\"", "x".repeat(900_000))), line("")].concat()).await;
    assert_eq!(client.receive_line().await["offset"], 0);
    assert_eq!(client.receive_line().await["offset"], 1);
    assert!(server.stored(0).data().unwrap().1.len() > 900_000);
}

#[tokio::test]
async fn what_can_never_become_an_object_is_refused_before_its_line_ends() {
    let server = TestServer::start().await;
    for beginning in [&b"GET / HTTP/1.1"[..], b"  [", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"] {
        let mut client = server.connect_lines().await;
        client.send([line("").as_bytes(), beginning].concat()).await;
        assert!(client.receive_line().await["offset"].is_u64());
        assert_eq!(client.receive_line().await["code"], "not_an_object", "{beginning:?}");
        assert_eq!(client.until_closed_after_finish().await, b"");
    }
    server.assert_unharmed(3).await;
}

#[tokio::test]
async fn an_event_in_json_keeps_the_trace_that_it_brings() {
    let server = TestServer::start_with(|options| options.decode = Decode::Json).await;
    let (parent, state) = ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "a=b");
    let traced = line(&format!(r#","headers":{{"traceparent":"{parent}","tracestate":"{state}"}}"#));
    let mut lines = server.connect_lines().await;
    lines.send(&traced).await;
    assert_eq!(lines.receive_line().await["offset"], 0);
    let mut frames = server.connect().await;
    frames.send(frame(traced.trim_end())).await;
    assert_eq!(frames.receive(1).await, [0x00]);
    for offset in 0..2 {
        let stored = server.stored(offset);
        let trace = TraceContext::of(&stored).unwrap();
        assert_eq!((trace.traceparent, trace.tracestate), (parent, Some(state)), "{offset}");
    }
}
