//! The contracts of `proto/` as types, servers and clients.

#![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, reason = "generated")]

/// `eventrelay.v1`: our own API.
pub mod v1 {
    tonic::include_proto!("eventrelay.v1");
}

/// `event`: the contract of a job-tracked ingester.
pub mod event {
    tonic::include_proto!("event");
}

/// `ingestpb`: the contract of a streaming relay.
pub mod ingestpb {
    tonic::include_proto!("ingestpb");
}

/// The contracts' descriptors, for reflection.
pub(crate) const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
