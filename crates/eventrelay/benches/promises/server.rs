//! The built binary, started for a measurement.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A running server, ended when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    /// Where frames are taken.
    pub(crate) frames: SocketAddr,
    pub(crate) grpc: SocketAddr,
}

impl Server {
    /// Starts it on free ports with its data in `directory`, and these lines of configuration.
    pub(crate) fn start(directory: &Path, configuration: &str) -> Self {
        Self::start_with(directory, configuration, &[])
    }

    /// The same with more arguments.
    pub(crate) fn start_with(directory: &Path, configuration: &str, arguments: &[&str]) -> Self {
        let file = directory.join("eventrelay.toml");
        let base = format!("data_directory = {:?}\n{configuration}", directory.join("data"));
        std::fs::write(&file, base).expect("a configuration file");
        let mut child = Command::new(env!("CARGO_BIN_EXE_eventrelay"))
            .args(["serve", "--config"])
            .arg(&file)
            .args(arguments)
            .env("EVENTRELAY_HTTP__LISTEN", "127.0.0.1:0")
            .env("EVENTRELAY_GRPC__LISTEN", "127.0.0.1:0")
            .env("EVENTRELAY_TCP__FRAMES_LISTEN", "127.0.0.1:0")
            .env("EVENTRELAY_LOGGING__LEVEL", "warn")
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the server starts");
        let lines = BufReader::new(child.stdout.take().expect("its output"));
        let (mut address, mut frames, mut grpc) = (None, None, None);
        for line in lines.lines().map_while(Result::ok).take_while(|line| line != "Try it:") {
            let after = |scheme: &str| {
                line.split_whitespace().find_map(|word| word.strip_prefix(scheme)?.parse().ok())
            };
            address = address.or_else(|| after("http://"));
            frames = frames.or_else(|| after("tcp://"));
            grpc = grpc.or_else(|| after("grpc://"));
        }
        let wanted = "it prints where it listens";
        let (address, frames, grpc) = (address.expect(wanted), frames.expect(wanted), grpc.expect(wanted));
        Self { child, address, frames, grpc }
    }

    /// How long it has had a processor.
    pub(crate) fn processor_time(&self) -> Duration {
        const TICKS_PER_SECOND: u64 = 100;
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process())).expect("a process");
        // Behind the name, which may have anything in it: user and system time are the 14th and 15th field.
        let fields: Vec<&str> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
        let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().expect("a number")).sum();
        Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND)
    }

    /// How many events are safe.
    pub(crate) fn durable_offset(&self) -> u64 {
        let health: serde_json::Value = serde_json::from_str(&self.get("/health")).expect("JSON");
        health["components"]["log"]["durable_offset"].as_u64().expect("an offset")
    }

    /// How many safe events are not settled for a subscription.
    pub(crate) fn lag(&self, subscription: &str) -> u64 {
        let name = format!("subscription=\"{subscription}\"");
        let page = self.get("/metrics");
        let mut lines = page.lines().filter(|line| line.starts_with("eventrelay_subscription_lag_events"));
        let line = lines.find(|line| line.contains(&name)).expect("its lag");
        let lag: f64 = line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number");
        lag as u64
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.address).expect("connected");
        stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        answer.split_once("\r\n\r\n").expect("a body").1.to_owned()
    }

    /// Checks that what was acknowledged is stored, each once.
    pub(crate) fn assert_stored(&self, before: u64, events: usize) {
        assert_eq!(self.durable_offset() - before, events as u64, "not each event is stored once");
    }

    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; a measurement that needed it has failed by now.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
