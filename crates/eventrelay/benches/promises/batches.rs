//! Publishing over HTTP in batches.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::in_process::runtime;
use crate::load::{Connection, post};
use crate::prepared::{Keyed, Prepared, json_event};
use crate::server::Server;
use crate::table::{Bar, Table};

const CONNECTIONS: usize = 16;
const BATCH: usize = 100;
const TURN: Duration = Duration::from_secs(4);

pub(crate) fn of_a_hundred(directory: &Path, table: &mut Table) {
    let server = Server::start(directory, "");
    let rate = rate(&server, Keyed::No);
    let beside = format!("{CONNECTIONS} connections, one request at a time on each");
    table.add("HTTP, batches of 100", rate, "events/s", &beside, Bar::AtLeast(300_000.0));
}

/// Events a second, all of them durable.
pub(crate) fn rate(server: &Server, keyed: Keyed) -> f64 {
    let body = format!("[{}]", vec![json_event(keyed); BATCH].join(","));
    let request = Prepared::new(post("/v1/events", "application/json", body.as_bytes()));
    let stored_before = server.durable_offset();
    let began = Instant::now();
    let requests: usize = runtime().block_on(async {
        let send = |mut request: Prepared, address| async move {
            let mut connection = Connection::open(address).await;
            let mut answered = 0;
            while began.elapsed() < TURN {
                connection.request(request.next()).await;
                answered += 1;
            }
            answered
        };
        let tasks: Vec<_> =
            (0..CONNECTIONS).map(|_| tokio::spawn(send(request.clone(), server.address))).collect();
        let mut answered = 0;
        for task in tasks {
            answered += task.await.expect("a connection ends well");
        }
        answered
    });
    let took = began.elapsed();
    server.assert_stored(stored_before, requests * BATCH);
    (requests * BATCH) as f64 / took.as_secs_f64()
}
