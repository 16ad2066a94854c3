//! Stands between librdkafka and the brokers, so that librdkafka connects to nothing but this process.
//!
//! ```text
//!  librdkafka ──▶ 127.0.0.1:a ──▶ relay ──▶ egress ──▶ TLS ──▶ log-in ──▶ broker A
//!             ──▶ 127.0.0.1:b ──▶ relay ──▶ egress ──▶ TLS ──▶ log-in ──▶ broker B
//! ```
//!
//! librdkafka resolves and dials by itself, goes wherever a broker sends it, and has TLS and SCRAM only by OpenSSL. So
//! it is given the address of a listener for each broker instead, one of ours: those of the settings at first, and in every
//! answer that names brokers (`rewrite.rs`) the listeners for these. What connects there is passed on (`relay.rs`) by a
//! connection that [`crate::egress`] has judged, with rustls, logged in by our own code. A broker that advertises an address of
//! the inside gets no further than one in the settings.
//!
//! Invariants:
//! - Nothing is dialled, and no byte passed on, for a connection whose first request does not carry the token of this gate
//!   as its client id. Only the librdkafka that the gate was made for knows it; to brokers the configured id is told instead.
//! - Requests and answers are passed on in their order, whole, and changed only as `rewrite.rs` says.
//! - Everything ends with the gate: listeners and relays are tasks that it owns.

mod relay;
mod rewrite;

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicI16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::broker::{BrokerAddress, DialError, Dialler};
use super::wire::{ExchangeError, Malformed};
use crate::egress::Connector;

/// The most brokers of a cluster.
const MAX_BROKERS: usize = 512;

/// The most listeners: those of brokers that were replaced linger until there are so many.
const MAX_LISTENERS: usize = 1024;

/// The most connections to one listener at a time. librdkafka makes one or two.
const CONNECTIONS_PER_BROKER: usize = 16;

/// The wait after a connection could not be taken.
const ACCEPT_RETRY_WAIT: Duration = Duration::from_millis(50);

/// The gate of one sink.
pub(super) struct Gate {
    shared: Arc<Shared>,
    bootstrap: String,
}

struct Shared {
    /// What librdkafka has to show.
    token: String,
    dialler: Arc<Dialler>,
    brokers: Mutex<HashMap<BrokerAddress, Arc<Door>>>,
    /// The brokers' latest answer to a Produce request; 0 is success.
    latest_refusal: AtomicI16,
    tasks: TaskTracker,
    ended: CancellationToken,
}

/// The listener for one broker.
struct Door {
    address: BrokerAddress,
    port: u16,
    /// Of the settings: it stays, whatever the brokers say.
    is_bootstrap: bool,
    connector: Result<Connector, DialError>,
    /// Why the broker cannot be reached, since when; none while it can, or has not been tried.
    trouble: Mutex<Option<(Instant, String)>>,
    connections: Arc<Semaphore>,
    ended: CancellationToken,
}

/// Why a connection through the gate ended.
#[derive(Debug, thiserror::Error)]
enum GateError {
    #[error("a request did not come from our own client")]
    Stranger,
    #[error("a request of API {key}, version {version}, is not passed on")]
    NotAdmitted { key: i16, version: i16 },
    #[error("a request of {0} bytes is not passed on")]
    RequestLength(i32),
    #[error("nothing could be written for {0} ms")]
    Stuck(u128),
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    #[error("the cluster has more than {MAX_BROKERS} brokers")]
    TooManyBrokers,
    #[error("no listener can be opened: {0}")]
    Listen(io::Error),
    #[error(transparent)]
    Answer(#[from] ExchangeError),
}

impl From<Malformed> for GateError {
    fn from(error: Malformed) -> Self {
        Self::Answer(error.into())
    }
}

impl Gate {
    /// Opens listeners for the brokers of the settings. Within a runtime of tokio.
    ///
    /// # Errors
    /// When the system gives no more ports or descriptors.
    pub(super) fn open(dialler: Arc<Dialler>, brokers: &[BrokerAddress]) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            token: format!("{:032x}", rand::random::<u128>()),
            dialler,
            brokers: Mutex::new(HashMap::new()),
            latest_refusal: AtomicI16::new(0),
            tasks: TaskTracker::new(),
            ended: CancellationToken::new(),
        });
        let mut bootstrap = Vec::with_capacity(brokers.len());
        for address in brokers {
            let port = shared.door(address, true)?;
            bootstrap.push(format!("127.0.0.1:{port}"));
        }
        Ok(Self { shared, bootstrap: bootstrap.join(",") })
    }

    /// What librdkafka is to take for the brokers.
    pub(super) fn bootstrap_servers(&self) -> &str {
        &self.bootstrap
    }

    /// What it has to give as its client id. A secret.
    pub(super) fn token(&self) -> &str {
        &self.shared.token
    }

    /// Why brokers cannot be reached now: the latest failure of one whose latest connection failed.
    pub(super) fn trouble(&self) -> Option<String> {
        let brokers = lock(&self.shared.brokers);
        let troubles = brokers.values().filter_map(|door| lock(&door.trouble).clone());
        troubles.max_by_key(|(since, _)| *since).map(|(_, why)| why)
    }

    /// The error code with which the brokers answered the latest Produce request; none when they took it.
    pub(super) fn latest_refusal(&self) -> Option<i16> {
        let code = self.shared.latest_refusal.load(Ordering::Relaxed);
        (code != 0).then_some(code)
    }

    /// Closes all connections and listeners, and waits until they are.
    pub(super) async fn close(&self) {
        self.shared.ended.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }
}

/// Shows no token.
impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Gate({})", self.bootstrap)
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.shared.ended.cancel();
    }
}

impl Shared {
    /// The port of the listener for a broker. Opens one when there is none.
    fn door(self: &Arc<Self>, address: &BrokerAddress, is_bootstrap: bool) -> io::Result<u16> {
        let mut brokers = lock(&self.brokers);
        if let Some(door) = brokers.get(address) {
            return Ok(door.port);
        }
        let listener = std::net::TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let door = Arc::new(Door {
            address: address.clone(),
            port,
            is_bootstrap,
            connector: self.dialler.connector(address),
            trouble: Mutex::new(None),
            connections: Arc::new(Semaphore::new(CONNECTIONS_PER_BROKER)),
            ended: self.ended.child_token(),
        });
        let listener = TcpListener::from_std(listener)?;
        self.tasks.spawn(listen(Arc::clone(self), Arc::clone(&door), listener));
        brokers.insert(address.clone(), door);
        Ok(port)
    }

    /// The ports of the listeners for the brokers that an answer names, in its order.
    fn doors(self: &Arc<Self>, named: &[(&str, u16)]) -> Result<Vec<u16>, GateError> {
        let mut addresses = Vec::with_capacity(named.len());
        for (host, port) in named {
            let invalid = Malformed("a broker's address is none");
            addresses.push(BrokerAddress::advertised(host, *port).map_err(|_| invalid)?);
        }
        if addresses.len() > MAX_BROKERS {
            return Err(GateError::TooManyBrokers);
        }
        self.make_room(&addresses);
        let doors = addresses.iter().map(|address| self.door(address, false).map_err(GateError::Listen));
        doors.collect()
    }

    /// Where new listeners would be too many, closes those for brokers that an answer no longer names.
    fn make_room(&self, named: &[BrokerAddress]) {
        let mut brokers = lock(&self.brokers);
        if brokers.len() + named.len() <= MAX_LISTENERS {
            return;
        }
        brokers.retain(|address, door| {
            let stays = door.is_bootstrap || named.contains(address);
            if !stays {
                door.ended.cancel();
            }
            stays
        });
    }
}

/// Takes connections to one listener until it is closed, and passes each on.
async fn listen(shared: Arc<Shared>, door: Arc<Door>, listener: TcpListener) {
    let relays = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = door.ended.cancelled() => break,
            accepted = accept(&listener, &door) => accepted,
        };
        let (stream, permit) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Of one connection that is gone already, or of the process's descriptors: others may close.
                tracing::debug!(broker = %door.address, %error, "cannot take a connection");
                tokio::time::sleep(ACCEPT_RETRY_WAIT).await;
                continue;
            }
        };
        let (shared, door) = (Arc::clone(&shared), Arc::clone(&door));
        relays.spawn(async move {
            tokio::select! {
                () = door.ended.cancelled() => {}
                ended = relay::run(&shared, &door, stream) => {
                    if let Err(error) = ended {
                        tracing::debug!(broker = %door.address, %error, "a connection ended");
                    }
                }
            }
            drop(permit);
        });
    }
    drop(listener);
    relays.close();
    relays.wait().await;
}

async fn accept(listener: &TcpListener, door: &Door) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let permit = Arc::clone(&door.connections).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, permit))
}

impl Door {
    /// Notes whether the broker could be reached.
    fn note(&self, trouble: Option<String>) {
        *lock(&self.trouble) = trouble.map(|why| (Instant::now(), why));
    }
}

/// What is guarded is whole at every moment, so a panic elsewhere has not broken it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
