//! Publishing over HTTP beside a handler that does nothing, of the same server.

use std::path::Path;
use std::time::Duration;

use crate::in_process::runtime;
use crate::load::{event, post, send};
use crate::server::Server;
use crate::table::{Bar, Table};

const CONNECTIONS: u64 = 64;
const TURN: Duration = Duration::from_secs(4);

pub(crate) fn beside_no_op(directory: &Path, table: &mut Table) {
    let runtime = runtime();
    let server = Server::start(directory, "[http]\nenable_noop_route = true\n");
    let (nothing, publish) =
        (post("/noop", "application/json", &event()), post("/v1/events", "application/json", &event()));
    let rate = |request: &[u8]| {
        let (answered, took) = runtime.block_on(send(server.address, request, CONNECTIONS, TURN, u64::MAX));
        answered as f64 / took.as_secs_f64()
    };
    // In turns, so that a slower moment of the machine hits both.
    let (mut idle, mut published) = (0.0, 0.0);
    for _ in 0..3 {
        idle += rate(&nothing) / 3.0;
        published += rate(&publish) / 3.0;
    }
    let beside = format!("{idle:.0} requests/s that do nothing, {published:.0} that publish");
    table.add(
        "HTTP, 64 connections, one event a request",
        published / idle * 100.0,
        "%",
        &beside,
        Bar::AtLeast(70.0),
    );
}
