//! A client that is not ours: confluent-kafka, in the services' Python, looks at what a broker holds.

use std::path::PathBuf;
use std::process::Command;

use crate::components::services_folder;

use serde::Deserialize;

/// A message as that client has consumed it.
#[derive(Debug, Deserialize, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) partition: i32,
    pub(crate) key: Option<String>,
    pub(crate) value: Option<String>,
    pub(crate) headers: Vec<(String, String)>,
}

impl Found {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The number that its data is.
    pub(crate) fn number(&self) -> u64 {
        self.value.as_ref().unwrap().parse().unwrap()
    }
}

/// A client with more configuration, as librdkafka has it.
pub(crate) struct Client {
    pub(crate) configuration: Vec<(String, String)>,
}

impl Client {
    pub(crate) fn to(brokers: &str) -> Self {
        Self { configuration: vec![("bootstrap.servers".to_owned(), brokers.to_owned())] }
    }

    pub(crate) fn with(mut self, key: &str, value: &str) -> Self {
        self.configuration.push((key.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn create_topic(&self, topic: &str, partitions: u32) {
        self.run(&["create", topic, &partitions.to_string()]);
    }

    /// All that a topic holds, which is that much at least, partition by partition in their order.
    pub(crate) fn consume(&self, topic: &str, count: usize) -> Vec<Found> {
        let lines = self.run(&["consume", topic, &count.to_string()]);
        let mut found: Vec<Found> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        found.sort_by_key(|message| message.partition);
        found
    }

    fn run(&self, arguments: &[&str]) -> String {
        let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let mut command = Command::new(services_folder().join("python/bin/python"));
        command.arg(manifest.join("tests/kafka/client.py"));
        command.arg(serde_json::to_string(&self.configuration).unwrap());
        let output = command.args(arguments).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }
}
