//! The leases of one subscription that have not ended. No I/O, no clock, no lock: they belong to the dispatcher.
//!
//! Invariants:
//! - A lease is in the table until it is taken out, once: what takes it out decides what becomes of its event.
//! - Each has one entry in `expiries`, and counts for `bytes` and, where it has one, for its consumer.
//! - Of those that were acknowledged the latest are remembered, for a consumer that did not hear so asks again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, SystemTime};

use eventrelay_sinks::Delivery;
use eventrelay_state::ReplayId;
use eventrelay_telemetry::DeliverySpan;
use tokio::time::Instant;

use super::LeaseToken;

/// How many acknowledged leases are remembered.
const REMEMBERED_ACKS: usize = 10_000;

/// A consumer that has leases of its own, and loses them when it goes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ConsumerId(pub(crate) u64);

/// An event that is a consumer's for a while.
#[derive(Debug)]
pub(crate) struct Lease {
    /// In memory of its own: a long lease must not pin all that was written with the event.
    pub(crate) delivery: Delivery,
    /// The replay that it belongs to, if any.
    pub(crate) replay: Option<ReplayId>,
    /// None where it ends by time alone.
    pub(crate) consumer: Option<ConsumerId>,
    pub(crate) span: Option<DeliverySpan>,
    pub(crate) begun: Instant,
    pub(crate) begun_at: SystemTime,
    pub(crate) expires: Instant,
    /// Makes its token one that cannot be guessed.
    pub(crate) secret: u64,
}

impl Lease {
    fn bytes(&self) -> usize {
        self.delivery.event.encoded().len()
    }
}

/// Why a token names no lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// There was one of that number, and it has ended.
    Ended,
    /// It was acknowledged, not long ago.
    Acked,
    Unknown,
}

#[derive(Debug)]
pub(crate) struct LeaseTable {
    id: u64,
    next_number: u64,
    leases: BTreeMap<u64, Lease>,
    expiries: BTreeSet<(Instant, u64)>,
    by_consumer: HashMap<ConsumerId, usize>,
    bytes: usize,
    /// The secrets of leases that were acknowledged, by number.
    acked: BTreeMap<u64, u64>,
}

impl LeaseTable {
    /// `id` is part of all its tokens, and is to be random.
    pub(crate) fn new(id: u64) -> Self {
        Self {
            id,
            next_number: 0,
            leases: BTreeMap::new(),
            expiries: BTreeSet::new(),
            by_consumer: HashMap::new(),
            bytes: 0,
            acked: BTreeMap::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.leases.len()
    }

    /// Bytes of the events that are leased.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many are this consumer's.
    pub(crate) fn held_by(&self, consumer: ConsumerId) -> usize {
        self.by_consumer.get(&consumer).copied().unwrap_or(0)
    }

    /// Adds a lease, and gives it its name.
    pub(crate) fn insert(&mut self, lease: Lease) -> (LeaseToken, &Lease) {
        let number = self.next_number;
        self.next_number += 1;
        self.bytes += lease.bytes();
        self.expiries.insert((lease.expires, number));
        if let Some(consumer) = lease.consumer {
            *self.by_consumer.entry(consumer).or_default() += 1;
        }
        let token = LeaseToken { table: self.id, number, secret: lease.secret };
        (token, self.leases.entry(number).or_insert(lease))
    }

    /// Ends the lease that a token names.
    pub(crate) fn take(&mut self, token: LeaseToken) -> Result<Lease, Missing> {
        let number = self.find(token)?;
        self.remove(number).ok_or(Missing::Ended)
    }

    /// The same for a lease whose event has been dealt with.
    pub(crate) fn ack(&mut self, token: LeaseToken) -> Result<Lease, Missing> {
        let lease = self.take(token)?;
        self.acked.insert(token.number, token.secret);
        if self.acked.len() > REMEMBERED_ACKS {
            self.acked.pop_first();
        }
        Ok(lease)
    }

    /// Lets the lease that a token names last `lease` from `now` on.
    pub(crate) fn extend(&mut self, token: LeaseToken, now: Instant, lease: Duration) -> Result<(), Missing> {
        let number = self.find(token)?;
        let found = self.leases.get_mut(&number).ok_or(Missing::Ended)?;
        self.expiries.remove(&(found.expires, number));
        found.expires = now + lease;
        self.expiries.insert((found.expires, number));
        Ok(())
    }

    /// When the next lease runs out.
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        self.expiries.first().map(|&(expires, _)| expires)
    }

    /// Ends a lease that has run out, the one of the lowest offset where several of one batch have.
    pub(crate) fn take_expired(&mut self, now: Instant) -> Option<Lease> {
        let &(expires, number) = self.expiries.first()?;
        if expires > now { None } else { self.remove(number) }
    }

    /// Ends the oldest lease of a consumer.
    pub(crate) fn take_of(&mut self, consumer: ConsumerId) -> Option<Lease> {
        let number =
            self.leases.iter().find(|(_, lease)| lease.consumer == Some(consumer)).map(|(&n, _)| n)?;
        self.remove(number)
    }

    /// Ends the latest lease.
    pub(crate) fn take_last(&mut self) -> Option<Lease> {
        let number = *self.leases.last_key_value()?.0;
        self.remove(number)
    }

    /// Ends the latest lease, if its event comes behind this offset.
    pub(crate) fn take_last_behind(&mut self, offset: u64) -> Option<Lease> {
        let (&number, last) = self.leases.last_key_value()?;
        if last.delivery.event.offset() > offset { self.remove(number) } else { None }
    }

    fn find(&self, token: LeaseToken) -> Result<u64, Missing> {
        if token.table != self.id || token.number >= self.next_number {
            return Err(Missing::Unknown);
        }
        match self.leases.get(&token.number) {
            None if self.acked.get(&token.number) == Some(&token.secret) => Err(Missing::Acked),
            None => Err(Missing::Ended),
            Some(lease) if lease.secret != token.secret => Err(Missing::Unknown),
            Some(_) => Ok(token.number),
        }
    }

    fn remove(&mut self, number: u64) -> Option<Lease> {
        let lease = self.leases.remove(&number)?;
        self.expiries.remove(&(lease.expires, number));
        self.bytes -= lease.bytes();
        if let Some(consumer) = lease.consumer
            && let Some(held) = self.by_consumer.get_mut(&consumer)
        {
            *held -= 1;
            if *held == 0 {
                self.by_consumer.remove(&consumer);
            }
        }
        Some(lease)
    }
}

#[cfg(test)]
mod tests {
    use eventrelay_event::{Event, Purpose, StoredEvent, Tenant};

    use super::*;

    fn lease(offset: u64, expires: Instant, consumer: Option<u64>) -> Lease {
        let mut record = Vec::new();
        StoredEvent::encode(&Event::new(Tenant::default(), "t".to_owned(), "/s".to_owned()), &mut record);
        let event = StoredEvent::decode(offset, 1, record.into()).unwrap();
        Lease {
            delivery: Delivery {
                event,
                attempt: 1,
                purpose: Purpose::Live,
                span: None,
                keep_exchange: false,
            },
            replay: None,
            consumer: consumer.map(ConsumerId),
            span: None,
            begun: expires,
            begun_at: SystemTime::UNIX_EPOCH,
            expires,
            secret: offset + 100,
        }
    }

    fn offset(lease: Option<Lease>) -> Option<u64> {
        lease.map(|lease| lease.delivery.event.offset())
    }

    #[test]
    fn a_lease_is_taken_once_and_only_by_its_own_token() {
        let now = Instant::now();
        let mut table = LeaseTable::new(7);
        let token = table.insert(lease(1, now, None)).0;
        for stranger in [
            LeaseToken { table: 8, ..token },
            LeaseToken { number: 1, ..token },
            LeaseToken { secret: 0, ..token },
        ] {
            assert_eq!(table.take(stranger).unwrap_err(), Missing::Unknown, "{stranger:?}");
            assert_eq!(table.extend(stranger, now, Duration::from_secs(1)), Err(Missing::Unknown));
        }
        assert_eq!(table.len(), 1);
        assert_eq!(offset(table.take(token).ok()), Some(1));
        assert_eq!(table.take(token).unwrap_err(), Missing::Ended);
        assert_eq!(table.extend(token, now, Duration::from_secs(1)), Err(Missing::Ended));
        assert_eq!((table.len(), table.bytes(), table.next_expiry()), (0, 0, None));
    }

    #[test]
    fn the_latest_that_were_acknowledged_are_remembered() {
        let now = Instant::now();
        let mut table = LeaseTable::new(7);
        let tokens: Vec<_> =
            (0..=REMEMBERED_ACKS as u64).map(|offset| table.insert(lease(offset, now, None)).0).collect();
        for (offset, token) in (0..).zip(&tokens) {
            assert_eq!(self::offset(table.ack(*token).ok()), Some(offset));
        }
        assert_eq!(table.ack(tokens[0]).unwrap_err(), Missing::Ended, "too long ago");
        assert_eq!(table.ack(tokens[1]).unwrap_err(), Missing::Acked);
        assert_eq!(table.take(tokens[1]).unwrap_err(), Missing::Acked);
        assert_eq!(table.ack(LeaseToken { secret: 0, ..tokens[1] }).unwrap_err(), Missing::Ended);
        assert_eq!((table.len(), table.acked.len()), (0, REMEMBERED_ACKS));
    }

    #[test]
    fn leases_run_out_in_time_and_an_extension_moves_one() {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        let mut table = LeaseTable::new(7);
        let first = table.insert(lease(1, now + second, None)).0;
        table.insert(lease(2, now + second * 2, None));
        table.insert(lease(3, now + second * 2, None));
        assert_eq!((offset(table.take_expired(now)), table.next_expiry()), (None, Some(now + second)));
        table.extend(first, now, second * 3).unwrap();
        let late = now + second * 2;
        assert_eq!(offset(table.take_expired(late)), Some(2), "in order where they run out together");
        assert_eq!((offset(table.take_expired(late)), offset(table.take_expired(late))), (Some(3), None));
        assert_eq!(table.next_expiry(), Some(now + second * 3));
    }

    #[test]
    fn a_consumers_leases_are_counted_and_taken_oldest_first() {
        let now = Instant::now();
        let mut table = LeaseTable::new(7);
        for (offset, consumer) in [(1, Some(1)), (2, Some(2)), (3, Some(1)), (4, None)] {
            table.insert(lease(offset, now, consumer));
        }
        let ours = ConsumerId(1);
        assert_eq!((table.held_by(ours), table.held_by(ConsumerId(3))), (2, 0));
        assert_eq!((offset(table.take_of(ours)), offset(table.take_of(ours))), (Some(1), Some(3)));
        assert_eq!((offset(table.take_of(ours)), table.held_by(ours), table.len()), (None, 0, 2));
        assert_eq!((offset(table.take_last_behind(4)), offset(table.take_last_behind(3))), (None, Some(4)));
        assert_eq!(offset(table.take_last()), Some(2));
        assert!(table.by_consumer.is_empty() && table.expiries.is_empty());
    }
}
