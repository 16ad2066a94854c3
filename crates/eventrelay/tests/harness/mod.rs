//! Runs the built binary as its users do: as a process, on a free port, on a data directory of the test's own.
//!
//! Nothing here sleeps: readiness is the line that the process prints, the end is its exit, and both have a deadline
//! that fails the test with everything the process said.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's way to fail")]
#![allow(dead_code, reason = "each test binary uses its own part of the harness")]

pub(crate) mod authority;
pub(crate) mod collector;
pub(crate) mod connection;
pub(crate) mod http;
pub(crate) mod poll;
pub(crate) mod protobuf;
pub(crate) mod receiver;

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// Longer than anything takes on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A log that is made and filled quickly.
pub(crate) const SMALL_LOG: &str = "
    [log]
    segment_bytes = 1048576
    max_commit_bytes = 262144
    [publish]
    max_event_bytes = 131072
";

/// Where the binary is.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_eventrelay");

/// The binary, with an environment and working directory that hold no configuration of the developer's own.
pub(crate) fn eventrelay(directory: &Path) -> Command {
    let mut command = Command::new(BINARY);
    forget_configuration(&mut command);
    command.current_dir(directory).stdin(Stdio::null());
    command
}

/// Keeps the developer's own configuration out of the environment, and the servers off the ports that are the default,
/// since many run at once. A test that wants TCP asks for a free port on the command line.
pub(crate) fn forget_configuration(command: &mut Command) {
    for name in ["REDIS_ADDR", "POSTGRES_DSN"] {
        command.env_remove(name);
    }
    for (name, _) in std::env::vars_os() {
        if ["EVENTRELAY_", "OTEL_"].iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    command.env("EVENTRELAY_TCP__FRAMES_LISTEN", "off");
    command.env("EVENTRELAY_GRPC__LISTEN", "127.0.0.1:0");
}

/// Runs a command to its end.
pub(crate) fn run<S: AsRef<OsStr>>(directory: &Path, arguments: impl IntoIterator<Item = S>) -> Output {
    eventrelay(directory).args(arguments).output().unwrap()
}

/// What a process wrote to stdout.
pub(crate) fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

/// What a process wrote to stderr.
pub(crate) fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

/// A server that is ready. Killed when dropped.
pub(crate) struct RelayProcess {
    child: Child,
    /// Refers to this process for ever, where a number may be given to another once it has ended.
    pidfd: OwnedFd,
    http: SocketAddr,
    scheme: String,
    lines: Receiver<String>,
    readers: Vec<JoinHandle<()>>,
    /// Everything it has printed that was read from `lines`.
    said: Vec<String>,
}

/// A server that ended before it was ready.
#[derive(Debug)]
pub(crate) struct StartFailure {
    pub(crate) code: Option<i32>,
    pub(crate) said: String,
}

impl RelayProcess {
    /// Starts `eventrelay serve` in `directory`, with `configuration` as its file, and waits until it listens.
    pub(crate) fn start(directory: &Path, configuration: &str) -> Self {
        match Self::try_start(directory, configuration) {
            Ok(relay) => relay,
            Err(failure) => panic!("the server did not start: {failure:?}"),
        }
    }

    /// The same, for servers that are expected not to start.
    pub(crate) fn try_start(directory: &Path, configuration: &str) -> Result<Self, StartFailure> {
        std::fs::write(directory.join("eventrelay.toml"), configuration).unwrap();
        let mut command = eventrelay(directory);
        command.args(["serve", "--http-listen", "127.0.0.1:0"]);
        Self::spawn(command)
    }

    /// Starts any command that serves, and waits until it listens.
    pub(crate) fn spawn(command: Command) -> Result<Self, StartFailure> {
        let mut relay = Self::launch(command);
        match relay.wait_for_line(|line| line.contains("Listening on http")) {
            Some(line) => {
                let (_, url) = line.split_once("Listening on ").unwrap();
                let (scheme, address) = url.trim().split_once("://").unwrap();
                (relay.scheme, relay.http) = (scheme.to_owned(), address.parse().unwrap());
                Ok(relay)
            }
            None => Err(StartFailure { code: relay.wait().code(), said: relay.said.join("\n") }),
        }
    }

    /// Starts any command that serves, and waits for nothing: it has no address yet.
    pub(crate) fn launch(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).unwrap();
        let (sender, lines) = channel();
        let readers = vec![
            forward_lines(child.stdout.take().unwrap(), sender.clone()),
            forward_lines(child.stderr.take().unwrap(), sender),
        ];
        let unknown = SocketAddr::from(([127, 0, 0, 1], 0));
        let scheme = "http".to_owned();
        Self { child, pidfd, http: unknown, scheme, lines, readers, said: Vec::new() }
    }

    /// Where HTTP listens.
    pub(crate) fn http(&self) -> SocketAddr {
        self.http
    }

    /// What it takes of the machine's memory at the moment.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// The server's URL for the commands' `--url`.
    pub(crate) fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.http)
    }

    /// Waits for a line, of stdout or stderr, that `wanted` accepts, unless there has been one: which of the two comes
    /// first is up to chance. `None` when the process ended without one.
    pub(crate) fn wait_for_line(&mut self, wanted: impl Fn(&str) -> bool) -> Option<String> {
        if let Some(line) = self.said.iter().find(|line| wanted(line)) {
            return Some(line.clone());
        }
        let deadline = Instant::now() + DEADLINE;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.said.push(line.clone());
                    if wanted(&line) {
                        return Some(line);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => {
                    panic!("no such line within {DEADLINE:?}; said:\n{}", self.said.join("\n"))
                }
            }
        }
    }

    /// The most memory that it has ever had, in bytes.
    pub(crate) fn peak_memory_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
        peak.unwrap().parse::<u64>().unwrap() * 1024
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        pidfd_send_signal(&self.pidfd, signal).unwrap();
    }

    /// Ends it as a power cut would, and waits until it is gone.
    pub(crate) fn kill(mut self) {
        self.signal(Signal::KILL);
        self.wait();
    }

    /// Asks it to drain, and waits until it has.
    pub(crate) fn terminate(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// Whether it ends within this time.
    pub(crate) fn ends_within(&self, time: Duration) -> bool {
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        let timeout = Timespec::try_from(time).unwrap();
        poll(&mut fds, Some(&timeout)).unwrap() > 0
    }

    /// Waits until it has ended, and all it said is in `said`.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let ended = self.ends_within(DEADLINE);
        assert!(ended, "it did not end within {DEADLINE:?}; said:\n{}", self.everything_said());
        let status = self.child.wait().unwrap();
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        self.said.extend(self.lines.try_iter());
        status
    }

    /// Everything it printed so far.
    pub(crate) fn everything_said(&mut self) -> String {
        self.said.extend(self.lines.try_iter());
        self.said.join("\n")
    }
}

impl Drop for RelayProcess {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to do.
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        let _ = self.child.wait();
    }
}

/// Reads a pipe to its end, so that the process never waits for its reader.
fn forward_lines(pipe: impl Read + Send + 'static, lines: Sender<String>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines() {
            let Ok(line) = line else { return };
            if lines.send(line).is_err() {
                return;
            }
        }
    })
}
