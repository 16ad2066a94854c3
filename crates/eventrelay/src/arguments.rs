//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::exit;

/// A durable event relay in one binary.
///
/// Takes events over HTTP, gRPC and TCP, writes each to a log on disk before it answers, and delivers it to every matching
/// subscription at least once. `eventrelay serve` needs no configuration.
#[derive(Debug, Parser)]
#[command(name = "eventrelay", version, after_help = exit::HELP, propagate_version = false)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the server
    Serve(ServeArguments),
    /// Publish events to a running server
    Publish(PublishArguments),
    /// Follow the events of a running server
    Tail(TailArguments),
    /// Make, list and revoke API keys
    Keys {
        #[command(subcommand)]
        command: KeysCommand,
    },
    /// Examine or mend the log of a data directory, while no server runs on it
    Log {
        #[command(subcommand)]
        command: LogCommand,
    },
    /// Check a configuration, or print one to start from
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Print the version
    Version(VersionArguments),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Starts with no configuration at all: data in ./data, HTTP on 127.0.0.1:8080, gRPC on
127.0.0.1:50051, TCP on 127.0.0.1:9000.
SIGTERM or SIGINT drains: no new connections, then the requests in flight are finished (http.drain_timeout_ms,
grpc.drain_timeout_ms, tcp.drain_timeout_ms), then the deliveries in flight (delivery.shutdown_timeout_ms). A second signal exits at once.
SIGHUP has the certificates of TLS read again, where there are any.")]
pub(crate) struct ServeArguments {
    #[command(flatten)]
    pub(crate) source: ConfigSource,
    /// Where everything durable is [default: ./data]
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) data_directory: Option<PathBuf>,
    /// Where HTTP listens; port 0 takes a free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) http_listen: Option<String>,
    /// Where gRPC listens; port 0 takes a free one [default: 127.0.0.1:50051]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) grpc_listen: Option<String>,
    /// Where length-prefixed frames are taken over TCP, or `off` [default: 127.0.0.1:9000]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) tcp_frames_listen: Option<String>,
    /// Where lines of JSON are taken over TCP, or `off` [default: off]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) tcp_lines_listen: Option<String>,
    /// error, warn, info, debug, trace, or directives by module [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,
    /// Start with an empty delivery state although the log holds events: every subscription begins anew. For when the
    /// state file is lost for good
    #[arg(long)]
    pub(crate) create_missing_state: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ConfigSource {
    /// The configuration file [default: ./eventrelay.toml when there is one]
    #[arg(long, short, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

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

#[derive(Debug, Args)]
pub(crate) struct ServerAddress {
    /// The server
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub(crate) url: String,
    /// With https: the authorities to believe instead of the public web's, in PEM; or EVENTRELAY_CA_FILE
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// With https: a certificate to show to a server that asks for one, in PEM; or EVENTRELAY_CLIENT_CERTIFICATE_FILE
    #[arg(long, value_name = "FILE")]
    pub(crate) client_certificate_file: Option<PathBuf>,
    /// With https: the private key of that certificate, in PEM; or EVENTRELAY_CLIENT_KEY_FILE
    #[arg(long, value_name = "FILE")]
    pub(crate) client_key_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Prints one event per line as JSON. When the connection breaks it is made again, from the next offset.")]
pub(crate) struct TailArguments {
    #[command(flatten)]
    pub(crate) server: ServerAddress,
    /// Where to begin: `earliest`, `latest` or an offset
    #[arg(long, value_name = "WHERE", default_value = "latest")]
    pub(crate) from: TailStart,
    /// Stop after this many events
    #[arg(long, short = 'n', value_name = "EVENTS")]
    pub(crate) count: Option<u64>,
}

/// Where a tail begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TailStart {
    Earliest,
    Latest,
    Offset(u64),
}

impl std::str::FromStr for TailStart {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "earliest" => Ok(Self::Earliest),
            "latest" => Ok(Self::Latest),
            _ => text.parse().map(Self::Offset).map_err(|_| "expected `earliest`, `latest` or an offset"),
        }
    }
}

impl std::fmt::Display for TailStart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Earliest => f.write_str("earliest"),
            Self::Latest => f.write_str("latest"),
            Self::Offset(offset) => write!(f, "{offset}"),
        }
    }
}

#[derive(Debug, Subcommand)]
#[command(after_help = "\
All but `generate` ask a running server, which wants a key with the scope `admin` in EVENTRELAY_API_KEY where auth.required
is set.")]
pub(crate) enum KeysCommand {
    /// Make a key and print it, this once
    Create(CreateKeyArguments),
    /// List the keys: whose they are and what they may do, not what they say
    List(ListKeysArguments),
    /// End a key for good, at once
    Revoke(RevokeKeyArguments),
    /// Print a key for auth.bootstrap_key_file; asks no server
    Generate,
}

#[derive(Debug, Args)]
pub(crate) struct CreateKeyArguments {
    /// What to call it
    #[arg(long, value_name = "NAME")]
    pub(crate) name: String,
    /// What it may do: publish, read, consume, manage, admin
    #[arg(long, value_name = "SCOPES", value_delimiter = ',', required = true)]
    pub(crate) scopes: Vec<String>,
    /// Whose events it is for
    #[arg(long, value_name = "TENANT", default_value = "default")]
    pub(crate) tenant: String,
    /// When it ends by itself, in seconds from now [default: never]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) expires_in_seconds: Option<u64>,
    /// Print the server's whole answer as JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: ServerAddress,
}

#[derive(Debug, Args)]
pub(crate) struct ListKeysArguments {
    /// Print the server's whole answer as JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: ServerAddress,
}

#[derive(Debug, Args)]
pub(crate) struct RevokeKeyArguments {
    /// The key's id, as `list` shows it
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) server: ServerAddress,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LogCommand {
    /// Read every segment and check every checksum
    Verify(LogArguments),
    /// List the segments, or the frames of one
    Inspect(InspectArguments),
    /// Put damaged parts aside, so that the log opens again, and name exactly what is gone
    Repair(RepairArguments),
    /// Remove for good what nothing needs: quarantined segments, half-made files, damaged indexes
    Clean(LogArguments),
}

#[derive(Debug, Args)]
pub(crate) struct LogArguments {
    /// The server's data directory
    #[arg(long, value_name = "DIRECTORY", default_value = "./data")]
    pub(crate) data_directory: PathBuf,
    /// Print one JSON object instead of text
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct InspectArguments {
    #[command(flatten)]
    pub(crate) log: LogArguments,
    /// List the frames of the segment that begins with this offset
    #[arg(long, value_name = "OFFSET")]
    pub(crate) segment: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct RepairArguments {
    #[command(flatten)]
    pub(crate) log: LogArguments,
    /// Do it; without this, only say what would be done
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Check the configuration that `serve` would use: the file and the environment
    Check(CheckArguments),
    /// Print every key with its default, as a commented TOML file
    Default,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArguments {
    /// The configuration file [default: ./eventrelay.toml when there is one]
    #[arg(value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Look at the target of each subscription too: whether it can be reached, lets us in and has what deliveries need.
    /// Delivers nothing
    #[arg(long)]
    pub(crate) targets: bool,
}

#[derive(Debug, Args)]
pub(crate) struct VersionArguments {
    /// Print one JSON object instead of text
    #[arg(long)]
    pub(crate) json: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_tail_starts_where_it_is_told() {
        assert_eq!("earliest".parse(), Ok(TailStart::Earliest));
        assert_eq!("18446744073709551615".parse(), Ok(TailStart::Offset(u64::MAX)));
        assert!("-1".parse::<TailStart>().is_err());
    }
}
