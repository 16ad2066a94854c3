//! Names that resolve to the inside, at once or on second thoughts.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use eventrelay_sinks::egress::{AddressPolicy, Resolve};
use eventrelay_sinks::{BoxFuture, Environment, Outcome};
use serde_json::json;

use crate::receiver::{OK, Receiver, Reply};
use crate::sinks::{deliver, retried, webhook_in};

/// A name server that gives these answers one after the other, and then none.
#[derive(Debug)]
struct Answers(Mutex<VecDeque<Vec<IpAddr>>>);

impl Resolve for Answers {
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            assert_eq!(host, "receiver.example");
            let answer = self.0.lock().unwrap().pop_front();
            answer.ok_or_else(|| io::Error::other("no such name"))
        })
    }
}

fn environment(addresses: AddressPolicy, answers: &[&[&str]]) -> Environment {
    let parse = |answer: &&[&str]| answer.iter().map(|address| address.parse().unwrap()).collect();
    let resolver = Answers(Mutex::new(answers.iter().map(parse).collect()));
    Environment { addresses, resolver: Arc::new(resolver), ..Environment::default() }
}

/// Only 127.0.0.1 is outside; all else of loopback is inside.
fn one_address_allowed() -> AddressPolicy {
    AddressPolicy { allow_private: false, allow_networks: vec!["127.0.0.1/32".parse().unwrap()] }
}

fn url(receiver: &Receiver) -> String {
    format!("http://receiver.example:{}/", receiver.address.port())
}

#[tokio::test]
async fn a_name_that_resolves_to_the_inside_is_not_connected_to() {
    let mut receiver = Receiver::always(Reply::ok()).await;
    for address in [
        "127.0.0.1",
        "::1",
        "10.0.0.1",
        "169.254.169.254",
        "0.0.0.0",
        "::",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::7f00:1",
        "2002:7f00:1::",
        "fd00:ec2::254",
        "fe80::1",
        "100.100.100.200",
    ] {
        let environment = environment(AddressPolicy::default(), &[&[address]]);
        let attempt = deliver(&webhook_in(&environment, &url(&receiver), &json!({}))).await;
        let why = retried(&attempt);
        assert!(
            why.contains("receiver.example") && why.contains("may not be connected to"),
            "{address}: {why}"
        );
        assert!(!why.contains(address), "what a name resolves to inside is nobody's business: {why}");
    }
    assert_eq!(receiver.so_far().0, 0, "nobody came");
}

#[tokio::test]
async fn one_forbidden_address_among_others_refuses_them_all() {
    let mut receiver = Receiver::always(Reply::ok()).await;
    for answer in [["127.0.0.1", "127.0.0.2"], ["127.0.0.2", "127.0.0.1"], ["127.0.0.1", "::ffff:10.0.0.1"]] {
        let environment = environment(one_address_allowed(), &[&answer]);
        let attempt = deliver(&webhook_in(&environment, &url(&receiver), &json!({}))).await;
        assert!(retried(&attempt).contains("may not be connected to"), "{attempt:?}");
    }
    assert_eq!(receiver.so_far().0, 0, "nobody came");
}

#[tokio::test]
async fn a_name_that_changes_its_mind_is_judged_anew_at_each_connection() {
    let mut outside = Receiver::always(Reply::BytesThenClose(OK.to_vec())).await;
    let inside = format!("127.0.0.2:{}", outside.address.port()).parse().unwrap();
    let mut inside = Receiver::start_on(inside, |_| Reply::ok()).await;

    let environment = environment(one_address_allowed(), &[&["127.0.0.1"], &["127.0.0.2"], &["127.0.0.1"]]);
    let sink = webhook_in(&environment, &url(&outside), &json!({}));
    assert_eq!(deliver(&sink).await.outcome, Outcome::Delivered);
    outside.closed().await;
    assert!(retried(&deliver(&sink).await).contains("may not be connected to"));
    assert_eq!(deliver(&sink).await.outcome, Outcome::Delivered, "DNS was repaired");
    assert_eq!(inside.so_far().0, 0, "nobody came");
}

#[tokio::test]
async fn the_name_is_looked_up_once_for_a_connection_and_the_judged_address_dialled() {
    let mut receiver = Receiver::always(Reply::ok()).await;
    // A second look-up between judging and dialling would hear of another address, a third of none.
    let environment = environment(one_address_allowed(), &[&["127.0.0.1"], &["127.0.0.2"]]);
    let sink = webhook_in(&environment, &url(&receiver), &json!({}));
    for _ in 0..3 {
        assert_eq!(deliver(&sink).await.outcome, Outcome::Delivered);
    }
    let request = receiver.request().await;
    assert_eq!(request.headers["host"], format!("receiver.example:{}", receiver.address.port()));
}

#[tokio::test]
async fn metadata_is_refused_even_where_everything_is_allowed() {
    let everything = AddressPolicy {
        allow_private: true,
        allow_networks: vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()],
    };
    for address in [
        "169.254.169.254",
        "fd00:ec2::254",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::",
    ] {
        let environment = environment(everything.clone(), &[&[address]]);
        let attempt = deliver(&webhook_in(&environment, "http://receiver.example/", &json!({}))).await;
        assert!(retried(&attempt).contains("metadata"), "{address}: {attempt:?}");
    }
}

#[tokio::test]
async fn localhost_is_refused_by_default() {
    let mut receiver = Receiver::always(Reply::ok()).await;
    let url = format!("http://localhost:{}/", receiver.address.port());
    let attempt = deliver(&webhook_in(&Environment::default(), &url, &json!({}))).await;
    assert!(retried(&attempt).contains("private or loopback"), "{attempt:?}");
    assert_eq!(receiver.so_far().0, 0, "nobody came");
}

#[tokio::test]
async fn a_name_without_addresses_is_a_retry() {
    for answers in [&[][..], &[&[][..]]] {
        let environment = environment(AddressPolicy::default(), answers);
        let attempt = deliver(&webhook_in(&environment, "http://receiver.example/", &json!({}))).await;
        assert!(retried(&attempt).contains("resolve"), "{attempt:?}");
    }
}

#[tokio::test]
async fn a_name_server_that_does_not_answer_is_a_timeout_and_bounded() {
    #[derive(Debug)]
    struct Silent(tokio::sync::mpsc::UnboundedSender<()>);
    impl Resolve for Silent {
        fn resolve<'a>(&'a self, _host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
            self.0.send(()).unwrap();
            Box::pin(std::future::pending())
        }
    }
    let (asked, mut lookups) = tokio::sync::mpsc::unbounded_channel();
    let environment = Environment { resolver: Arc::new(Silent(asked)), ..Environment::default() };
    let sink = webhook_in(&environment, "http://receiver.example/", &json!({"connect_timeout_ms": 20}));
    for _ in 0..10 {
        let attempt = deliver(&sink).await;
        assert!(retried(&attempt).contains("resolving the name"), "{attempt:?}");
    }
    let mut count = 0;
    while lookups.try_recv().is_ok() {
        count += 1;
    }
    assert_eq!(count, 4, "look-ups that hang are not added to");
}
