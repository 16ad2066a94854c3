//! A store in the memory of the test, which can be as bad as one likes: of S3's protocol it has just what a sink needs.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use eventrelay_sinks::Sink;
use serde_json::{Value, json};

use crate::broker_events::{loopback, owner};
use crate::http_receiver::{Received, Receiver, Reply};
use crate::stores::{Objects, lines, merged, s3_settings, sink_in};

/// What it holds and how it behaves.
pub(crate) struct FakeStore {
    pub(crate) receiver: Receiver,
    state: Arc<State>,
}

struct State {
    objects: Mutex<BTreeMap<String, Vec<u8>>>,
    keeps_conditions: AtomicBool,
}

impl FakeStore {
    pub(crate) async fn start() -> Self {
        let state = Arc::new(State { objects: Mutex::default(), keeps_conditions: AtomicBool::new(true) });
        let answering = Arc::clone(&state);
        let receiver = Receiver::answering(move |_, request| answering.answer(request)).await;
        Self { receiver, state }
    }

    /// Whether it does as `If-None-Match` says.
    pub(crate) fn keep_conditions(&self, keep: bool) {
        self.state.keeps_conditions.store(keep, Ordering::SeqCst);
    }

    pub(crate) fn sink(&self, extra: &Value) -> Arc<dyn Sink> {
        let settings = json!({"s3": s3_settings(self.receiver.address), "compression": "none"});
        sink_in(&loopback(), &owner(), &merged(settings, extra))
    }

    pub(crate) fn objects(&self) -> Objects {
        self.state.objects.lock().unwrap().clone()
    }

    pub(crate) fn offsets(&self) -> Vec<u64> {
        let lines = self.objects().into_iter().flat_map(|(key, bytes)| lines(&key, &bytes));
        let mut offsets: Vec<_> = lines.map(|line| line["offset"].as_u64().unwrap()).collect();
        offsets.sort_unstable();
        offsets
    }
}

impl State {
    fn answer(&self, request: &Received) -> Reply {
        let mut words = request.line.split(' ');
        let (method, target) = (words.next().unwrap(), words.next().unwrap());
        let mut objects = self.objects.lock().unwrap();
        if target.starts_with("/events?") {
            return list(&objects);
        }
        // In the tests' folders there is nothing that is encoded but `=`.
        let key = target.strip_prefix("/events/").unwrap().replace("%3D", "=");
        if method == "PUT" {
            let only_new = request.headers.get("if-none-match").is_some_and(|condition| condition == "*");
            if only_new && self.keeps_conditions.load(Ordering::SeqCst) && objects.contains_key(&key) {
                return Reply::status("412 Precondition Failed", "");
            }
            objects.insert(key, request.body.clone());
            return Reply::status("200 OK", "etag: \"1\"\r\n");
        }
        match objects.get(&key) {
            Some(object) => {
                let (end, size) = (object.len() - 1, object.len());
                let headers = format!(
                    "etag: \"1\"\r\nlast-modified: Sat, 31 Jan 2026 12:00:00 GMT\r\ncontent-range: bytes 0-{end}/{size}\r\n"
                );
                Reply::with_body("206 Partial Content", &headers, std::str::from_utf8(object).unwrap())
            }
            None => Reply::with_body("404 Not Found", "", "<Error><Code>NoSuchKey</Code></Error>"),
        }
    }
}

fn list(objects: &BTreeMap<String, Vec<u8>>) -> Reply {
    let contents: String = objects
        .iter()
        .map(|(key, object)| {
            format!(
                "<Contents><Key>{key}</Key><Size>{}</Size><ETag>1</ETag>\
                 <LastModified>2026-01-31T12:00:00.000Z</LastModified></Contents>",
                object.len()
            )
        })
        .collect();
    Reply::with_body("200 OK", "", &format!("<ListBucketResult>{contents}</ListBucketResult>"))
}
