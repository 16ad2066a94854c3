//! Where the server is at the moment, for the clients that have to follow it from one life to the next.

use std::net::SocketAddr;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// Shared by whoever runs the server and whoever talks to it. An address is one, or all that the server has.
#[derive(Debug)]
pub(crate) struct Target<Address = SocketAddr> {
    state: Mutex<State<Address>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<Address> {
    /// Counts lives.
    life: u64,
    address: Option<Address>,
    /// The clients are to settle what is open, and end.
    finishing: bool,
}

/// One life of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Life<Address = SocketAddr> {
    number: u64,
    pub(crate) address: Address,
}

impl<Address> Default for Target<Address> {
    fn default() -> Self {
        Self {
            state: Mutex::new(State { life: 0, address: None, finishing: false }),
            changed: Condvar::new(),
        }
    }
}

impl<Address: Copy> Target<Address> {
    /// The server listens, and nobody means it ill.
    pub(crate) fn rise(&self, address: Address) {
        self.change(|state| {
            state.life += 1;
            state.address = Some(address);
        });
    }

    /// The server is about to be killed or stopped: from here on connections may break.
    pub(crate) fn fall(&self) {
        self.change(|state| state.address = None);
    }

    /// No more lives will follow.
    pub(crate) fn finish(&self) {
        self.change(|state| state.finishing = true);
    }

    /// Ends the clients when the test fails, for it waits for them.
    pub(crate) fn release_on_panic(&self) -> ReleaseOnPanic<'_, Address> {
        ReleaseOnPanic(self)
    }

    fn change(&self, change: impl FnOnce(&mut State<Address>)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// Waits for a life; none once clients are to end and the server is gone.
    pub(crate) fn life(&self) -> Option<Life<Address>> {
        let mut state = self.lock();
        loop {
            if let Some(address) = state.address {
                return Some(Life { number: state.life, address });
            }
            if state.finishing {
                return None;
            }
            state = self.changed.wait(state).unwrap();
        }
    }

    /// Waits for this long, or less when the life ends.
    pub(crate) fn pause(&self, life: Life<Address>, time: Duration) {
        let unchanged = |state: &mut State<Address>| state.life == life.number && state.address.is_some();
        let _ = self.changed.wait_timeout_while(self.lock(), time, unchanged).unwrap();
    }

    /// Whether the server of this life is still meant to serve.
    pub(crate) fn is_alive(&self, life: Life<Address>) -> bool {
        let state = self.lock();
        state.life == life.number && state.address.is_some()
    }

    pub(crate) fn is_finishing(&self) -> bool {
        self.lock().finishing
    }

    fn lock(&self) -> MutexGuard<'_, State<Address>> {
        self.state.lock().unwrap()
    }
}

/// See [`Target::release_on_panic`].
pub(crate) struct ReleaseOnPanic<'a, Address: Copy>(&'a Target<Address>);

impl<Address: Copy> Drop for ReleaseOnPanic<'_, Address> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.finish();
            self.0.fall();
        }
    }
}
