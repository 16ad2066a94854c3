//! `PublishStream`: order, refusals in its midst, half-closing, numbers.

use std::collections::HashSet;

use eventrelay_server::proto::v1;
use eventrelay_server::proto::v1::publish_result::Outcome;
use tonic::Code;

use super::support::{Conversation, TestServer, code, event, keyed};

fn stored(result: &v1::PublishResult) -> &[v1::Receipt] {
    match result.outcome.as_ref().unwrap() {
        Outcome::Stored(receipts) => &receipts.receipts,
        Outcome::Refused(refusal) => panic!("refused: {refusal:?}"),
    }
}

fn refusal(result: &v1::PublishResult) -> &v1::Refusal {
    match result.outcome.as_ref().unwrap() {
        Outcome::Refused(refusal) => refusal,
        Outcome::Stored(_) => panic!("stored"),
    }
}

#[tokio::test]
async fn results_come_in_the_order_of_the_messages_and_so_do_offsets() {
    let server = TestServer::start().await;
    let mut stream = Conversation::open(&mut server.client().await).await;
    for sequence in 0..500 {
        stream.send(sequence * 3, vec![event("a"), event("b")]).await;
    }
    stream.half_close();
    for sequence in 0..500 {
        let result = stream.next().await.unwrap().unwrap();
        assert_eq!(result.sequence, sequence * 3);
        let offsets: Vec<u64> = stored(&result).iter().map(|receipt| receipt.offset).collect();
        assert_eq!(offsets, [sequence * 2, sequence * 2 + 1]);
    }
    assert_eq!(stream.next().await.unwrap(), None, "the stream ends well");
    assert!(stream.messages < 500, "no two results shared an answer, though many were in flight");
}

#[tokio::test]
async fn a_result_comes_without_waiting_for_more_messages() {
    let server = TestServer::start().await;
    let mut stream = Conversation::open(&mut server.client().await).await;
    for sequence in 1..=3 {
        stream.send(sequence, vec![event("t")]).await;
        let result = stream.next().await.unwrap().unwrap();
        assert_eq!((result.sequence, stored(&result)[0].offset), (sequence, sequence - 1));
        assert_eq!(server.log.durable_offset(), sequence, "a receipt came before the event was durable");
    }
}

#[tokio::test]
async fn a_refused_message_gets_its_place_and_the_stream_goes_on() {
    let server = TestServer::start().await;
    let mut stream = Conversation::open(&mut server.client().await).await;
    stream.send(1, vec![keyed("t", "k")]).await;
    stream.send(2, vec![event("t"), event("")]).await;
    stream.send(3, vec![keyed("t", "k")]).await;
    stream.send(4, vec![keyed("other", "k")]).await;
    stream.send(5, vec![]).await;
    stream.send(6, vec![event("t")]).await;
    stream.half_close();
    let mut results = Vec::new();
    while let Some(result) = stream.next().await.unwrap() {
        results.push(result);
    }
    assert_eq!(results.iter().map(|result| result.sequence).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    let invalid = refusal(&results[1]);
    assert_eq!(
        (invalid.code.as_str(), invalid.index, invalid.field.as_deref()),
        ("invalid_event", Some(1), Some("type"))
    );
    assert_eq!(invalid.status, Code::InvalidArgument as i32);
    let again = &stored(&results[2])[0];
    assert!(again.duplicate && again.id == stored(&results[0])[0].id);
    assert_eq!(refusal(&results[3]).code, "idempotency_key_reused");
    assert_eq!(refusal(&results[4]).code, "empty_batch");
    assert_eq!(stored(&results[5])[0].offset, 1);
    assert_eq!(server.log.durable_offset(), 2);
}

#[tokio::test]
async fn a_number_that_does_not_rise_ends_the_stream_after_what_was_due() {
    let server = TestServer::start().await;
    let mut stream = Conversation::open(&mut server.client().await).await;
    stream.send(7, vec![event("t")]).await;
    stream.send(7, vec![event("t")]).await;
    assert_eq!(stream.next().await.unwrap().unwrap().sequence, 7);
    let status = stream.next().await.unwrap_err();
    assert_eq!((status.code(), code(&status).as_str()), (Code::InvalidArgument, "invalid_sequence"));
    assert_eq!(server.log.durable_offset(), 1);
}

#[tokio::test]
async fn a_stream_that_says_nothing_ends_well() {
    let server = TestServer::start().await;
    let mut stream = Conversation::open(&mut server.client().await).await;
    stream.half_close();
    assert_eq!(stream.next().await.unwrap(), None);
}

#[tokio::test]
async fn many_streams_lose_and_mix_nothing() {
    const STREAMS: u64 = 8;
    const MESSAGES: u64 = 100;
    let server = TestServer::start().await;
    let client = server.client().await;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..STREAMS {
        let mut client = client.clone();
        tasks.spawn(async move {
            let mut stream = Conversation::open(&mut client).await;
            for sequence in 0..MESSAGES {
                stream.send(sequence, vec![keyed("t", &format!("{number}/{sequence}")); 1]).await;
            }
            stream.half_close();
            let mut offsets = Vec::new();
            while let Some(result) = stream.next().await.unwrap() {
                offsets.push(stored(&result)[0].offset);
            }
            offsets
        });
    }
    let mut seen = HashSet::new();
    while let Some(offsets) = tasks.join_next().await {
        let offsets = offsets.unwrap();
        assert_eq!(offsets.len() as u64, MESSAGES);
        assert!(offsets.is_sorted(), "a stream's messages reached the log out of order");
        seen.extend(offsets);
    }
    assert_eq!(seen.len() as u64, STREAMS * MESSAGES);
    assert_eq!(server.log.durable_offset(), STREAMS * MESSAGES);
}

#[tokio::test]
async fn a_window_smaller_than_a_message_still_lets_one_through_at_a_time() {
    let server = TestServer::start_with(|options| options.stream_in_flight_bytes = 1).await;
    let mut stream = Conversation::open(&mut server.client().await).await;
    for sequence in 0..50 {
        stream.send(sequence, vec![event("t")]).await;
    }
    stream.half_close();
    let mut results = 0;
    while let Some(result) = stream.next().await.unwrap() {
        assert_eq!(stored(&result)[0].offset, results);
        results += 1;
    }
    assert_eq!((results, stream.messages), (50, 50), "more than one was in flight");
}
