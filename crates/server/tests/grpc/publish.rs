//! `Publish`: receipts, repetitions, refusals.

use eventrelay_server::proto::v1;
use tonic::Code;
use tonic_types::StatusExt;

use super::support::{TestServer, code, event, keyed, publish};

#[tokio::test]
async fn what_is_published_is_durable_and_can_be_looked_up() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let sent = v1::Event {
        data: Some(v1::event::Data::Json(r#"{"order":1}"#.to_owned())),
        headers: [("traceparent".to_owned(), "00-a".to_owned())].into(),
        ..event("order.created")
    };
    let receipts = publish(&mut client, vec![sent.clone(), event("other")]).await.unwrap();
    assert_eq!(receipts.iter().map(|receipt| receipt.offset).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(server.log.durable_offset(), 2);

    let request = v1::GetEventRequest { id: receipts[0].id.clone() };
    let found = client.get_event(request).await.unwrap().into_inner().event.unwrap();
    assert_eq!((found.id, found.offset, found.event), (receipts[0].id.clone(), 0, Some(sent)));
}

#[tokio::test]
async fn an_id_that_is_nobodys_answers_like_one_that_is_no_id() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let real = publish(&mut client, vec![event("t")]).await.unwrap().remove(0).id;
    // The same offset at another time.
    let other = format!("00000000{}", &real[8..]);
    for id in [other, "x".to_owned(), String::new()] {
        let status = client.get_event(v1::GetEventRequest { id }).await.unwrap_err();
        assert_eq!((status.code(), code(&status)), (Code::NotFound, "event_not_found".to_owned()));
    }
}

#[tokio::test]
async fn a_repeated_publish_gets_the_first_receipt() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let first = publish(&mut client, vec![keyed("t", "k")]).await.unwrap();
    let again = publish(&mut client, vec![event("t"), keyed("t", "k")]).await.unwrap();
    assert!(!first[0].duplicate && !again[0].duplicate && again[1].duplicate);
    assert_eq!((&first[0].id, first[0].offset), (&again[1].id, again[1].offset));
    assert_eq!(server.log.durable_offset(), 2);
}

#[tokio::test]
async fn refusals_have_the_codes_that_http_has_and_store_nothing() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    publish(&mut client, vec![keyed("t", "k")]).await.unwrap();
    let json = |text: &str| v1::Event { data: Some(v1::event::Data::Json(text.to_owned())), ..event("t") };
    let text = v1::Event { data: Some(v1::event::Data::Text("x".to_owned())), ..event("t") };
    let large = v1::Event { data: Some(v1::event::Data::Binary(vec![0; 1 << 20].into())), ..event("t") };
    let no_source = v1::Event { source: String::new(), ..event("t") };
    let cases = [
        (vec![], "empty_batch", Code::InvalidArgument, None),
        (vec![event("t"), event("")], "invalid_event", Code::InvalidArgument, Some(("1", "type"))),
        (vec![no_source], "invalid_event", Code::InvalidArgument, Some(("0", "source"))),
        (vec![event("t"), json("{")], "malformed_json", Code::InvalidArgument, Some(("1", "json"))),
        (vec![json(&"[".repeat(500))], "json_too_deep", Code::InvalidArgument, Some(("0", "json"))),
        (vec![text], "invalid_event", Code::InvalidArgument, Some(("0", "content_type"))),
        (vec![event("t"); 1001], "batch_too_large", Code::InvalidArgument, None),
        (
            vec![keyed("other", "k")],
            "idempotency_key_reused",
            Code::AlreadyExists,
            Some(("0", "idempotency_key")),
        ),
    ];
    for (events, expected, status, blamed) in cases {
        let refused = publish(&mut client, events).await.unwrap_err();
        let info = refused.get_details_error_info().unwrap();
        assert_eq!((info.reason.as_str(), refused.code()), (expected, status), "{refused:?}");
        assert_eq!(info.domain, "eventrelay");
        let told = info.metadata.get("index").map(String::as_str).zip(info.metadata.get("field"));
        assert_eq!(told.map(|(index, field)| (index, field.as_str())), blamed, "{expected}");
    }
    let refused = publish(&mut client, vec![large]).await.unwrap_err();
    assert_eq!(code(&refused), "event_too_large");
    assert_eq!(server.log.durable_offset(), 1, "a refused publish stored something");
    assert!(server.metrics().contains(r#"eventrelay_grpc_refused_total{code="empty_batch"} 1"#));
}
