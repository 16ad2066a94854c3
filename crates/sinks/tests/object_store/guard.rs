//! Where the sink may connect, whatever settings and stores say.

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use eventrelay_sinks::egress::{AddressPolicy, Resolve};
use eventrelay_sinks::{BoxFuture, Environment, build};
use serde_json::{Value, json};

use crate::broker_events::{batch, deliver, loopback, owner, retried};
use crate::http_receiver::{Receiver, Reply};
use crate::stores::{merged, s3_settings, sink_in};

/// A name server that has one answer, and notes what it was asked.
#[derive(Debug, Default)]
struct Names {
    answer: Option<IpAddr>,
    asked: Mutex<Vec<String>>,
}

impl Resolve for Names {
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            self.asked.lock().unwrap().push(host.to_owned());
            self.answer.map(|address| vec![address]).ok_or_else(|| io::Error::other("no such name"))
        })
    }
}

fn settings(endpoint: &str, extra: &Value) -> Value {
    let address = "127.0.0.1:1".parse().unwrap();
    let s3 = json!({"s3": merged(s3_settings(address), &json!({"endpoint": endpoint}))});
    merged(s3, extra)
}

#[test]
fn an_address_inside_is_refused_before_anything_is_sent() {
    for host in ["127.0.0.1", "localhost.", "[::1]", "10.0.0.1", "169.254.169.254", "2130706433"] {
        let settings = settings(&format!("http://{host}:9000"), &json!({}));
        let Err(error) = build("object_store", &settings, &owner(), &Environment::default()) else {
            assert_eq!(host, "localhost.", "{host} was taken");
            continue;
        };
        let error = error.to_string();
        assert!(error.contains("`s3.endpoint`") && error.contains("may not be connected to"), "{error}");
    }
}

#[tokio::test]
async fn a_name_that_leads_inside_is_not_connected_to() {
    let mut receiver = Receiver::always(Reply::ok()).await;
    for extra in [json!({}), json!({"exactly_once": false})] {
        let names = Arc::new(Names { answer: Some("127.0.0.1".parse().unwrap()), ..Names::default() });
        let environment = Environment {
            addresses: AddressPolicy::default(),
            resolver: Arc::clone(&names) as Arc<dyn Resolve>,
            ..Environment::default()
        };
        let endpoint = format!("http://store.example:{}", receiver.address.port());
        let sink = sink_in(&environment, &owner(), &settings(&endpoint, &extra));
        let outcomes = deliver(&sink, &batch("order.created", 0..1)).await;
        assert!(retried(&outcomes[0]).contains("may not be connected to"), "{outcomes:?}");
        let error = sink.check().await.unwrap_err().to_string();
        assert!(error.contains("may not be connected to"), "{error}");
        assert_eq!(*names.asked.lock().unwrap(), ["store.example"; 2]);
    }
    assert_eq!(receiver.so_far().0, 0, "nobody came");
}

#[tokio::test]
async fn a_name_that_is_not_known_is_retried() {
    let environment = Environment { resolver: Arc::new(Names::default()), ..loopback() };
    let sink = sink_in(&environment, &owner(), &settings("https://store.example", &json!({})));
    let outcomes = deliver(&sink, &batch("order.created", 0..1)).await;
    assert!(retried(&outcomes[0]).contains("store.example:443 cannot be resolved"), "{outcomes:?}");
}

#[tokio::test]
async fn the_bucket_stands_in_the_hosts_name_or_in_the_path() {
    let mut receiver = Receiver::always(Reply::status("403 Forbidden", "")).await;
    let endpoint = format!("http://store.example:{}", receiver.address.port());
    for (path_style, host, path) in
        [(true, "store.example", "GET /events?"), (false, "events.store.example", "GET /?")]
    {
        let names = Arc::new(Names { answer: Some("127.0.0.1".parse().unwrap()), ..Names::default() });
        let environment = Environment { resolver: Arc::clone(&names) as Arc<dyn Resolve>, ..loopback() };
        let extra = json!({"s3": {"path_style": path_style}});
        let sink = sink_in(&environment, &owner(), &settings(&endpoint, &extra));
        let outcomes = deliver(&sink, &batch("order.created", 0..1)).await;
        assert!(retried(&outcomes[0]).contains("403 Forbidden"), "{outcomes:?}");
        assert_eq!(*names.asked.lock().unwrap(), [host]);
        let request = receiver.request().await;
        assert!(request.line.starts_with(path), "{}", request.line);
        assert_eq!(request.headers["host"], format!("{host}:{}", receiver.address.port()));
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let mut inside = Receiver::always(Reply::ok()).await;
    for status in ["301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let location = format!("location: http://{}/events/x\r\n", inside.address);
        let receiver = Receiver::always(Reply::status(status, &location)).await;
        for exactly_once in [true, false] {
            let settings = json!({"s3": s3_settings(receiver.address), "exactly_once": exactly_once});
            let sink = sink_in(&loopback(), &owner(), &settings);
            let outcomes = deliver(&sink, &batch("order.created", 0..1)).await;
            let why = retried(&outcomes[0]);
            assert!(why.contains(status) && why.contains("redirects are not followed"), "{why}");
        }
    }
    assert_eq!(inside.so_far().0, 0, "nobody came");
}
