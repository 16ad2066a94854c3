//! A server with every door open.

use std::net::SocketAddr;
use std::path::Path;

use crate::doors::Addresses;
use crate::harness::{RelayProcess, eventrelay, http};

/// Where it listens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports {
    pub(crate) http: SocketAddr,
    pub(crate) grpc: SocketAddr,
    pub(crate) frames: SocketAddr,
    pub(crate) lines: SocketAddr,
}

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Port {
    Http,
    Grpc,
    Frames,
    Lines,
}

impl Ports {
    pub(crate) fn of(&self, port: Port) -> SocketAddr {
        match port {
            Port::Http => self.http,
            Port::Grpc => self.grpc,
            Port::Frames => self.frames,
            Port::Lines => self.lines,
        }
    }

    pub(crate) fn addresses(&self) -> Addresses {
        Addresses { http: self.http, grpc: self.grpc, lines: self.lines }
    }
}

/// A server that is ready.
pub(crate) struct Server {
    pub(crate) relay: RelayProcess,
    pub(crate) ports: Ports,
}

impl Server {
    pub(crate) fn start(directory: &Path, configuration: &str) -> Self {
        std::fs::write(directory.join("eventrelay.toml"), configuration).unwrap();
        let mut command = eventrelay(directory);
        command.args(["serve", "--http-listen", "127.0.0.1:0"]);
        command.args(["--tcp-frames-listen", "127.0.0.1:0", "--tcp-lines-listen", "127.0.0.1:0"]);
        let mut relay = RelayProcess::spawn(command).unwrap_or_else(|failure| panic!("{failure:?}"));
        let mut address = |scheme: &str, what: &str| {
            let line = relay.wait_for_line(|line| line.contains(scheme) && line.ends_with(what)).unwrap();
            line.split("://").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap()
        };
        let (grpc, frames) = (address("on grpc://", ""), address("on tcp://", "for frames"));
        let lines = address("on tcp://", "for lines of JSON");
        let ports = Ports { http: relay.http(), grpc, frames, lines };
        Self { relay, ports }
    }

    /// How many events the log has.
    pub(crate) fn durable_offset(&self) -> u64 {
        let health = http::get(self.ports.http, "/health").json();
        assert_eq!(health["status"], "ok", "{health}");
        health["components"]["log"]["durable_offset"].as_u64().unwrap()
    }

    /// A metric's value; none when there is no such line.
    pub(crate) fn metric(&self, line: &str) -> Option<f64> {
        sample(&http::get(self.ports.http, "/metrics").body, line)
    }
}

/// The value of the metric with this name and these labels.
pub(crate) fn sample(metrics: &str, name: &str) -> Option<f64> {
    metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}
