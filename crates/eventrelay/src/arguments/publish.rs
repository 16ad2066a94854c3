//! `eventrelay publish`.

use std::path::PathBuf;

use clap::Args;

use super::ServerAddress;

#[derive(Debug, Args)]
#[command(after_help = "\
One event is a JSON object with at least \"type\" and \"source\":
  eventrelay publish '{\"type\":\"order.created\",\"source\":\"/shop\",\"data\":{\"id\":1}}'
A file or stdin has one event per line:
  eventrelay publish --file events.ndjson
  generate-events | eventrelay publish
Prints one receipt per event, in order: {\"id\":…,\"offset\":…,\"duplicate\":…}.")]
pub(crate) struct PublishArguments {
    /// One event as JSON
    #[arg(value_name = "EVENT", conflicts_with = "file")]
    pub(crate) event: Option<String>,
    /// Events as JSON, one per line; `-` is stdin
    #[arg(long, short, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) server: ServerAddress,
    /// Names this publish, so that repeating it yields the same event. Only with one event on the command line;
    /// events of a file carry their own `idempotency_key` or `id`
    #[arg(long, value_name = "KEY", requires = "event", value_parser = idempotency_key)]
    pub(crate) idempotency_key: Option<String>,
    /// The most events of one request
    #[arg(long, value_name = "EVENTS", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) batch_events: u32,
    /// The most bytes of one request
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) batch_bytes: u32,
    /// How long to keep trying while the server is overloaded, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub(crate) retry_seconds: u64,
    /// Do not print receipts
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

/// What the server takes in the header.
fn idempotency_key(text: &str) -> Result<String, &'static str> {
    let legal = (1..=255).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    legal.then(|| text.to_owned()).ok_or("must be 1 to 255 visible ASCII characters")
}
