//! The built binary, started for a measurement.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A running server, ended when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    /// Where frames are taken.
    pub(crate) frames: SocketAddr,
}

impl Server {
    /// Starts it on free ports with its data in `directory`, and these lines of configuration.
    pub(crate) fn start(directory: &Path, configuration: &str) -> Self {
        let file = directory.join("eventrelay.toml");
        let base = format!("data_directory = {:?}\n{configuration}", directory.join("data"));
        std::fs::write(&file, base).expect("a configuration file");
        let mut child = Command::new(env!("CARGO_BIN_EXE_eventrelay"))
            .args(["serve", "--config"])
            .arg(&file)
            .env("EVENTRELAY_HTTP__LISTEN", "127.0.0.1:0")
            .env("EVENTRELAY_GRPC__LISTEN", "127.0.0.1:0")
            .env("EVENTRELAY_TCP__FRAMES_LISTEN", "127.0.0.1:0")
            .env("EVENTRELAY_LOGGING__LEVEL", "warn")
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the server starts");
        let lines = BufReader::new(child.stdout.take().expect("its output"));
        let (mut address, mut frames) = (None, None);
        for line in lines.lines().map_while(Result::ok).take_while(|line| line != "Try it:") {
            let after = |scheme: &str| {
                line.split_whitespace().find_map(|word| word.strip_prefix(scheme)?.parse().ok())
            };
            address = address.or_else(|| after("http://"));
            frames = frames.or_else(|| after("tcp://"));
        }
        let wanted = "it prints where it listens";
        Self { child, address: address.expect(wanted), frames: frames.expect(wanted) }
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
