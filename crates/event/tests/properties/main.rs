//! Properties that hold for every event and every JSON text.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod generate;
mod json_oracle;
mod round_trip;
