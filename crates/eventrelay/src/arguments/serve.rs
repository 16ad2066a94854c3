//! `eventrelay serve`.

use std::path::PathBuf;

use clap::Args;

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
