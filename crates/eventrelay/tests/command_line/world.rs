//! A server, a webhook receiver that can be told to fail, and commands for the one about the other.

use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::harness::receiver::{Receiver, Reply};
use crate::harness::{RelayProcess, SMALL_LOG, http, run, stdout};

pub(crate) struct World {
    pub(crate) relay: RelayProcess,
    pub(crate) receiver: Receiver,
    pub(crate) directory: tempfile::TempDir,
    status: Arc<AtomicU16>,
    received: Arc<AtomicUsize>,
}

impl World {
    pub(crate) fn start() -> Self {
        Self::start_with("")
    }

    /// With more configuration.
    pub(crate) fn start_with(configuration: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (status, received) = (Arc::new(AtomicU16::new(200)), Arc::new(AtomicUsize::new(0)));
        let (for_status, for_received) = (Arc::clone(&status), Arc::clone(&received));
        let receiver = Receiver::start(move |_| {
            for_received.fetch_add(1, Ordering::SeqCst);
            Reply::Status(for_status.load(Ordering::SeqCst))
        });
        let configuration = format!(
            "{SMALL_LOG}\n[delivery]\ncheckpoint_interval_ms = 10\n[egress]\nallow_private_addresses = true\n{configuration}\n"
        );
        let relay = RelayProcess::start(directory.path(), &configuration);
        Self { relay, receiver, directory, status, received }
    }

    /// How the receiver answers from now on.
    pub(crate) fn receiver_answers(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    /// How many requests the receiver has had.
    pub(crate) fn received(&self) -> usize {
        self.received.load(Ordering::SeqCst)
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        let url = self.relay.url();
        run(self.directory.path(), arguments.iter().copied().chain(["--url", url.as_str()]))
    }

    /// What a command that succeeds says.
    pub(crate) fn said(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        stdout(&output).to_owned()
    }

    /// The one document that a command prints for programs.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let with_json: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
        let said = self.said(&with_json);
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {said:?}"))
    }

    /// The items that a command lists for programs.
    pub(crate) fn items(&self, arguments: &[&str]) -> Vec<Value> {
        self.json(arguments)["data"].as_array().unwrap().clone()
    }

    /// The exit code of a command that fails, and what it says of that.
    pub(crate) fn failure(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.run(arguments);
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    }

    /// Makes a webhook subscription that gives up after the first failure.
    pub(crate) fn subscribe(&self, name: &str) {
        let url = format!("sink.url={}", self.receiver.url("/hooks"));
        let set = ["--set", "sink.kind=webhook", "--set", &url, "--set", "retry.max_attempts=1"];
        let whole: Vec<&str> = ["subscriptions", "create", name].into_iter().chain(set).collect();
        self.said(&whole);
    }

    /// Publishes an event of each type, and gives their ids.
    pub(crate) fn publish(&self, types: &[&str]) -> Vec<String> {
        let events: Vec<Value> = types
            .iter()
            .map(|name| json!({"type": name, "source": "/shop", "data": {"canary": name}}))
            .collect();
        let answer = http::publish(self.relay.http(), &Value::from(events).to_string());
        assert_eq!(answer.status, 201, "{answer:?}");
        let receipts = answer.json();
        receipts
            .as_array()
            .unwrap()
            .iter()
            .map(|receipt| receipt["id"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Writes a file that commands can read.
    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.directory.path().join(name), text).unwrap();
    }
}
