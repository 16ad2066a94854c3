//! The limit on open files, which many systems set at 1024 for programs that know no better: fewer than the connections
//! that the configuration allows.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Segments, indexes, the state, sinks' connections and log files, with room to spare.
const BESIDE_CONNECTIONS: u64 = 1024;

/// Raises the limit as far as this process may, and warns when that is not enough for the connections allowed.
pub(crate) fn raise_limit(max_connections: usize) {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
    {
        tracing::warn!(%error, "cannot raise the limit on open files");
    }
    let wanted = max_connections as u64 + BESIDE_CONNECTIONS;
    if let Some(limit) = getrlimit(Resource::Nofile).current
        && limit < wanted
    {
        tracing::warn!(
            limit,
            wanted,
            "the limit on open files is below what http.max_connections, grpc.max_connections and tcp.max_connections ask for"
        );
    }
}
