//! Shutting down: what was begun is finished, and streams are told.

use eventrelay_server::proto::v1;
use tonic::Code;

use super::support::{Conversation, TestServer, code, event, publish, within};

#[tokio::test]
async fn open_streams_are_told_and_the_server_ends_at_once() {
    let mut server = TestServer::start().await;
    let mut client = server.client().await;
    let mut publishing = Conversation::open(&mut client).await;
    publishing.send(1, vec![event("t")]).await;
    assert_eq!(publishing.next().await.unwrap().unwrap().sequence, 1);
    let request = v1::SubscribeRequest { start: None };
    let mut subscribed = client.subscribe(request).await.unwrap().into_inner();

    server.begin_shutdown();
    let status = publishing.next().await.unwrap_err();
    assert_eq!((status.code(), code(&status).as_str()), (Code::Unavailable, "shutting_down"));
    let status = within(subscribed.message()).await.unwrap_err();
    assert_eq!((status.code(), code(&status).as_str()), (Code::Unavailable, "shutting_down"));
    assert!(publish(&mut client, vec![event("t")]).await.is_err(), "a new call was taken");
    assert_eq!(server.stopped().await.cut_off, 0);
}

#[tokio::test]
async fn every_message_that_was_stored_is_answered_before_the_end() {
    let mut server = TestServer::start().await;
    let mut stream = Conversation::open(&mut server.client().await).await;
    for sequence in 0..1000 {
        stream.send(sequence, vec![event("t")]).await;
    }
    assert_eq!(stream.next().await.unwrap().unwrap().sequence, 0);
    server.begin_shutdown();
    let mut answered = 1;
    let ended = loop {
        match stream.next().await {
            Ok(Some(result)) => {
                assert_eq!(result.sequence, answered);
                answered += 1;
            }
            Ok(None) => break None,
            Err(status) => break Some(code(&status)),
        }
    };
    assert_eq!(ended.as_deref(), Some("shutting_down"));
    let log = server.log.clone();
    assert_eq!(server.stopped().await.cut_off, 0);
    assert_eq!(log.durable_offset(), answered, "stored and answered are not the same");
}

#[tokio::test]
async fn a_call_that_does_not_end_is_cut_off_in_time() {
    let mut server = TestServer::start_with(|options| options.drain_timeout_ms = 50).await;
    let mut client = server.client().await;
    let reflection = tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient::new(
        server.channel().await,
    );
    // A stream of another's making, which knows of no shutdown.
    let mut reflection = reflection;
    let held = reflection.server_reflection_info(futures_util::stream::pending()).await.unwrap();
    publish(&mut client, vec![event("t")]).await.unwrap();
    server.begin_shutdown();
    assert_eq!(server.stopped().await.cut_off, 1);
    drop(held);
}
