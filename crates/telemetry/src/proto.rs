//! The messages of OTLP, as `proto/opentelemetry` has them.

#![allow(missing_docs, unreachable_pub, dead_code, clippy::all, clippy::pedantic, reason = "generated")]

include!(concat!(env!("OUT_DIR"), "/otlp.rs"));

pub(crate) use opentelemetry::proto::collector::trace::v1 as collector;
pub(crate) use opentelemetry::proto::{common::v1 as common, resource::v1 as resource, trace::v1 as trace};
