//! Length-prefixed frames: what is stored, and what each byte says.

use eventrelay_event::DataKind;
use eventrelay_server::tcp::Decode;

use crate::support::{TestServer, frame};

#[tokio::test]
async fn a_frame_is_an_event_of_the_configured_type_and_source() {
    let server = TestServer::start_with(|options| {
        options.tenant = "acme".to_owned();
        options.event_type = "meter.read".to_owned();
        options.event_source = "/meters".to_owned();
    })
    .await;
    let mut client = server.connect().await;
    client.send(frame(b"\0\xff not text")).await;
    assert_eq!(client.receive(1).await, [0x00]);
    let stored = server.stored(0);
    assert_eq!((stored.tenant(), stored.event_type(), stored.source()), ("acme", "meter.read", "/meters"));
    let (kind, data) = stored.data().unwrap();
    assert_eq!((kind, &data[..]), (DataKind::Binary, &b"\0\xff not text"[..]));
}

#[tokio::test]
async fn frames_sent_on_and_on_are_answered_each_and_stored_in_their_order() {
    let server = TestServer::start().await;
    let mut client = server.connect().await;
    let count = 20_000;
    let frames: Vec<u8> = (0..count).flat_map(|index| frame(format!("payload {index}"))).collect();
    client.send(&frames).await;
    assert_eq!(client.receive(count).await, vec![0; count]);
    assert_eq!(server.log.durable_offset(), count as u64);
    for offset in (0..count).step_by(997) {
        let expected = format!("payload {offset}");
        assert_eq!(&server.stored(offset as u64).data().unwrap().1[..], expected.as_bytes());
    }
    server.until_metrics_say("eventrelay_tcp_accepted_total{framing=\"frames\"} 20000").await;
}

#[tokio::test]
async fn a_frame_that_trickles_in_is_taken_when_it_is_whole() {
    let server = TestServer::start().await;
    let mut client = server.connect().await;
    for byte in [frame("one"), frame("two")].concat() {
        client.send([byte]).await;
    }
    assert_eq!(client.receive(2).await, [0, 0]);
    assert_eq!(&server.stored(1).data().unwrap().1[..], b"two");
}

#[tokio::test]
async fn a_frame_as_large_as_may_be_is_taken_and_one_that_makes_too_large_an_event_costs_only_itself() {
    let server = TestServer::start_with(|options| {
        options.max_frame_bytes = 3 << 20;
    })
    .await;
    let mut client = server.connect().await;
    // A commit of the test's log takes a little less than 1 MiB.
    client.send([frame(vec![7; 900_000]), frame(vec![7; 2 << 20]), frame("good")].concat()).await;
    assert_eq!(client.receive(3).await, [0x00, 0x02, 0x00]);
    assert_eq!(server.stored(0).data().unwrap().1.len(), 900_000);
    assert_eq!(&server.stored(1).data().unwrap().1[..], b"good");
}

#[tokio::test]
async fn an_empty_frame_is_refused_among_good_ones() {
    let server = TestServer::start().await;
    let mut client = server.connect().await;
    client.send([frame("a"), frame(""), frame("b"), frame("")].concat()).await;
    assert_eq!(client.receive(4).await, [0x00, 0x01, 0x00, 0x01]);
    assert_eq!(server.log.durable_offset(), 2);
    server.until_metrics_say("eventrelay_tcp_refused_total{code=\"empty_frame\"} 2").await;
}

#[tokio::test]
async fn json_frames_are_events_and_each_is_refused_by_itself() {
    let server = TestServer::start_with(|options| options.decode = Decode::Json).await;
    let mut client = server.connect().await;
    let payloads = [
        r#"{"type":"a","source":"/s","idempotency_key":"k","data":1}"#,
        r#"not JSON"#,
        r#"[{"type":"a","source":"/s"}]"#,
        r#"{"type":"","source":"/s"}"#,
        r#"{"type":"b","source":"/s"}"#,
    ];
    client.send(payloads.map(frame).concat()).await;
    assert_eq!(client.receive(5).await, [0x00, 0x01, 0x01, 0x01, 0x00]);
    assert_eq!((server.stored(0).event_type(), server.stored(1).event_type()), ("a", "b"));
    // Repeated it is a duplicate, and accepted; the key with another event is refused, and its neighbours are not.
    let reused = r#"{"type":"a","source":"/s","idempotency_key":"k","data":2}"#;
    client.send([payloads[0], reused, payloads[4]].map(frame).concat()).await;
    assert_eq!(client.receive(3).await, [0x00, 0x03, 0x00]);
    assert_eq!(server.log.durable_offset(), 3);
}

#[tokio::test]
async fn what_was_sent_before_the_client_ended_is_answered() {
    let server = TestServer::start().await;
    let mut client = server.connect().await;
    client.send([frame("a"), frame("b")].concat()).await;
    client.finish_sending().await;
    assert_eq!(client.until_closed().await, [0, 0]);
    server.until_metrics_say("eventrelay_tcp_ended_connections_total{reason=\"client\"} 1").await;
}

#[tokio::test]
async fn a_burst_that_no_commit_can_hold_is_stored_by_several() {
    let server = TestServer::start_on_log(4096, |_| {}).await;
    let mut client = server.connect().await;
    client.send(frame("x").repeat(5000)).await;
    assert_eq!(client.receive(5000).await, vec![0; 5000]);
    let mut lines = server.connect_lines().await;
    lines.send(crate::support::line("").repeat(500)).await;
    for offset in 5000..5500 {
        assert_eq!(lines.receive_line().await["offset"], offset);
    }
}

#[tokio::test]
async fn what_cannot_be_stored_now_is_refused_and_the_connection_goes_on() {
    let server = TestServer::start().await;
    let (mut client, mut lines) = (server.connect().await, server.connect_lines().await);
    client.send(frame("stored")).await;
    assert_eq!(client.receive(1).await, [0x00]);
    let log = server.log.clone();
    tokio::task::spawn_blocking(move || log.close()).await.unwrap();
    for _ in 0..2 {
        client.send(frame("not stored").repeat(3)).await;
        assert_eq!(client.receive(3).await, [0x04; 3]);
        lines.send(crate::support::line("")).await;
        let refusal = lines.receive_line().await;
        assert_eq!((&refusal["code"], &refusal["retry_after"]), (&"shutting_down".into(), &5.into()));
    }
    assert_eq!(server.log.durable_offset(), 1);
    server.until_metrics_say("eventrelay_tcp_refused_total{code=\"shutting_down\"} 8").await;
}
