//! From POST to a delivered webhook, with load and receiver on the same two cores.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::in_process::runtime;
use crate::load::{event, post, send};
use crate::receiver::Receiver;
use crate::server::Server;
use crate::table::{Bar, Table};

const EVENTS: u64 = 150_000;
const CONNECTIONS: u64 = 64;

pub(crate) fn accepted_and_delivered(directory: &Path, table: &mut Table) {
    let runtime = runtime();
    let receiver = runtime.block_on(Receiver::start());
    let server = Server::start(
        directory,
        &format!(
            "[egress]\nallow_private_addresses = true\n\
             [[subscriptions]]\nname = \"bench\"\nsink = {{ kind = \"webhook\", url = \"http://{}/\", \
             secrets = [\"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"] }}\n",
            receiver.address
        ),
    );
    let request = post("/v1/events", "application/json", &event());
    let began = Instant::now();
    let (accepted, accept_took) =
        runtime.block_on(send(server.address, &request, CONNECTIONS, Duration::from_secs(60), EVENTS));
    let deadline = began + Duration::from_secs(90);
    while receiver.received() < accepted && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
    let took = began.elapsed();
    let delivered = receiver.received();
    assert!(delivered >= accepted, "{delivered} of {accepted} were delivered");
    let beside = format!("accepted at {:.0}/s", accepted as f64 / accept_took.as_secs_f64());
    let rate = accepted as f64 / took.as_secs_f64();
    table.add(
        "accepted over HTTP and delivered to a webhook",
        rate,
        "events/s",
        &beside,
        Bar::AtLeast(10_000.0),
    );
}
