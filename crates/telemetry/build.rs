//! Compiles the messages of OTLP that traces take, without a `protoc` of the system's.

use std::error::Error;

const DIRECTORY: &str = "../../proto/opentelemetry";
const IMPORTS: &str = "../../proto";
const SERVICE: &str = "opentelemetry/proto/collector/trace/v1/trace_service.proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={DIRECTORY}");
    prost_build::Config::new()
        // Their examples are not Rust.
        .disable_comments(["."])
        .include_file("otlp.rs")
        .compile_fds(protox::compile([SERVICE], [IMPORTS])?)?;
    Ok(())
}
