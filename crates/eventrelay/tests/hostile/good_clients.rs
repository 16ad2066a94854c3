//! Clients that publish one event after the other, one through each door, and note how long each took: first while nobody
//! else is there, and then beside others.

use std::fmt;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::doors::{Answer, Door, DoorKind, KeyedEvent};
use crate::harness::DEADLINE;
use crate::ports::Ports;

/// What a good client may wait for one of a hundred events at most, on a machine that has other things to do: less than any
/// deadline that somebody else may use up. A quiet machine needs a few milliseconds.
const P99_LIMIT: Duration = Duration::from_secs(3);
/// On a machine whose disk is slower than that: so many times what it waited when nobody else was there.
const TIMES_CALM: u32 = 5;
/// Events of each client while nobody else is there.
const CALM_EVENTS: usize = 50;
/// And beside others: so many make a percentile worth its name.
const LEAST_EVENTS: usize = 100;

/// All of them.
pub(crate) struct GoodClients {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Times>>,
}

/// How long each event of one client took.
struct Times {
    client: String,
    calm: Vec<Duration>,
    beside_others: Vec<Duration>,
}

/// What they got.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) events: u64,
    /// Of each client, and what it was allowed.
    p99: Vec<(String, Duration, Duration)>,
}

/// An open connection of one of them.
enum Client {
    Door(DoorKind, Box<Door>),
    Frames(TcpStream),
}

impl GoodClients {
    /// Connects them all, and begins. When this answers they have published for a while by themselves.
    pub(crate) fn start(ports: Ports) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut clients: Vec<Client> = DoorKind::ALL
            .into_iter()
            .map(|kind| Client::Door(kind, Box::new(kind.open(ports.addresses()).unwrap())))
            .collect();
        clients.push(Client::frames(ports));
        let calm = Arc::new(Barrier::new(clients.len() + 1));
        let clients = clients
            .into_iter()
            .map(|client| {
                let (calm, stop) = (Arc::clone(&calm), Arc::clone(&stop));
                std::thread::spawn(move || client.publish_until(&calm, &stop))
            })
            .collect();
        calm.wait();
        Self { stop, clients }
    }

    /// Ends them, and checks that all was acknowledged in its time.
    pub(crate) fn stop(self) -> Stored {
        self.stop.store(true, Ordering::SeqCst);
        let mut stored = Stored { events: 0, p99: Vec::new() };
        for client in self.clients {
            let Times { client, calm, beside_others } = client.join().unwrap();
            stored.events += (calm.len() + beside_others.len()) as u64;
            let limit = P99_LIMIT.max(p99(calm) * TIMES_CALM);
            stored.p99.push((client, p99(beside_others), limit));
        }
        assert!(stored.p99.iter().all(|(_, p99, limit)| p99 <= limit), "{stored}");
        stored
    }
}

impl fmt::Display for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "good clients had {} events acknowledged; p99", self.events)?;
        self.p99.iter().try_for_each(|(client, p99, limit)| write!(f, " {client} {p99:.1?} (of {limit:.1?})"))
    }
}

fn p99(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() * 99 / 100]
}

impl Client {
    fn frames(ports: Ports) -> Self {
        let stream = TcpStream::connect(ports.frames).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self::Frames(stream)
    }

    /// Publishes until it is told to stop, but so many at least.
    fn publish_until(mut self, calm: &Barrier, stop: &AtomicBool) -> Times {
        let name = match &self {
            Self::Door(kind, _) => format!("{kind:?}"),
            Self::Frames(_) => "TcpFrames".to_owned(),
        };
        let mut number = 0;
        let mut timed = |client: &mut Self| {
            let began = Instant::now();
            client.publish(&name, number);
            number += 1;
            began.elapsed()
        };
        let while_calm = (0..CALM_EVENTS).map(|_| timed(&mut self)).collect();
        calm.wait();
        let mut beside_others = Vec::new();
        while beside_others.len() < LEAST_EVENTS || !stop.load(Ordering::SeqCst) {
            beside_others.push(timed(&mut self));
        }
        Times { client: name, calm: while_calm, beside_others }
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
