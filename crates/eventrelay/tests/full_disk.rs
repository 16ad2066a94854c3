//! A disk that fills up under the real server: a small file system of the test's own.
//!
//! The file system is a `tmpfs` in a mount namespace that a process of the test's holds, and the servers enter. So nothing
//! is mounted where others see it, and it ends with that process.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's way to fail")]

mod harness;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use harness::http::{self, Answer};
use harness::receiver::{Receiver, Reply};
use harness::{BINARY, RelayProcess, SMALL_LOG, forget_configuration, poll};
use rustix::process::Signal;

/// The state takes 8 MiB of it for its reserve and 3 for attempts, the filler 6, the log the rest. What the filler gives back is
/// enough for the log's next two segments and for a reserve that could not be made up on a full disk.
const DISK_BYTES: u32 = 32 << 20;
const FILLER_BYTES: usize = 6 << 20;
const BATCH_EVENTS: usize = 100;
/// More than the disk can hold.
const MOST_BATCHES: usize = 400;
/// Every batch has one event that ends as a dead letter.
const DEAD_IN_BATCH: usize = 1;
/// How soon events must be taken again once there is room.
const RESUMES_WITHIN: Duration = Duration::from_secs(5);

/// A small file system at `disk` in a directory. Gone when dropped.
struct SmallDisk {
    holder: Child,
    directory: PathBuf,
}

impl SmallDisk {
    fn mount(directory: &Path) -> Self {
        let mount_point = directory.join("disk");
        std::fs::create_dir(&mount_point).unwrap();
        let script = format!(
            "mount -t tmpfs -o size={DISK_BYTES} tmpfs \"$0\" && echo mounted && exec cat >/dev/null"
        );
        let mut holder = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script])
            .arg(&mount_point)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "mounted\n", "a user may not mount a tmpfs in a namespace of its own here");
        Self { holder, directory: directory.to_owned() }
    }

    /// A file on it, as it is reached from outside.
    fn file(&self, name: &str) -> PathBuf {
        format!("/proc/{}/root{}/disk/{name}", self.holder.id(), self.directory.display()).into()
    }

    /// The binary, where the file system is mounted.
    fn eventrelay(&self) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--user", "--mount", "--preserve-credentials", "--target", &self.holder.id().to_string()])
            .args(["sh", "-c", "cd \"$0\" && exec \"$@\""])
            .args([self.directory.as_os_str(), BINARY.as_ref()]);
        forget_configuration(&mut command);
        command
    }

    fn serve(&self) -> RelayProcess {
        let mut command = self.eventrelay();
        command.args(["serve", "--http-listen", "127.0.0.1:0"]);
        RelayProcess::spawn(command).unwrap_or_else(|failure| panic!("the server did not start: {failure:?}"))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// What the receiver saw, and whether it takes anything yet.
#[derive(Default)]
struct Taken {
    open: AtomicBool,
    deliveries: Mutex<Vec<String>>,
}

impl Taken {
    fn distinct(&self) -> usize {
        let mut ids = self.deliveries.lock().unwrap().clone();
        ids.sort();
        ids.dedup();
        ids.len()
    }

    fn total(&self) -> usize {
        self.deliveries.lock().unwrap().len()
    }
}

#[test]
fn a_full_disk_loses_nothing_keeps_delivering_and_takes_events_again_by_itself() {
    let directory = tempfile::tempdir().unwrap();
    let disk = SmallDisk::mount(directory.path());
    let filler = disk.file("filler");
    std::fs::write(&filler, vec![1; FILLER_BYTES]).unwrap();
    let (receiver, taken) = receiver();
    std::fs::write(directory.path().join("eventrelay.toml"), configuration(&receiver)).unwrap();
    let relay = disk.serve();

    let mut accepted = fill(relay.http());
    assert!(accepted > 2_000, "only {accepted} events until the disk was full");
    assert_eq!(http::get(relay.http(), "/readyz").status, 503);
    assert_eq!(
        http::get(relay.http(), "/health").json()["components"]["disk"]["status"],
        "full",
        "the health page does not say so"
    );

    // It delivers, and what ends badly is kept, with not a byte to be had.
    taken.open.store(true, Ordering::SeqCst);
    let dead = accepted / BATCH_EVENTS * DEAD_IN_BATCH;
    wait_until_settled(relay.http());
    assert_eq!(taken.distinct(), accepted - dead);
    assert_eq!(dead_letters(relay.http()), dead as f64);
    assert_eq!(publish_batch(relay.http()).status, 507, "the disk was not full any more");

    // Cursors and dead letters were saved: a restart on the full disk repeats nothing and forgets nothing.
    let before = taken.total();
    ends_well(relay);
    let relay = disk.serve();
    wait_until_settled(relay.http());
    assert_eq!((taken.total(), dead_letters(relay.http())), (before, dead as f64));
    accepted += fill(relay.http());

    // Room comes back, and nobody has to do anything.
    std::fs::remove_file(&filler).unwrap();
    let began = Instant::now();
    let answer =
        poll::within(RESUMES_WITHIN, || Some(publish_batch(relay.http())).filter(|a| a.status == 201));
    assert!(answer.is_some(), "no event was taken within {RESUMES_WITHIN:?}");
    println!("{accepted} events until full; took events again {:?} after there was room", began.elapsed());
    accepted += BATCH_EVENTS;
    wait_until_settled(relay.http());
    let dead = accepted / BATCH_EVENTS * DEAD_IN_BATCH;
    assert_eq!((taken.distinct(), dead_letters(relay.http())), (accepted - dead, dead as f64));
    ends_well(relay);
    let verified =
        disk.eventrelay().args(["log", "verify", "--data-directory", "disk/data"]).output().unwrap();
    assert!(verified.status.success(), "{verified:?}");
}

/// All that was in flight is finished, and saved.
fn ends_well(mut relay: RelayProcess) {
    relay.signal(Signal::TERM);
    let status = relay.wait();
    assert_eq!(status.code(), Some(0), "{}", relay.everything_said());
}

fn receiver() -> (Receiver, Arc<Taken>) {
    let taken = Arc::new(Taken::default());
    let for_handler = Arc::clone(&taken);
    let receiver = Receiver::start(move |request| {
        if request.path == "/refusing" {
            return Reply::Status(500);
        }
        if !for_handler.open.load(Ordering::SeqCst) {
            return Reply::Status(503);
        }
        for_handler.deliveries.lock().unwrap().push(request.header("webhook-id").unwrap().to_owned());
        Reply::Status(204)
    });
    (receiver, taken)
}

fn configuration(receiver: &Receiver) -> String {
    let breaker = "breaker = { consecutive_failures = 1000000, failure_ratio = 1.0, window = 10000 }";
    format!(
        "data_directory = \"disk/data\"\n{SMALL_LOG}\n\
         [egress]\nallow_private_addresses = true\n\
         [[subscriptions]]\nname = \"taking\"\nfilter = {{ types = [\"order.*\"] }}\nmax_in_flight = 16\n{breaker}\n\
         retry = {{ max_attempts = 100000, initial_backoff_ms = 10, max_backoff_ms = 100 }}\n\
         sink = {{ kind = \"webhook\", url = \"{}\", unsigned = true }}\n\
         [[subscriptions]]\nname = \"refusing\"\nfilter = {{ types = [\"poison\"] }}\n{breaker}\n\
         retry = {{ max_attempts = 2, initial_backoff_ms = 5 }}\n\
         sink = {{ kind = \"webhook\", url = \"{}\", unsigned = true }}\n",
        receiver.url("/taking"),
        receiver.url("/refusing"),
    )
}

/// Publishes until the disk is full. Gives the number of events that were accepted.
fn fill(server: SocketAddr) -> usize {
    for batch in 0..MOST_BATCHES {
        let answer = publish_batch(server);
        if answer.status != 201 {
            assert_eq!(
                (answer.status, answer.json()["code"].as_str()),
                (507, Some("disk_full")),
                "{answer:?}"
            );
            return batch * BATCH_EVENTS;
        }
    }
    panic!("the disk did not fill up");
}

fn publish_batch(server: SocketAddr) -> Answer {
    let filler = "x".repeat(900);
    let event = |kind: &str| format!("{{\"type\":\"{kind}\",\"source\":\"/s\",\"data\":\"{filler}\"}}\n");
    let body = event("order.created").repeat(BATCH_EVENTS - DEAD_IN_BATCH) + &event("poison");
    http::post(server, "/v1/events", "application/x-ndjson", &body)
}

fn wait_until_settled(server: SocketAddr) {
    poll::until("every subscription is done", || {
        let metrics = http::get(server, "/metrics").body;
        let done = |name| gauges(&metrics, name).iter().all(|value| *value == 0.0);
        (done("lag_events") && done("retrying")).then_some(())
    });
}

fn dead_letters(server: SocketAddr) -> f64 {
    let metrics = http::get(server, "/metrics").body;
    gauges(&metrics, "dead_letters").iter().sum()
}

fn gauges(metrics: &str, name: &str) -> Vec<f64> {
    let prefix = format!("eventrelay_subscription_{name}{{");
    let values = metrics.lines().filter(|line| line.starts_with(&prefix));
    let values: Vec<f64> = values.map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect();
    assert!(!values.is_empty(), "no {prefix}: {metrics}");
    values
}
