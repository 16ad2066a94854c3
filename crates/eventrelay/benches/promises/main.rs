//! The figures that the project promises, each beside a limit measured in the same run, for machines are shared and noisy.
//!
//! `make bench` runs them all; `cargo bench -p eventrelay --bench promises -- NAME…` runs some. Data goes to a temporary
//! directory below `target/`, on the disk that the repository is on.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a measurement that goes wrong ends"
)]
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "figures for people")]

mod backlog;
mod batches;
#[path = "../../../sinks/tests/components/mod.rs"]
mod components;
mod delivery;
mod grpc;
mod http;
mod in_process;
mod keys;
mod known_keys;
mod load;
mod memory;
mod opening;
mod prepared;
mod receiver;
mod server;
mod sinks;
mod table;
mod tail;
mod tcp;

use std::path::{Path, PathBuf};

use table::Table;

/// The binary's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Measure = fn(&Path, &mut Table);

const MEASURES: [(&str, Measure); 13] = [
    ("lone-publisher", in_process::lone_publisher),
    ("in-process", in_process::throughput),
    ("keys", keys::ten_million),
    ("http", http::beside_no_op),
    ("batches", batches::of_a_hundred),
    ("tcp", tcp::pipelined_frames),
    ("grpc", grpc::streams),
    ("known-keys", known_keys::at_the_front_doors),
    ("delivery", delivery::accepted_and_delivered),
    ("tail", tail::a_hundred_subscriptions),
    ("sinks", sinks::backlogs),
    ("opening", opening::ten_gibibytes),
    ("memory", backlog::idle_and_behind_a_dead_webhook),
];

fn main() {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench");
    std::fs::create_dir_all(&root).expect("a directory for the data");
    let mut table = Table::default();
    for (name, measure) in MEASURES {
        if wanted.is_empty() || wanted.iter().any(|want| want == name) {
            eprintln!("measuring {name} …");
            let directory = tempfile::tempdir_in(&root).expect("a temporary directory");
            measure(directory.path(), &mut table);
        }
    }
    table.print();
}

/// Where one part of a measurement keeps its data.
fn part(directory: &Path, name: &str) -> PathBuf {
    let part = directory.join(name);
    std::fs::create_dir_all(&part).expect("a directory");
    part
}
