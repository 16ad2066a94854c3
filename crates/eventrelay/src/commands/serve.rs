//! `eventrelay serve`: runs the server until a signal.

use eventrelay::{
    Addresses, Config, GrpcOverrides, HttpOverrides, LogSync, LoggingOverrides, Overrides, Relay, Sources,
    StartOptions, TcpOverrides,
};
use eventrelay_server::tls::TlsOptions;
use tokio::runtime::Runtime;

use crate::arguments::ServeArguments;
use crate::exit::{Exit, Failure};
use crate::signals::{Signal, Signals};
use crate::{logging, open_files, stdout};

/// Reads the configuration, starts everything, and drains at the first signal.
pub(crate) fn run(arguments: &ServeArguments) -> Result<(), Failure> {
    let config = Config::load(&sources(arguments))?;
    let writers = logging::start(&config.logging)?;
    open_files::raise_limit(most_connections(&config));
    let mut options =
        StartOptions { create_missing_state: arguments.create_missing_state, ..StartOptions::default() };
    writers.register_metrics(&mut options.registry);
    let runtime = Runtime::new().map_err(|error| Failure::unexpected(format!("cannot start: {error}")))?;
    let ended = runtime.block_on(serve(config, options));
    if let Err(failure) = &ended {
        tracing::error!(exit_code = failure.exit as u8, why = failure.why, "stopped");
    }
    ended
}

/// The most connections of all front doors together.
fn most_connections(config: &Config) -> usize {
    let grpc = if config.grpc.enabled { config.grpc.max_connections } else { 0 };
    config.http.max_connections + grpc + config.tcp.max_connections
}

/// Whether there is a certificate to be read again.
fn speaks_tls(config: &Config) -> bool {
    [&config.http.tls, &config.grpc.tls, &config.tcp.tls].into_iter().any(TlsOptions::is_enabled)
}

fn sources(arguments: &ServeArguments) -> Sources {
    Sources {
        file: arguments.source.config.clone(),
        overrides: Overrides {
            data_directory: arguments.data_directory.clone(),
            http: HttpOverrides { listen: arguments.http_listen.clone() },
            grpc: GrpcOverrides { listen: arguments.grpc_listen.clone() },
            tcp: TcpOverrides {
                frames_listen: arguments.tcp_frames_listen.clone(),
                lines_listen: arguments.tcp_lines_listen.clone(),
            },
            logging: LoggingOverrides { level: arguments.log_level.clone() },
        },
    }
}

async fn serve(config: Config, options: StartOptions) -> Result<(), Failure> {
    let mut signals = Signals::listen(speaks_tls(&config))?;
    let greeting = Greeting::new(&config);
    // A log is opened within a second; whoever does not want to wait for that has lost nothing.
    let mut relay = tokio::select! {
        started = Relay::start(config, options) => started?,
        signal = signals.next() => exit_at_once(signal),
    };
    greeting.print(relay.addresses())?;
    let signal = loop {
        tokio::select! {
            signal = signals.next_or_reload() => match signal {
                Some(signal) => break signal,
                None => relay.request_certificate_reload(),
            },
            () = relay.front_door_ended() => {
                return Err(Failure::unexpected("a front door failed; see the log lines"));
            }
        }
    };
    tracing::info!(%signal, "draining; a second signal stops at once");
    let drained = tokio::select! {
        drained = relay.shutdown() => drained,
        signal = signals.next() => exit_at_once(signal),
    };
    if drained.is_complete() {
        tracing::info!("stopped; everything in flight was finished");
        return Ok(());
    }
    let why =
        format!("stopped before everything in flight was finished; it will be delivered again: {drained:?}");
    Err(Failure::new(if drained.failed { Exit::Unexpected } else { Exit::DeadlinePassed }, why))
}

/// Ends the process as kill -9 would, but says so. What was acknowledged is safe at any moment.
fn exit_at_once(signal: Signal) -> ! {
    eprintln!("stopped at once by {signal}");
    std::process::exit(signal.exit() as i32)
}

/// What a person who has just started the server wants to know.
struct Greeting {
    data_directory: String,
    subscriptions: usize,
    sync: LogSync,
    /// What HTTP, gRPC and TCP are called in a URL here.
    schemes: [&'static str; 3],
    /// Where a sink writes to stdout, nothing else does.
    on_stdout: bool,
}

impl Greeting {
    fn new(config: &Config) -> Self {
        Self {
            data_directory: config.data_directory.display().to_string(),
            subscriptions: config.declared_subscriptions().count(),
            sync: config.log.sync,
            schemes: [
                if config.http.tls.is_enabled() { "https" } else { "http" },
                if config.grpc.tls.is_enabled() { "grpcs" } else { "grpc" },
                if config.tcp.tls.is_enabled() { "tls" } else { "tcp" },
            ],
            on_stdout: config.subscriptions.iter().flat_map(|it| &it.sink).all(|sink| sink.kind != "stdout"),
        }
    }

    fn print(&self, addresses: Addresses) -> Result<(), Failure> {
        let shown = |address: Option<_>| address.map(tracing::field::display);
        tracing::info!(
            address = %addresses.http, grpc_address = shown(addresses.grpc), tcp_frames = shown(addresses.tcp.frames), tcp_lines = shown(addresses.tcp.lines),
            version = env!("CARGO_PKG_VERSION"), data_directory = self.data_directory,
            subscriptions = self.subscriptions, "listening"
        );
        if self.sync != LogSync::Commit {
            tracing::warn!(sync = ?self.sync, "log.sync is not `commit`: acknowledged events can be lost in a crash");
        }
        let text = self.text(addresses);
        if self.on_stdout {
            return stdout::answer(&text);
        }
        eprintln!("{text}");
        Ok(())
    }

    fn text(&self, addresses: Addresses) -> String {
        let warning = match self.sync {
            LogSync::Commit => "",
            LogSync::Interval | LogSync::Never => {
                "WARNING: log.sync is not \"commit\": events that were acknowledged can be lost in a crash.\n"
            }
        };
        let [http, grpc, tcp] = self.schemes;
        let also = |what, address: Option<_>| {
            address.map_or_else(String::new, |address| format!("Listening on {tcp}://{address} for {what}\n"))
        };
        format!(
            "EventRelay {version}: data in {data}, {subscriptions} subscription{s}\n\
             {warning}\
             Listening on {http}://{address}\n\
             {also_grpc}{frames}{lines}\
             Try it:\n  \
             curl -i {http}://{address}/v1/events -H 'content-type: application/json' \
             -d '{{\"type\":\"order.created\",\"source\":\"/shop\",\"data\":{{\"order\":1}}}}'",
            address = addresses.http,
            also_grpc = addresses.grpc.map_or_else(String::new, |at| format!("Listening on {grpc}://{at}\n")),
            frames = also("frames", addresses.tcp.frames),
            lines = also("lines of JSON", addresses.tcp.lines),
            version = env!("CARGO_PKG_VERSION"),
            data = self.data_directory,
            subscriptions = self.subscriptions,
            s = if self.subscriptions == 1 { "" } else { "s" },
        )
    }
}
