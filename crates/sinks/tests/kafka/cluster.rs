//! librdkafka's mock cluster, which belongs to the thread that made it, and what it holds.

use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::{Offset, TopicPartitionList};

use crate::sinks::PATIENCE;

pub(crate) struct Cluster {
    pub(crate) mock: MockCluster<'static, DefaultProducerContext>,
}

/// A message as it was consumed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Consumed {
    pub(crate) partition: i32,
    pub(crate) key: Option<String>,
    pub(crate) value: Option<String>,
    pub(crate) headers: Vec<(String, String)>,
}

impl Cluster {
    /// A cluster with the topic `orders` of four partitions.
    pub(crate) fn start(brokers: i32) -> Self {
        let mock = MockCluster::new(brokers).unwrap();
        mock.create_topic("orders", 4, brokers).unwrap();
        Self { mock }
    }

    pub(crate) fn brokers(&self) -> String {
        self.mock.bootstrap_servers()
    }

    /// All that a topic holds, partition by partition in their order.
    pub(crate) fn consume(&self, topic: &str) -> Vec<Consumed> {
        consume(&self.brokers(), topic)
    }
}

pub(crate) fn consume(brokers: &str, topic: &str) -> Vec<Consumed> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "test")
        .set("enable.partition.eof", "true")
        .set("fetch.wait.max.ms", "10")
        .create()
        .unwrap();
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).unwrap();
    let partitions = metadata.topics()[0].partitions().len();
    let mut assignment = TopicPartitionList::new();
    for partition in 0..partitions {
        let partition = i32::try_from(partition).unwrap();
        assignment.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&assignment).unwrap();
    let began = Instant::now();
    let (mut at_end, mut consumed) = (0, Vec::new());
    while at_end < partitions {
        assert!(began.elapsed() < PATIENCE, "no end of {topic}");
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => consumed.push(Consumed::of(&message)),
            Some(Err(KafkaError::PartitionEOF(_))) => at_end += 1,
            Some(Err(error)) => panic!("{error}"),
            None => {}
        }
    }
    consumed.sort_by_key(|message| message.partition);
    consumed
}

impl Consumed {
    fn of(message: &BorrowedMessage<'_>) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let headers = message.headers().map(|headers| {
            headers
                .iter()
                .map(|header| (header.key.to_owned(), text(header.value.unwrap_or_default())))
                .collect()
        });
        Self {
            partition: message.partition(),
            key: message.key().map(text),
            value: message.payload().map(text),
            headers: headers.unwrap_or_default(),
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The number that its data is.
    pub(crate) fn number(&self) -> u64 {
        self.value.as_ref().unwrap().parse().unwrap()
    }
}

/// The numbers of each key's messages in the order in which they were consumed.
pub(crate) fn numbers_of(consumed: &[Consumed], key: &str) -> Vec<u64> {
    consumed.iter().filter(|message| message.key.as_deref() == Some(key)).map(Consumed::number).collect()
}

/// All numbers, sorted.
pub(crate) fn numbers(consumed: &[Consumed]) -> Vec<u64> {
    let mut numbers: Vec<_> = consumed.iter().map(Consumed::number).collect();
    numbers.sort_unstable();
    numbers
}
