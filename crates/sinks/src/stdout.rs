//! Writes events to the process's standard output, a line of JSON each: for trying things out and for pipes.
//!
//! A batch is delivered once it is written and flushed; whether the reader of a pipe has taken it cannot be
//! known. A pipe whose reader has gone, or that nobody reads from for 30 seconds, is a retry.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use crate::lines::write_lines;
use crate::{Attempt, BatchLimit, BoxFuture, Delivery, Outcome, Sink, SinkError, settings};

/// The kind's name.
pub const KIND: &str = "stdout";

const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_BATCH_EVENTS: usize = 10_000;
const BATCH_BYTES: usize = 1024 * 1024;

/// The settings of standard output.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// How many events are written and flushed together: 1 to 10,000. Default 1,000.
    #[serde(default = "default_batch_events")]
    pub batch_events: usize,
}

fn default_batch_events() -> usize {
    1000
}

/// Standard output.
pub struct StdoutSink {
    output: Arc<Mutex<Output>>,
    batch_events: usize,
}

struct Output {
    writer: Box<dyn Write + Send>,
    /// The last write failed and may have ended within a line.
    torn: bool,
}

impl StdoutSink {
    /// Writes to the process's standard output.
    ///
    /// # Errors
    /// Names the field that is out of its limits.
    pub fn new(settings: &Settings) -> Result<Self, SinkError> {
        Self::with_writer(settings, Box::new(io::stdout()))
    }

    /// Writes to something else that takes lines. It may block: it is called on a thread for that.
    ///
    /// # Errors
    /// Names the field that is out of its limits.
    pub fn with_writer(settings: &Settings, writer: Box<dyn Write + Send>) -> Result<Self, SinkError> {
        settings::within(KIND, "batch_events", &settings.batch_events, 1..=MAX_BATCH_EVENTS)?;
        let output = Arc::new(Mutex::new(Output { writer, torn: false }));
        Ok(Self { output, batch_events: settings.batch_events })
    }

    async fn write(&self, batch: &[Delivery]) -> Result<(), String> {
        let mut lines = Vec::new();
        write_lines(batch, &mut lines);
        // The guard goes with the write, so that one that hangs keeps the next from writing into its line.
        let writing = async {
            let mut output = Arc::clone(&self.output).lock_owned().await;
            tokio::task::spawn_blocking(move || output.write(&lines)).await
        };
        match timeout(WRITE_TIMEOUT, writing).await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(error))) if error.kind() == io::ErrorKind::BrokenPipe => {
                Err("nobody reads from standard output any more".to_owned())
            }
            Ok(Ok(Err(error))) => Err(format!("standard output cannot be written to: {error}")),
            Ok(Err(stopped)) => Err(format!("the write to standard output was stopped: {stopped}")),
            Err(_elapsed) => {
                Err(format!("nobody has read from standard output for {} s", WRITE_TIMEOUT.as_secs()))
            }
        }
    }
}

impl Output {
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.torn {
            self.writer.write_all(b"\n")?;
        }
        self.torn = true;
        self.writer.write_all(lines)?;
        self.writer.flush()?;
        self.torn = false;
        Ok(())
    }
}

impl Sink for StdoutSink {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn batch_limit(&self) -> BatchLimit {
        BatchLimit { events: self.batch_events, bytes: BATCH_BYTES }
    }

    fn deliver<'a>(&'a self, batch: &'a [Delivery]) -> BoxFuture<'a, Vec<Attempt>> {
        Box::pin(async move {
            let started = SystemTime::now();
            let clock = Instant::now();
            let outcome = match self.write(batch).await {
                Ok(()) => Outcome::Delivered,
                Err(why) => Outcome::Retry { after: None, why },
            };
            Attempt::of_batch(batch, &outcome, started, clock.elapsed())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::testing::delivery;

    fn sink(writer: impl Write + Send + 'static) -> StdoutSink {
        StdoutSink::with_writer(&Settings { batch_events: 10 }, Box::new(writer)).unwrap()
    }

    /// Takes `room` bytes in all, then fails; reports what it took.
    struct Pipe {
        room: usize,
        sent: mpsc::Sender<Vec<u8>>,
    }

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.room == 0 {
                self.room = usize::MAX;
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            let taken = bytes.len().min(self.room);
            self.room -= taken;
            self.sent.send(bytes[..taken].to_vec()).unwrap();
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn writes_a_line_for_each_event() {
        let (sent, received) = mpsc::channel();
        let sink = sink(Pipe { room: usize::MAX, sent });
        let attempts = sink.deliver(&[delivery(3, b"1"), delivery(4, b"2")]).await;
        assert!(attempts.len() == 2 && attempts.iter().all(|attempt| attempt.outcome == Outcome::Delivered));
        let text = String::from_utf8(received.try_iter().flatten().collect()).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        assert_eq!(lines.map(|line| line["offset"].clone()).collect::<Vec<_>>(), [3, 4]);
        assert!(text.ends_with('\n'));
    }

    #[tokio::test]
    async fn a_broken_pipe_is_retried_and_its_torn_line_ended() {
        let (sent, received) = mpsc::channel();
        let sink = sink(Pipe { room: 5, sent });
        let batch = [delivery(3, b"1")];
        let attempts = sink.deliver(&batch).await;
        assert!(matches!(&attempts[0].outcome, Outcome::Retry { why, .. } if why.contains("nobody reads")));
        assert_eq!(sink.deliver(&batch).await[0].outcome, Outcome::Delivered);
        let text = String::from_utf8(received.try_iter().flatten().collect()).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(lines[0].len() == 5 && serde_json::from_str::<serde_json::Value>(lines[1]).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_stands_still_is_a_retry() {
        struct Stuck(mpsc::Receiver<()>);
        impl Write for Stuck {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let _released = self.0.recv();
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (release, stuck) = mpsc::channel();
        let sink = sink(Stuck(stuck));
        let batch = [delivery(3, b"1")];
        // Blocking work keeps the paused clock from moving by itself.
        let (attempts, ()) = tokio::join!(sink.deliver(&batch), async {
            tokio::task::yield_now().await;
            tokio::time::advance(WRITE_TIMEOUT).await;
        });
        assert!(matches!(&attempts[0].outcome, Outcome::Retry { why, .. } if why.contains("for 30 s")));
        drop(release);
    }
}
