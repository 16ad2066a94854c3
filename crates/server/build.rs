//! Compiles the contracts in `proto/`, without a `protoc` of the system's, and keeps their descriptors for reflection.

use std::error::Error;
use std::path::PathBuf;

use prost::Message;

const DIRECTORY: &str = "../../proto";
const CONTRACTS: [&str; 3] =
    ["eventrelay/v1/eventrelay.proto", "event/event.proto", "ingestpb/ingestpb.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={DIRECTORY}");
    let descriptors = protox::compile(CONTRACTS, [DIRECTORY])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        // What an event carries is a slice of the message that it came in.
        .bytes(".")
        .btree_map(".")
        .build_transport(false)
        .compile_fds(descriptors)?;
    Ok(())
}
