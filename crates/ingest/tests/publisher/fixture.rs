//! A publisher, the log under it, and the disk under that.

use std::future::poll_fn;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use eventrelay_event::{Data, Event, StoredEvent, Tenant};
use eventrelay_ingest::{PublishError, PublishLimits, Publisher, PublisherMetrics, Receipt};
use eventrelay_log::disk::simulated::SimulatedDisk;
use eventrelay_log::{Log, Options};

pub(crate) struct Fixture {
    pub(crate) disk: SimulatedDisk,
    pub(crate) log: Log,
    pub(crate) publisher: Arc<Publisher>,
}

/// Small sizes, so that few events fill what is there.
pub(crate) fn options() -> Options {
    let mut options = Options::new(PathBuf::from("/data/log"));
    options.segment_bytes = 256 << 10;
    options.max_commit_bytes = 64 << 10;
    options.queue_bytes = 64 << 10;
    options.tail_cache_bytes = 16 << 10;
    options.commits_in_flight = 1;
    options
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self::with(SimulatedDisk::new(1), options(), PublishLimits::default())
    }

    pub(crate) fn with(disk: SimulatedDisk, options: Options, limits: PublishLimits) -> Self {
        let log = Log::open(Arc::new(disk.clone()), options).unwrap();
        let publisher = Arc::new(Publisher::new(log.clone(), limits, PublisherMetrics::default()));
        Self { disk, log, publisher }
    }

    /// What a new process finds after this one was killed.
    pub(crate) fn killed(&self) -> Self {
        Self::with(self.disk.kill(), options(), PublishLimits::default())
    }

    pub(crate) async fn publish(&self, event: Event) -> Result<Receipt, PublishError> {
        let receipts = self.publisher.publish(vec![event]).await?;
        assert_eq!(receipts.len(), 1);
        Ok(receipts[0])
    }

    /// The event at an offset, read past the publisher.
    pub(crate) fn stored(&self, offset: u64) -> StoredEvent {
        let record = self.log.read(offset).unwrap().unwrap().record(offset).unwrap();
        StoredEvent::decode(offset, record.append_time_micros, record.payload).unwrap()
    }

    /// Publishes enough to push what came before out of the tail cache.
    pub(crate) async fn evict(&self) {
        for _ in 0..4 {
            let mut filler = event("filler");
            filler.data = Some(Data::binary(Bytes::from(vec![7; 10_000])));
            self.publish(filler).await.unwrap();
        }
        assert!(self.log.read_cached(0).is_none(), "the cache is smaller than what was published since");
    }

    pub(crate) fn metrics(&self) -> String {
        let mut registry = prometheus_client::registry::Registry::default();
        self.publisher.metrics().register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text
    }
}

pub(crate) fn event(event_type: &str) -> Event {
    let mut event = Event::new(Tenant::default(), event_type.to_owned(), "/shop".to_owned());
    event.data = Some(Data::binary(Bytes::from_static(b"data")));
    event
}

pub(crate) fn keyed(key: &str) -> Event {
    let mut event = event("order.created");
    event.idempotency_key = Some(key.to_owned());
    event
}

/// Polls a future once: it has begun, and waits.
pub(crate) async fn begin<T>(future: &mut Pin<Box<impl Future<Output = T>>>) {
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Pending => Poll::Ready(()),
        Poll::Ready(_) => panic!("it ended before its time"),
    })
    .await;
}

/// Waits for what the log's own threads do in their own time.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(20), wait).await.is_ok(), "within 20 seconds {what}");
}
