//! Which connections are let in: a cap on all of them, and one on each address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Counts the open connections.
#[derive(Debug, Clone)]
pub(crate) struct Admission {
    open: Arc<Mutex<Open>>,
    limit: usize,
    limit_per_address: usize,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// Why a connection is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// There are as many as there may be.
    Server,
    /// The address has as many as it may have.
    Address,
}

/// A connection's place, given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    admission: Admission,
    address: IpAddr,
}

impl Admission {
    pub(crate) fn new(limit: usize, limit_per_address: usize) -> Self {
        Self { open: Arc::default(), limit, limit_per_address }
    }

    /// Takes a place for a connection from `address`.
    pub(crate) fn admit(&self, address: IpAddr) -> Result<Place, Full> {
        // One host has one count, whichever way its address is written.
        let address = address.to_canonical();
        let mut open = self.lock();
        if open.total >= self.limit {
            return Err(Full::Server);
        }
        let from_address = open.by_address.entry(address).or_insert(0);
        // An entry exists only while it counts something, and 0 is below every limit.
        if *from_address >= self.limit_per_address {
            return Err(Full::Address);
        }
        *from_address += 1;
        open.total += 1;
        drop(open);
        Ok(Place { admission: self.clone(), address })
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        // Each change is complete before anything can panic.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.admission.lock();
        open.total -= 1;
        if let Some(from_address) = open.by_address.get_mut(&self.address) {
            *from_address -= 1;
            if *from_address == 0 {
                open.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    #[test]
    fn places_are_limited_and_given_back() {
        let admission = Admission::new(3, 2);
        let first = admission.admit(A).unwrap();
        let _second = admission.admit(A).unwrap();
        assert_eq!(admission.admit(A).unwrap_err(), Full::Address);
        let _third = admission.admit(B).unwrap();
        assert_eq!(admission.admit(B).unwrap_err(), Full::Server);
        drop(first);
        assert!(admission.admit(A).is_ok());
    }

    #[test]
    fn an_address_that_has_gone_leaves_nothing_behind() {
        let admission = Admission::new(3, 2);
        drop(admission.admit(A).unwrap());
        assert!(admission.lock().by_address.is_empty());
        assert_eq!(admission.lock().total, 0);
    }

    #[test]
    fn an_address_written_as_ipv6_is_the_same_one() {
        let admission = Admission::new(3, 1);
        let _place = admission.admit(A).unwrap();
        assert_eq!(admission.admit("::ffff:192.0.2.1".parse().unwrap()).unwrap_err(), Full::Address);
    }
}
