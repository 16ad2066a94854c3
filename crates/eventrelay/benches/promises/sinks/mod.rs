//! How fast the built binary drains a backlog into real components, beside bare programs with the same client libraries, the same
//! content and the same batches, each against the same instance in the same run.
//!
//! A component that is not installed is left out, with a word about it: `scripts/services install`.

mod kafka;
mod nats;
mod postgres;
mod redis;

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::components::Component;
use crate::in_process::runtime;
use crate::load::{post, send};
use crate::memory::resident_bytes;
use crate::server::Server;
use crate::table::{Bar, Table};

/// The events of the backlog.
const EVENTS: u64 = 1_000_000;
/// Events of a request that fills it.
const FILL_BATCH: u64 = 500;
/// Events of a call, of either side.
const BATCH: usize = 1000;
/// Batches on their way at once, of either side, where the target allows more than one.
const BATCHES_IN_FLIGHT: usize = 4;
/// Longer than any drain takes.
const PATIENCE: Duration = Duration::from_mins(10);

/// How long a component may take to be ready once it listens.
const START_PATIENCE: Duration = Duration::from_secs(30);

/// One component, and a bare program that does with it what the sink does.
trait Target {
    /// The component, as `scripts/services` calls it.
    const NAME: &'static str;

    /// Makes what both sides need there.
    async fn prepare(component: &Component);

    /// The subscription's sink, as TOML, and its order.
    fn subscription(address: SocketAddr) -> String;

    /// Delivers so many events, and returns when the target has the last one.
    async fn bare(address: SocketAddr, events: u64);
}

pub(crate) fn backlogs(directory: &Path, table: &mut Table) {
    fill(directory);
    measure::<postgres::Postgres>(directory, table);
    measure::<redis::Redis>(directory, table);
    measure::<nats::Nats>(directory, table);
    measure::<kafka::Kafka>(directory, table);
}

/// Tries until it works: a component that listens may not be ready yet.
async fn once_ready<T, E: std::fmt::Display>(attempt: impl AsyncFn() -> Result<T, E>) -> T {
    let began = Instant::now();
    loop {
        match attempt().await {
            Ok(done) => return done,
            Err(error) => assert!(began.elapsed() < START_PATIENCE, "it does not get ready: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The data of each event: a JSON string of 256 bytes.
fn data() -> String {
    format!("\"{}\"", "x".repeat(254))
}

fn fill(directory: &Path) {
    let server = Server::start(directory, "");
    let event = format!("{{\"type\":\"order.created\",\"source\":\"/shop\",\"data\":{}}}\n", data());
    let request = post("/v1/events", "application/x-ndjson", event.repeat(FILL_BATCH as usize).as_bytes());
    let requests = EVENTS / FILL_BATCH;
    let (sent, _) = runtime().block_on(send(server.address, &request, 8, PATIENCE, requests));
    assert_eq!(sent, requests, "all were accepted");
}

fn measure<T: Target>(directory: &Path, table: &mut Table) {
    let Some(component) = Component::start(T::NAME) else { return };
    let runtime = runtime();
    runtime.block_on(T::prepare(&component));
    let began = Instant::now();
    runtime.block_on(T::bare(component.address(), EVENTS));
    let bare = EVENTS as f64 / began.elapsed().as_secs_f64();

    let subscription = T::subscription(component.address());
    let configuration = format!(
        "[egress]\nallow_private_addresses = true\n[[subscriptions]]\nname = \"{}\"\nstart = \"earliest\"\n{subscription}",
        T::NAME
    );
    let began = Instant::now();
    let server = Server::start(directory, &configuration);
    let mut peak = 0;
    while server.lag(T::NAME) > 0 {
        peak = peak.max(resident_bytes(server.process()));
        assert!(began.elapsed() < PATIENCE, "{} takes too long", T::NAME);
        std::thread::sleep(Duration::from_millis(20));
    }
    let sink = EVENTS as f64 / began.elapsed().as_secs_f64();
    let what = format!("{}: a backlog of 1,000,000 events, drained", T::NAME);
    let beside = format!("{sink:.0}/s beside {bare:.0}/s of a bare program with the same client");
    table.add(&what, 100.0 * sink / bare, "% of a bare program", &beside, Bar::AtLeast(70.0));
    let memory = format!("{}: memory while it drains", T::NAME);
    table.add(
        &memory,
        peak as f64 / 1_048_576.0,
        "MiB resident",
        "the most that was seen",
        Bar::AtMost(200.0),
    );
}
