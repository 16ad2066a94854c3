//! What a publish over HTTP costs beside a request that does nothing: requests per second on the same server, with the
//! same client, in alternating rounds. The bar is 70 %.
//!
//! `cargo bench -p eventrelay-server --bench http -- [connections] [seconds per round] [directory]`
//!
//! Beside the rate stands the processor time of the whole process per request, client and log threads included. Where
//! other work shares the machine it tells more than the rate.
//!
//! The client writes ready-made requests on keep-alive connections and looks for nothing but the end of each answer, on
//! a thread of its own, so that as much as possible of the machine is the server's.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use eventrelay_delivery::{Engine, EngineOptions, Target};
use eventrelay_event::StoredEvent;
use eventrelay_ingest::{PublishLimits, Publisher, PublisherMetrics};
use eventrelay_log::disk::{DurableWrites, RealDisk};
use eventrelay_log::{Log, Options};
use eventrelay_server::auth::{Accounts, ApiKeys, LoginOptions};
use eventrelay_server::http::{CompatOptions, HttpMetrics, HttpServer, ServerOptions, Services};
use eventrelay_server::quota::Quotas;
use eventrelay_server::{
    Configuration, ConfigurationProblem, DeliveriesUnreadable, Delivery, SubscriptionHealth,
    SubscriptionsHealth,
};
use eventrelay_state::{LogIdentity, OpenMode, State, Subscription};
use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const ROUNDS: usize = 4;
const DATA_BYTES: usize = 256;

struct NoSubscriptions;

impl SubscriptionsHealth for NoSubscriptions {
    fn subscriptions(&self) -> Vec<SubscriptionHealth> {
        Vec::new()
    }

    fn deliveries_of(&self, _event: &StoredEvent) -> Result<Vec<Delivery>, DeliveriesUnreadable> {
        Ok(Vec::new())
    }
}

#[derive(Debug)]
struct NoConfiguration;

impl Configuration for NoConfiguration {
    fn effective(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    fn problems_of(&self, _toml: &str) -> Vec<ConfigurationProblem> {
        Vec::new()
    }
}

fn main() {
    // `cargo bench` adds arguments of its own, which begin with dashes.
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with('-'));
    let connections: usize =
        arguments.next().map_or(64, |text| text.parse().expect("a number of connections"));
    let seconds: u64 = arguments.next().map_or(3, |text| text.parse().expect("a number of seconds"));
    let parent = arguments.next().unwrap_or_else(|| std::env::temp_dir().display().to_string());
    let directory = tempfile::tempdir_in(parent).unwrap();

    let server_runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let address = server_runtime.block_on(start_server(directory.path()));
    let client_runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();

    let body = format!(r#"{{"type":"order.created","source":"/bench","data":"{}"}}"#, "x".repeat(DATA_BYTES));
    let round =
        |path| client_runtime.block_on(load(address, connections, path, &body, Duration::from_secs(seconds)));
    println!("{connections} connections, one event of {DATA_BYTES} B a request, {seconds} s a round");
    println!(
        "{:>5} {:>10} {:>10} {:>10} {:>10} {:>7}",
        "round", "noop/s", "CPU µs", "publish/s", "CPU µs", "ratio"
    );
    let mut ratios = Vec::new();
    for number in 1..=ROUNDS {
        let (noop, publish) = (round("/noop"), round("/v1/events"));
        let ratio = publish.per_second / noop.per_second;
        ratios.push(ratio);
        println!(
            "{number:>5} {:>10.0} {:>10.1} {:>10.0} {:>10.1} {:>6.0}%",
            noop.per_second,
            noop.cpu_micros,
            publish.per_second,
            publish.cpu_micros,
            100.0 * ratio
        );
    }
    ratios.sort_by(f64::total_cmp);
    println!("median {:.0}% (bar: 70%)", 100.0 * (ratios[ROUNDS / 2 - 1] + ratios[ROUNDS / 2]) / 2.0);
}

async fn start_server(directory: &std::path::Path) -> SocketAddr {
    let options = Options::new(directory.to_owned());
    let disk = Arc::new(RealDisk::new(DurableWrites::default()));
    let log = tokio::task::spawn_blocking(move || Log::open(disk, options).unwrap()).await.unwrap();
    let options = ServerOptions {
        listen: "127.0.0.1:0".parse().unwrap(),
        enable_noop_route: true,
        ..ServerOptions::default()
    };
    let identity = LogIdentity { log_id: log.id().0, oldest_offset: 0, end_offset: 0 };
    let state_path = directory.join("state.db");
    let stored = tokio::task::spawn_blocking(move || {
        let state = State::open(&state_path, identity, OpenMode::Normal).unwrap();
        let accounts = Accounts::open(state.clone(), LoginOptions::default(), Quotas::none()).unwrap();
        (ApiKeys::open(state.clone(), false, None, Quotas::none()).unwrap(), accounts, state)
    });
    let (api_keys, accounts, state) = stored.await.unwrap();
    let targets = Arc::new(|_: &Subscription, _| Ok(Target::Pull));
    let engine =
        Engine::start(log.clone(), state.clone(), Vec::new(), targets, EngineOptions::default()).await;
    let services = Services {
        api_keys: Arc::new(api_keys),
        accounts: Arc::new(accounts),
        state,
        configuration: Arc::new(NoConfiguration),
        publisher: Arc::new(Publisher::new(
            log.clone(),
            PublishLimits::default(),
            PublisherMetrics::default(),
        )),
        log,
        subscriptions: Arc::new(NoSubscriptions),
        consumers: eventrelay_delivery::pull::Consumers::default(),
        engine: Arc::new(engine.unwrap()),
        compat: CompatOptions::default(),
        registry: Arc::new(Registry::default()),
        metrics: HttpMetrics::default(),
    };
    let (server, address) = HttpServer::bind(&options, services).unwrap();
    tokio::spawn(server.run(std::future::pending()));
    address
}

/// What a round came to.
struct Round {
    per_second: f64,
    /// Processor time of the process per request.
    cpu_micros: f64,
}

/// Processor time of this process until now, in seconds.
fn cpu_seconds() -> f64 {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    spent.tv_sec as f64 + spent.tv_nsec as f64 / 1e9
}

/// As many requests as there is time for, over all connections.
async fn load(address: SocketAddr, connections: usize, path: &str, body: &str, time: Duration) -> Round {
    let request = Arc::new(format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    let (began, cpu_before) = (Instant::now(), cpu_seconds());
    let mut clients = JoinSet::new();
    for _ in 0..connections {
        clients.spawn(client(address, Arc::clone(&request), began + time));
    }
    let requests: u64 = clients.join_all().await.into_iter().sum();
    Round {
        per_second: requests as f64 / began.elapsed().as_secs_f64(),
        cpu_micros: (cpu_seconds() - cpu_before) * 1e6 / requests as f64,
    }
}

async fn client(address: SocketAddr, request: Arc<String>, until: Instant) -> u64 {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.set_nodelay(true).unwrap();
    let mut answer = Vec::with_capacity(4096);
    let mut count = 0;
    while Instant::now() < until {
        socket.write_all(request.as_bytes()).await.unwrap();
        answer.clear();
        // The answers are small, and come in one piece: all of it is there when its end is.
        while !(answer.ends_with(b"}") || answer.ends_with(b"\r\n\r\n")) {
            assert!(socket.read_buf(&mut answer).await.unwrap() > 0, "the server hung up");
        }
        assert!(answer.starts_with(b"HTTP/1.1 20"), "{}", String::from_utf8_lossy(&answer));
        count += 1;
    }
    count
}
