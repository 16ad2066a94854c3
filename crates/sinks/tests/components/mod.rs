//! Private instances of the real components, each in a directory and on a port of its own, started by the same scripts that
//! a person starts them with (`scripts/services`).
//!
//! A component that is not installed skips its tests, and says so; with `TEST_SERVICES_REQUIRED=1`, as where all is
//! installed, that is a failure instead.

#![allow(dead_code, reason = "each sink's tests use a part")]

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// Longer than any component takes to start on a busy machine.
const START_PATIENCE: Duration = Duration::from_secs(60);

/// A running component. Dropping it kills it.
pub(crate) struct Component {
    name: &'static str,
    port: u16,
    directory: tempfile::TempDir,
    /// In a process group of its own, which holds all that it starts. None while it is stopped.
    child: Option<Child>,
}

impl Component {
    /// Starts a component with no data; none, with a word about it, when it is not installed.
    pub(crate) fn start(name: &'static str) -> Option<Self> {
        if !is_available(name) {
            let required = std::env::var_os("TEST_SERVICES_REQUIRED").is_some_and(|it| it == "1");
            assert!(!required, "{name} is not installed: scripts/services install {name}");
            skip(name);
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        // Some of them give up root, and must get to their files all the same.
        std::fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
        let mut component = Self { name, port: free_port(), directory, child: None };
        component.resume();
        Some(component)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Where its files are.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Kills it with all that it has started, as a power cut would.
    pub(crate) fn kill(&mut self) {
        self.signal(Signal::KILL);
        if let Some(mut child) = self.child.take() {
            child.wait().unwrap();
            // What it had started may take a moment longer to be gone.
            let began = Instant::now();
            while began.elapsed() < START_PATIENCE
                && std::net::TcpStream::connect_timeout(&self.address(), Duration::from_secs(1)).is_ok()
            {
                std::thread::yield_now();
            }
        }
    }

    /// Stops its processes without ending them: nobody answers, and no connection closes.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
        // A thread that waits for a processor goes on for a while.
        let child = i32::try_from(self.child.as_ref().unwrap().id()).unwrap();
        let began = Instant::now();
        while std::iter::once(child).chain(descendants(child)).any(is_running) {
            assert!(began.elapsed() < START_PATIENCE, "{} goes on", self.name);
            std::thread::yield_now();
        }
    }

    /// Bytes that were sent to it, or wait to be, and that it has not read: while it stands still, whether something is on
    /// its way.
    pub(crate) fn unread_bytes(&self) -> u64 {
        let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let port = format!(":{:04X}", self.port);
        let queues = sockets.lines().filter_map(|line| {
            let words: Vec<_> = line.split_whitespace().collect();
            let (unsent, unread) = words.get(4)?.split_once(':')?;
            let queue = if words[1].ends_with(&port) { unread } else { unsent };
            let about_it = words[3] == "01" && (words[1].ends_with(&port) || words[2].ends_with(&port));
            about_it.then(|| u64::from_str_radix(queue, 16).unwrap())
        });
        queues.sum()
    }

    /// Lets them go on.
    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Starts it again, on the same port and with what it had on the disk, and waits until it listens.
    pub(crate) fn resume(&mut self) {
        assert!(self.child.is_none(), "{} runs already", self.name);
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.directory.path().join("component.log"))
            .unwrap();
        let directory = self.directory.path().to_str().unwrap();
        let mut command = services(&["run", self.name, directory, &self.port.to_string()]);
        command.stdout(log.try_clone().unwrap()).stderr(log).process_group(0);
        self.child = Some(command.spawn().unwrap());
        self.wait_until_it_listens();
    }

    /// Removes all that it has stored. Only while it is stopped.
    pub(crate) fn lose_everything(&mut self) {
        assert!(self.child.is_none(), "{} runs", self.name);
        for entry in std::fs::read_dir(self.directory.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                std::fs::remove_dir_all(path).unwrap();
            } else {
                std::fs::remove_file(path).unwrap();
            }
        }
    }

    fn wait_until_it_listens(&mut self) {
        let began = Instant::now();
        while std::net::TcpStream::connect_timeout(&self.address(), Duration::from_secs(1)).is_err() {
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            let log =
                || std::fs::read_to_string(self.directory.path().join("component.log")).unwrap_or_default();
            assert!(ended.is_none(), "{} ended with {ended:?}:\n{}", self.name, log());
            assert!(began.elapsed() < START_PATIENCE, "{} does not listen:\n{}", self.name, log());
            std::thread::yield_now();
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(child) = &self.child {
            let child = i32::try_from(child.id()).unwrap();
            // Some of them put their processes in groups of their own.
            let descendants = descendants(child);
            // They may have ended by themselves.
            let _ = kill_process_group(Pid::from_raw(child).unwrap(), signal);
            for descendant in descendants {
                let _ = kill_process(Pid::from_raw(descendant).unwrap(), signal);
            }
        }
    }
}

impl Drop for Component {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The processes that a process has started, and those that they have, and so on.
fn descendants(process: i32) -> Vec<i32> {
    let children =
        std::fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|child| child.parse().ok());
    children.flat_map(|child| std::iter::once(child).chain(descendants(child))).collect()
}

/// Whether any of a process's threads is neither stopped nor gone.
fn is_running(process: i32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten();
    threads.into_iter().any(|thread| {
        // A thread that has just ended is not running.
        let stat = thread.and_then(|thread| std::fs::read_to_string(thread.path().join("stat")));
        let state = stat.ok().and_then(|stat| stat.rsplit(')').next()?.trim_start().chars().next());
        state.is_some_and(|state| !matches!(state, 'T' | 't' | 'Z' | 'X'))
    })
}

fn is_available(name: &str) -> bool {
    services(&["available", name]).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
}

/// Where `scripts/services` keeps what it has installed.
pub(crate) fn services_folder() -> PathBuf {
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    variable("TEST_SERVICES").unwrap_or_else(|| {
        let cache = variable("XDG_CACHE_HOME").unwrap_or_else(|| variable("HOME").unwrap().join(".cache"));
        cache.join("eventrelay/services")
    })
}

/// Says that a test of this component is skipped, and adds it to the ones that `make test` counts.
fn skip(name: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let line = format!("{test}: {name} is not installed: scripts/services install {name}\n");
    print!("SKIPPED {line}");
    if let Some(list) = std::env::var_os("TEST_SKIPPED_LIST") {
        let mut list = std::fs::File::options().create(true).append(true).open(list).unwrap();
        list.write_all(line.as_bytes()).unwrap();
    }
}

/// `scripts/services` with these arguments.
fn services(arguments: &[&str]) -> Command {
    let mut command = Command::new(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../scripts/services"));
    command.args(arguments);
    command
}

/// A port that nobody listens on, below those that the system gives to outgoing connections, which would take it at any time.
fn free_port() -> u16 {
    const PORTS: u32 = 12_000;
    let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().subsec_nanos();
    let first = std::process::id().wrapping_mul(7919).wrapping_add(time);
    let mut ports = (0..PORTS).map(|step| u16::try_from(20_000 + first.wrapping_add(step) % PORTS).unwrap());
    ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
}
