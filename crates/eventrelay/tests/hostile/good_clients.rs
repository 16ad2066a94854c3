//! Clients that publish one event after the other, one through each door, and note how long each took.

use std::fmt;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::doors::{Answer, Door, DoorKind, KeyedEvent};
use crate::harness::DEADLINE;
use crate::ports::Ports;

/// What a good client may wait for one of a hundred events at most, on a machine that has other things to do.
const P99_LIMIT: Duration = Duration::from_millis(750);
/// So many events make a percentile worth its name.
const LEAST_EVENTS: usize = 200;

/// All of them.
pub(crate) struct GoodClients {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<(String, Vec<Duration>)>>,
}

/// What they got.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) events: u64,
    p99: Vec<(String, Duration)>,
}

/// An open connection of one of them.
enum Client {
    Door(DoorKind, Box<Door>),
    Frames(TcpStream),
}

impl GoodClients {
    /// Connects them all, and begins.
    pub(crate) fn start(ports: Ports) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut clients: Vec<Client> = DoorKind::ALL
            .into_iter()
            .map(|kind| Client::Door(kind, Box::new(kind.open(ports.addresses()).unwrap())))
            .collect();
        clients.push(Client::frames(ports));
        let clients = clients
            .into_iter()
            .map(|client| {
                let stop = Arc::clone(&stop);
                std::thread::spawn(move || client.publish_until(&stop))
            })
            .collect();
        Self { stop, clients }
    }

    /// Ends them, and checks that all was acknowledged in its time.
    pub(crate) fn stop(self) -> Stored {
        self.stop.store(true, Ordering::SeqCst);
        let mut stored = Stored { events: 0, p99: Vec::new() };
        for client in self.clients {
            let (name, mut times) = client.join().unwrap();
            times.sort_unstable();
            stored.events += times.len() as u64;
            stored.p99.push((name, times[times.len() * 99 / 100]));
        }
        assert!(stored.p99.iter().all(|(_, p99)| *p99 <= P99_LIMIT), "{stored}");
        stored
    }
}

impl fmt::Display for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "good clients had {} events acknowledged; p99", self.events)?;
        self.p99.iter().try_for_each(|(name, p99)| write!(f, " {name} {p99:.1?}"))
    }
}

impl Client {
    fn frames(ports: Ports) -> Self {
        let stream = TcpStream::connect(ports.frames).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self::Frames(stream)
    }

    /// Publishes until it is told to stop, but so many at least.
    fn publish_until(mut self, stop: &AtomicBool) -> (String, Vec<Duration>) {
        let name = match &self {
            Self::Door(kind, _) => format!("{kind:?}"),
            Self::Frames(_) => "TcpFrames".to_owned(),
        };
        let mut times = Vec::new();
        while times.len() < LEAST_EVENTS || !stop.load(Ordering::SeqCst) {
            let began = Instant::now();
            self.publish(&name, times.len());
            times.push(began.elapsed());
        }
        (name, times)
    }

    fn publish(&mut self, name: &str, number: usize) {
        match self {
            Self::Door(_, door) => {
                let event = KeyedEvent { key: format!("{name}-{number}"), data: number.to_string() };
                match door.publish(&event) {
                    Ok(Answer::Stored(receipt)) => assert!(!receipt.duplicate, "{receipt:?}"),
                    other => panic!("{name}, event {number}: {other:?}"),
                }
            }
            Self::Frames(stream) => {
                stream.write_all(&[4, 0, 0, 0, b'g', b'o', b'o', b'd']).unwrap();
                let mut answer = [0xff];
                stream.read_exact(&mut answer).unwrap();
                assert_eq!(answer, [0x00], "{name}, event {number}");
            }
        }
    }
}
