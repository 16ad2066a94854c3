//! The memory of a server that does nothing, and of one whose only webhook is dead.

use std::path::Path;
use std::time::Duration;

use crate::in_process::runtime;
use crate::load::{event, post, send};
use crate::memory::resident_bytes;
use crate::part;
use crate::server::Server;
use crate::table::{Bar, Table};

const BACKLOG: u64 = 1_000_000;
const BATCH: u64 = 500;

pub(crate) fn idle_and_behind_a_dead_webhook(directory: &Path, table: &mut Table) {
    let mebibytes = |server: &Server| resident_bytes(server.process()) as f64 / 1_048_576.0;
    let idle = Server::start(&part(directory, "idle"), "");
    std::thread::sleep(Duration::from_secs(2));
    table.add("idle", mebibytes(&idle), "MiB resident", "no event, no subscription", Bar::AtMost(40.0));
    drop(idle);
    // A port that nobody listens on: bound, never accepting, and closed before the server tries it.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("bound").local_addr().expect("an address");
    let server = Server::start(
        &part(directory, "backlog"),
        &format!(
            "[egress]\nallow_private_addresses = true\n\
             [[subscriptions]]\nname = \"dead\"\nsink = {{ kind = \"webhook\", url = \"http://{closed}/\", \
             secrets = [\"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"] }}\n"
        ),
    );
    let body: Vec<u8> = (0..BATCH).flat_map(|_| [event(), b"\n".to_vec()].concat()).collect();
    let request = post("/v1/events", "application/x-ndjson", &body);
    let (batches, took) =
        runtime().block_on(send(server.address, &request, 8, Duration::from_secs(120), BACKLOG / BATCH));
    assert_eq!(batches * BATCH, BACKLOG, "all were accepted");
    std::thread::sleep(Duration::from_secs(2));
    let beside =
        format!("accepted over HTTP at {:.0}/s in batches of {BATCH}", BACKLOG as f64 / took.as_secs_f64());
    table.add(
        "1,000,000 events behind a dead webhook",
        mebibytes(&server),
        "MiB resident",
        &beside,
        Bar::AtMost(150.0),
    );
}
