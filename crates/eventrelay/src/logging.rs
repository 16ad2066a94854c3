//! The process's own log lines: to stderr, and to rotating files where configured.
//!
//! - Lines are written by threads of their own, behind bounded queues, so that a slow terminal or disk never holds up
//!   the relay. At a full queue lines are dropped and counted.
//! - What comes from outside (a header, a target's answer) cannot move a reader's cursor or forge a line: control
//!   characters in fields are escaped. Event data is never logged.

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal};
use std::path::Path;

use eventrelay::{LogFormat, LogRotation, Logging};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::registry::Registry;
use tracing::field::Field;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_appender::rolling::{RollingFileAppender, Rotation};
use tracing_subscriber::Layer;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use crate::exit::Failure;

/// Lines that wait for their writer.
const QUEUED_LINES: usize = 16_384;

/// Keeps the writers alive. Dropping it writes what is queued.
pub(crate) struct LogWriters {
    guards: Vec<WorkerGuard>,
    counters: Vec<ErrorCounter>,
}

impl LogWriters {
    /// Shows how many lines were dropped at full queues.
    pub(crate) fn register_metrics(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(DroppedLines(self.counters.clone())));
    }

    fn writer(&mut self, name: &str, sink: impl io::Write + Send + 'static) -> NonBlocking {
        let (writer, guard) =
            NonBlockingBuilder::default().buffered_lines_limit(QUEUED_LINES).thread_name(name).finish(sink);
        self.counters.push(writer.error_counter());
        self.guards.push(guard);
        writer
    }
}

/// Starts logging for the rest of the process.
pub(crate) fn start(settings: &Logging) -> Result<LogWriters, Failure> {
    let mut writers = LogWriters { guards: Vec::new(), counters: Vec::new() };
    let filter = settings.filter().map_err(Failure::usage)?;
    let stderr = writers.writer("log-stderr", io::stderr());
    let human = match settings.format {
        LogFormat::Human => true,
        LogFormat::Json => false,
        LogFormat::Auto => io::stderr().is_terminal(),
    };
    let screen = if human {
        tracing_subscriber::fmt::layer()
            .fmt_fields(debug_fn(write_field).delimited(" "))
            .with_ansi(io::stderr().is_terminal())
            .with_writer(stderr)
            .boxed()
    } else {
        json_layer(stderr)
    };
    let file = match &settings.file_directory {
        Some(directory) => {
            let files = rolling_file(settings, directory)?;
            Some(json_layer(writers.writer("log-file", files)))
        }
        None => None,
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(screen)
        .with(file)
        .try_init()
        .map_err(|error| Failure::unexpected(format!("cannot start logging: {error}")))?;
    Ok(writers)
}

/// The writers count by themselves; this only reads.
#[derive(Debug)]
struct DroppedLines(Vec<ErrorCounter>);

impl Collector for DroppedLines {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let dropped: usize = self.0.iter().map(ErrorCounter::dropped_lines).sum();
        let counter = ConstCounter::new(dropped as u64);
        let (name, help) =
            ("eventrelay_log_lines_dropped", "Lines of the process's own log that were dropped");
        counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)
    }
}

fn json_layer<S>(writer: NonBlocking) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'span> LookupSpan<'span>,
{
    tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(writer).boxed()
}

fn rolling_file(settings: &Logging, directory: &Path) -> Result<RollingFileAppender, Failure> {
    let rotation = match settings.file_rotation {
        LogRotation::Hourly => Rotation::HOURLY,
        LogRotation::Daily => Rotation::DAILY,
        LogRotation::Never => Rotation::NEVER,
    };
    let refused = |error: &dyn fmt::Display| {
        Failure::usage(format!("logging.file_directory: {}: {error}", directory.display()))
    };
    std::fs::create_dir_all(directory).map_err(|error| refused(&error))?;
    RollingFileAppender::builder()
        .rotation(rotation)
        .filename_prefix("eventrelay")
        .filename_suffix("log")
        .max_log_files(settings.file_keep)
        .build(directory)
        .map_err(|error| refused(&error))
}

/// Writes one field of a line for people.
fn write_field(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    if field.name() != "message" {
        write!(writer, "{}=", field.name())?;
    }
    write!(Escaped(writer), "{value:?}")
}

/// Writes control characters as `\u{1b}`.
struct Escaped<W>(W);

impl<W: fmt::Write> fmt::Write for Escaped<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(position) = rest.find(char::is_control) {
            let (plain, tail) = rest.split_at(position);
            self.0.write_str(plain)?;
            let mut characters = tail.chars();
            if let Some(control) = characters.next() {
                write!(self.0, "{}", control.escape_unicode())?;
            }
            rest = characters.as_str();
        }
        self.0.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_cannot_reach_the_terminal() {
        let mut line = String::new();
        let hostile = "\u{1b}[2J\n\u{9b}31m end";
        write!(Escaped(&mut line), "é {hostile}").unwrap();
        assert_eq!(line, "é \\u{1b}[2J\\u{a}\\u{9b}31m end");
    }
}
