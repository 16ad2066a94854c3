//! What it costs that many subscriptions read the same tail of the log: the log is read once for all of them.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::in_process::runtime;
use crate::load::{event, post, send};
use crate::part;
use crate::server::Server;
use crate::table::{Bar, Table};

const SUBSCRIPTIONS: usize = 100;
const EVENTS: u64 = 500_000;
const BATCH: u64 = 500;

pub(crate) fn a_hundred_subscriptions(directory: &Path, table: &mut Table) {
    let [none, one, hundred] = [0, 1, SUBSCRIPTIONS].map(|count| {
        let took = processor_time(&part(directory, &format!("of-{count}")), count);
        took.as_secs_f64() * 1e9 / EVENTS as f64
    });
    let beside = format!(
        "{hundred:.0} ns an event of the processors, taking it in included, beside {one:.0} with one and {none:.0} with none"
    );
    table.add("100 subscriptions that follow the tail", hundred / one, "× one", &beside, Bar::AtMost(3.0));
}

/// What taking in the events costs the server while so many subscriptions read and pass them.
fn processor_time(directory: &Path, subscriptions: usize) -> Duration {
    let subscription = |number: usize| {
        format!(
            "[[subscriptions]]\nname = \"s{number}\"\nfilter = {{ types = [\"another.{number}.*\"] }}\n\
             sink = {{ kind = \"file\", directory = \"s{number}\" }}\n"
        )
    };
    let server = Server::start(directory, &(0..subscriptions).map(subscription).collect::<String>());
    let body: Vec<u8> = (0..BATCH).flat_map(|_| [event(), b"\n".to_vec()].concat()).collect();
    let request = post("/v1/events", "application/x-ndjson", &body);
    let before = server.processor_time();
    let (sent, _) =
        runtime().block_on(send(server.address, &request, 4, Duration::from_secs(120), EVENTS / BATCH));
    assert_eq!(sent, EVENTS / BATCH, "all were accepted");
    let began = Instant::now();
    while (0..subscriptions).any(|number| server.lag(&format!("s{number}")) > 0) {
        assert!(began.elapsed() < Duration::from_secs(60), "a subscription does not come to the end");
        std::thread::sleep(Duration::from_millis(50));
    }
    server.processor_time() - before
}
