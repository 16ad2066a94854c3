//! The task that sends what waits in the queue: batches by number and by time, one request after the other.
//!
//! ```text
//!  queue ─▶ gather: max_batch_spans, or export_interval_ms after the first ─▶ encode ─▶ send ──▶ taken: counted
//!                                                                              ▲         │
//!                                                                              └── wait ◀┴─▶ given up: dropped, counted
//! ```
//!
//! While a request is tried again the queue fills up, and what it cannot hold is dropped: an outage of the collector costs
//! its spans and one warning. At the end what waits is sent once, as far as there is time.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinError;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use crate::collector::{Collector, ExportError, Taken, compress};
use crate::metrics::Dropped;
use crate::retry::Retries;
use crate::span::Span;
use crate::{TelemetryMetrics, TelemetryOptions, encode};

/// The longest that the end takes, however long a request may take.
const MAX_FLUSH: Duration = Duration::from_secs(5);

/// The running export. Dropping it ends it at once, and what waits is lost.
#[derive(Debug)]
pub struct Exporter {
    stop: watch::Sender<bool>,
    task: AbortOnDropHandle<()>,
}

impl Exporter {
    pub(crate) fn start(
        options: &TelemetryOptions,
        collector: Collector,
        queued: mpsc::Receiver<Span>,
        metrics: TelemetryMetrics,
    ) -> Self {
        let (stop, stopped) = watch::channel(false);
        tracing::info!(collector = collector.shown(), "traces are exported");
        let work = Work {
            queued,
            batch: Vec::new(),
            in_hand: 0,
            collector,
            metrics,
            service_name: options.service_name.as_str().into(),
            max_batch: options.max_batch_spans,
            interval: Duration::from_millis(options.export_interval_ms),
            not_before: Instant::now(),
            outage: None,
            stopped,
        };
        let flush_limit = options.timeout().min(MAX_FLUSH);
        Self { stop, task: AbortOnDropHandle::new(tokio::spawn(work.run(flush_limit))) }
    }

    /// Takes no more spans, and sends those that wait, once. Takes no longer than one request may, and 5 s at most.
    pub async fn shutdown(self) {
        self.stop.send_replace(true);
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the export of traces had failed");
        }
    }
}

struct Work {
    queued: mpsc::Receiver<Span>,
    /// Taken from the queue, and not yet encoded.
    batch: Vec<Span>,
    /// Encoded, and of unknown fate.
    in_hand: usize,
    collector: Collector,
    metrics: TelemetryMetrics,
    service_name: Arc<str>,
    max_batch: usize,
    interval: Duration,
    /// The collector has asked not to be asked before then, or has failed.
    not_before: Instant,
    /// While the collector takes nothing: the spans that were sent in vain.
    outage: Option<usize>,
    stopped: watch::Receiver<bool>,
}

impl Work {
    async fn run(mut self, flush_limit: Duration) {
        let mut stopped = self.stopped.clone();
        let deadline = async {
            until_stopped(&mut stopped).await;
            tokio::time::sleep(flush_limit).await;
        };
        let in_time = tokio::select! {
            () = self.export() => true,
            () = deadline => false,
        };
        if !in_time {
            self.give_up_the_rest();
        }
    }

    /// Exports until it is stopped and nothing waits any more.
    async fn export(&mut self) {
        loop {
            self.gather().await;
            if self.batch.is_empty() {
                return;
            }
            match self.encode_batch().await {
                Ok(Ok(body)) => self.send(body).await,
                Ok(Err(error)) => self.give_up(&error),
                Err(error) => self.give_up(&error),
            }
        }
    }

    /// Fills the batch; it stays empty when there will be no more.
    async fn gather(&mut self) {
        let mut due = None;
        while self.batch.len() < self.max_batch {
            let room = self.max_batch - self.batch.len();
            tokio::select! {
                biased;
                () = until_stopped(&mut self.stopped), if !self.queued.is_closed() => self.queued.close(),
                received = self.queued.recv_many(&mut self.batch, room) => {
                    if received == 0 {
                        return;
                    }
                    due.get_or_insert_with(|| Instant::now() + self.interval);
                }
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => return,
            }
        }
    }

    async fn encode_batch(&mut self) -> Result<std::io::Result<Bytes>, JoinError> {
        let spans = std::mem::take(&mut self.batch);
        self.in_hand = spans.len();
        let (name, compression) = (Arc::clone(&self.service_name), self.collector.compression());
        tokio::task::spawn_blocking(move || compress(encode::request(&name, spans), compression)).await
    }

    /// Sends a body until it is taken, refused for good, or tried often enough.
    async fn send(&mut self, body: Bytes) {
        let mut retries = Retries::default();
        loop {
            tokio::select! {
                () = sleep_until(self.not_before) => {}
                () = until_stopped(&mut self.stopped) => {}
            }
            let error = match self.collector.send(body.clone()).await {
                Ok(taken) => return self.taken(&taken),
                Err(error) => error,
            };
            self.failed(&error);
            let wait = retries.next(error.retry_after()).filter(|_| error.is_temporary());
            if let Some(wait) = wait {
                self.not_before = Instant::now() + wait;
            }
            if wait.is_none() || *self.stopped.borrow() {
                return self.drop_in_hand(Dropped::ExportFailed);
            }
        }
    }

    fn taken(&mut self, taken: &Taken) {
        let rejected = taken.rejected.min(self.in_hand);
        self.metrics.count_exported(self.in_hand - rejected);
        self.in_hand = rejected;
        if rejected > 0 || !taken.words.is_empty() {
            tracing::debug!(rejected, words = taken.words, "the collector has an objection");
        }
        if rejected > 0 {
            self.drop_in_hand(Dropped::Rejected);
        }
        if let Some(given_up_spans) = self.outage.take() {
            let collector = self.collector.shown();
            tracing::info!(collector, given_up_spans, "the collector takes traces again");
        }
    }

    /// Says so, once in an outage.
    fn failed(&mut self, error: &ExportError) {
        self.metrics.count_failed_export();
        if self.outage.is_none() {
            self.outage = Some(0);
            let collector = self.collector.shown();
            tracing::warn!(collector, %error, "traces cannot be exported; spans are dropped until they can");
        }
    }

    /// The batch cannot be written, which only a fault in the program brings about.
    fn give_up(&mut self, error: &dyn Display) {
        tracing::error!(%error, "spans cannot be written");
        self.drop_in_hand(Dropped::ExportFailed);
    }

    fn drop_in_hand(&mut self, reason: Dropped) {
        let spans = std::mem::take(&mut self.in_hand);
        self.metrics.count_dropped(reason, spans);
        if let Some(dropped) = &mut self.outage {
            *dropped += spans;
        }
    }

    fn give_up_the_rest(&mut self) {
        self.queued.close();
        let mut waiting = self.batch.len() + self.in_hand;
        while self.queued.try_recv().is_ok() {
            waiting += 1;
        }
        self.metrics.count_dropped(Dropped::Shutdown, waiting);
        if waiting > 0 {
            let collector = self.collector.shown();
            tracing::warn!(collector, dropped_spans = waiting, "stopped before all traces were exported");
        }
    }
}

async fn until_stopped(stopped: &mut watch::Receiver<bool>) {
    // An error means that the exporter was dropped, and that this task ends with it.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

#[cfg(test)]
mod tests;
