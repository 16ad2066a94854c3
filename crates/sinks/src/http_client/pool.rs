//! The connections to one server.
//!
//! A sink has one target, so its pool is a stack of idle HTTP/1.1 connections or one shared HTTP/2
//! connection. The most recently used connection is taken first, so that those which a burst left over grow
//! old and are closed.
//!
//! Every connection is made by [`Connector`], which resolves and judges the address anew; so that a
//! long-lived connection does not outlast what the name says, it is retired after [`MAX_AGE`].

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use http::Version;
use hyper::rt::Executor as _;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout_at};

use super::answer::Answer;
use super::connection::{ExchangeError, ExchangeLimits, Http1, Http2, Tasks};
use super::{SendError, WriteRequest, versions};
use crate::egress::{ConnectError, Connector, Established};

/// Idle connections are closed after this: less than the five seconds after which common servers do so, for a
/// request that crosses their close on the way is lost.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);
const SWEEP_INTERVAL: Duration = Duration::from_secs(2);
/// Connections take no new request after this.
const MAX_AGE: Duration = Duration::from_mins(5);

/// The connections to one server.
pub(crate) struct Pool {
    connector: Connector,
    versions: versions::Http2,
    max_idle: usize,
    state: Mutex<State>,
    /// One handshake at a time while it may give a connection that all share.
    negotiation: Semaphore,
    /// Whether the server has been seen to speak HTTP/1.1 only.
    only_http1: AtomicBool,
    tasks: Tasks,
}

#[derive(Default)]
struct State {
    /// Least recently used first.
    idle: Vec<Idle>,
    shared: Option<Shared>,
    sweeping: bool,
}

struct Idle {
    connection: Box<Http1>,
    since: Instant,
}

struct Shared {
    connection: Arc<Http2>,
    used: Instant,
}

/// A connection for one request.
struct Lease {
    connection: Connection,
    reused: bool,
}

enum Connection {
    Http1(Box<Http1>),
    Http2(Arc<Http2>),
}

impl Pool {
    pub(crate) fn new(connector: Connector, versions: versions::Http2, max_idle: usize) -> Arc<Self> {
        Arc::new(Self {
            connector,
            versions,
            max_idle,
            state: Mutex::default(),
            negotiation: Semaphore::new(1),
            only_http1: AtomicBool::new(false),
            tasks: Tasks::default(),
        })
    }

    pub(crate) fn connector(&self) -> &Connector {
        &self.connector
    }

    /// Sends a request and reads its answer. A connection that was closed while idle is replaced by a fresh
    /// one, once: the server may then see the request twice.
    pub(crate) async fn send(
        self: &Arc<Self>,
        request: &dyn WriteRequest,
        limits: ExchangeLimits,
    ) -> Result<Answer, SendError> {
        let lease = match self.take() {
            Some(lease) => lease,
            None => self.connect_until(limits.deadline).await?,
        };
        let reused = lease.reused;
        match self.exchange(lease, request, limits).await {
            Err(error) if reused && error.may_be_stale_connection() => {}
            result => return result.map_err(SendError::Exchange),
        }
        let fresh = self.connect_until(limits.deadline).await?;
        self.exchange(fresh, request, limits).await.map_err(SendError::Exchange)
    }

    /// Closes idle connections and ends all tasks; requests under way over HTTP/2 fail.
    pub(crate) async fn close(&self) {
        let idle = std::mem::take(&mut *self.lock());
        drop(idle);
        self.tasks.stop().await;
    }

    async fn exchange(
        self: &Arc<Self>,
        lease: Lease,
        request: &dyn WriteRequest,
        limits: ExchangeLimits,
    ) -> Result<Answer, ExchangeError> {
        match lease.connection {
            Connection::Http1(mut connection) => {
                let answer = connection.exchange(request.request(Version::HTTP_11), limits).await?;
                if answer.complete {
                    self.give_back(connection);
                }
                Ok(answer)
            }
            Connection::Http2(connection) => {
                let result = connection.exchange(request.request(Version::HTTP_2), limits).await;
                if result.is_err() {
                    // It may be dead without a word; the next request shall not wait for it too.
                    self.retire(&connection);
                }
                result
            }
        }
    }

    /// A connection that is already there.
    fn take(&self) -> Option<Lease> {
        if let Some(connection) = self.take_shared() {
            return Some(Lease { connection: Connection::Http2(connection), reused: true });
        }
        loop {
            // The lock is let go at once, for asking a connection whether it is ready reads from its socket.
            let Idle { mut connection, since } = self.lock().idle.pop()?;
            if since.elapsed() < IDLE_TIMEOUT
                && connection.made().elapsed() < MAX_AGE
                && connection.is_ready()
            {
                return Some(Lease { connection: Connection::Http1(connection), reused: true });
            }
        }
    }

    fn take_shared(&self) -> Option<Arc<Http2>> {
        let mut state = self.lock();
        let shared = state.shared.as_mut()?;
        if shared.connection.is_ready() && shared.connection.made().elapsed() < MAX_AGE {
            shared.used = Instant::now();
            return Some(Arc::clone(&shared.connection));
        }
        state.shared = None;
        None
    }

    async fn connect_until(self: &Arc<Self>, deadline: Instant) -> Result<Lease, SendError> {
        match timeout_at(deadline, self.connect()).await {
            Ok(result) => result.map_err(SendError::Connect),
            Err(_elapsed) => Err(SendError::Exchange(ExchangeError::TimedOut)),
        }
    }

    async fn connect(self: &Arc<Self>) -> Result<Lease, ConnectError> {
        if !self.may_share() {
            return self.establish().await;
        }
        let permit = self.negotiation.acquire().await;
        if let Some(connection) = self.take_shared() {
            return Ok(Lease { connection: Connection::Http2(connection), reused: true });
        }
        if !self.may_share() {
            // Learned by whoever held the permit before; from now on all connect at once.
            drop(permit);
        }
        self.establish().await
    }

    /// Whether a new connection may turn out to be one that all requests share.
    fn may_share(&self) -> bool {
        match self.versions {
            versions::Http2::Never => false,
            versions::Http2::PriorKnowledge => true,
            versions::Http2::Auto => self.connector.uses_tls() && !self.only_http1.load(Ordering::Relaxed),
        }
    }

    async fn establish(self: &Arc<Self>) -> Result<Lease, ConnectError> {
        let Established { stream, http2 } = self.connector.connect().await?;
        let failed = |error: hyper::Error| self.connector.http_failed(&error);
        if !http2 && self.versions != versions::Http2::PriorKnowledge {
            self.only_http1.store(true, Ordering::Relaxed);
            let connection = Box::new(Http1::handshake(stream).await.map_err(failed)?);
            return Ok(Lease { connection: Connection::Http1(connection), reused: false });
        }
        let connection = Arc::new(Http2::handshake(stream, &self.tasks).await.map_err(failed)?);
        let mut state = self.lock();
        state.shared = Some(Shared { connection: Arc::clone(&connection), used: Instant::now() });
        self.start_sweeping(&mut state);
        Ok(Lease { connection: Connection::Http2(connection), reused: false })
    }

    fn give_back(self: &Arc<Self>, mut connection: Box<Http1>) {
        if connection.made().elapsed() >= MAX_AGE || !connection.is_ready() {
            return;
        }
        let mut state = self.lock();
        if state.idle.len() < self.max_idle {
            state.idle.push(Idle { connection, since: Instant::now() });
            self.start_sweeping(&mut state);
        }
    }

    /// Takes no new requests over a shared connection; those under way go on.
    fn retire(&self, connection: &Arc<Http2>) {
        let mut state = self.lock();
        if state.shared.as_ref().is_some_and(|shared| Arc::ptr_eq(&shared.connection, connection)) {
            state.shared = None;
        }
    }

    /// Sees to it that idle connections are closed in time. The task ends when there are none.
    fn start_sweeping(self: &Arc<Self>, state: &mut State) {
        if !state.sweeping {
            state.sweeping = true;
            self.tasks.execute(sweep(Arc::downgrade(self)));
        }
    }

    /// Closes the connections that have been idle for too long. Answers whether any connection is left.
    fn close_idle(&self) -> bool {
        let mut state = self.lock();
        let expired = state.idle.partition_point(|idle| idle.since.elapsed() >= IDLE_TIMEOUT);
        let closed: Vec<_> = state.idle.drain(..expired).collect();
        let unused = state.shared.take_if(|shared| {
            shared.used.elapsed() >= IDLE_TIMEOUT && Arc::strong_count(&shared.connection) == 1
        });
        state.sweeping = !state.idle.is_empty() || state.shared.is_some();
        let left = state.sweeping;
        // Closing sockets takes a while: not under the lock.
        drop(state);
        drop((closed, unused));
        left
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing is left half done under the lock, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.tasks.cancel();
    }
}

async fn sweep(pool: Weak<Pool>) {
    loop {
        sleep(SWEEP_INTERVAL).await;
        let Some(pool) = pool.upgrade() else { return };
        if !pool.close_idle() {
            return;
        }
    }
}
