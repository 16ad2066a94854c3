//! How long a large log takes to open.

use std::path::Path;
use std::time::{Duration, Instant};

use eventrelay_log::{Group, Log};

use crate::in_process::{open_log, runtime};
use crate::table::{Bar, Table};

const LOG_BYTES: u64 = 10 << 30;

pub(crate) fn ten_gibibytes(directory: &Path, table: &mut Table) {
    let runtime = runtime();
    let log = open_log(directory);
    runtime.block_on(fill(&log));
    let (events, bytes) = (log.durable_offset(), log.bytes());
    log.close();
    drop(log);
    let began = Instant::now();
    let log = open_log(directory);
    let took = began.elapsed();
    assert_eq!(log.durable_offset(), events, "all of it is there");
    let beside = format!("{events} events in {:.1} GiB", bytes as f64 / f64::from(1 << 30));
    table.add("opening a log of 10 GiB", took.as_secs_f64(), "s", &beside, Bar::AtMost(1.0));
}

async fn fill(log: &Log) {
    let payload = vec![7; 4_000];
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let (log, payload) = (log.clone(), payload.clone());
            tokio::spawn(async move {
                let deadline = Instant::now() + Duration::from_secs(240);
                while log.bytes() < LOG_BYTES && Instant::now() < deadline {
                    let mut group = Group::with_capacity(512 * 4_005);
                    (0..512).for_each(|_| group.push(None, |out| out.extend_from_slice(&payload)));
                    let reservation = log.reserve(group.bytes()).await.expect("room");
                    log.append(reservation, group).await.expect("appended");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("filled");
    }
}
