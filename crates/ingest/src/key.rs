//! How repetitions are told: a record's key is a hash of who publishes and under which name, its fingerprint one of what.
//!
//! Both are SipHash-1-3 keyed by the log's id, which no client knows, so that none can choose keys that collide. They are
//! kept in the log, so neither may ever change.
//!
//! - key: 128 bits over the lengths of tenant, source and idempotency key, as a u64 LE each, and then the three. An
//!   event without an idempotency key goes by its `id`, as if that were one; an event with neither has no key.
//! - fingerprint: 64 bits over [`Event::hash_content`], with the two halves of the log's id exchanged.

use std::hash::Hasher;

use eventrelay_event::Event;
use eventrelay_log::{Key, LogId};
use siphasher::sip::SipHasher13;
use siphasher::sip128::{self, Hasher128};

/// Makes keys for one log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeyHasher {
    key: sip128::SipHasher13,
    fingerprint: SipHasher13,
}

impl KeyHasher {
    pub(crate) fn new(log: LogId) -> Self {
        let (id, _) = log.0.as_chunks::<8>();
        let (low, high) = (u64::from_le_bytes(id[0]), u64::from_le_bytes(id[1]));
        Self {
            key: sip128::SipHasher13::new_with_keys(low, high),
            fingerprint: SipHasher13::new_with_keys(high, low),
        }
    }

    /// What tells a repetition of the event; `None` when it can have none.
    pub(crate) fn key(&self, event: &Event) -> Option<Key> {
        let name = event.idempotency_key.as_deref().or(event.id.as_deref())?;
        let parts = [event.tenant.as_str(), &event.source, name];
        let mut lengths = [0; 24];
        for (place, part) in lengths.as_chunks_mut::<8>().0.iter_mut().zip(parts) {
            *place = (part.len() as u64).to_le_bytes();
        }
        let mut key = self.key;
        key.write(&lengths);
        for part in parts {
            key.write(part.as_bytes());
        }
        let mut fingerprint = self.fingerprint;
        event.hash_content(&mut fingerprint);
        Some(Key { hash: key.finish128().as_u128(), fingerprint: fingerprint.finish() })
    }
}

#[cfg(test)]
mod tests {
    use eventrelay_event::Tenant;

    use super::*;

    fn event(source: &str, id: Option<&str>, key: Option<&str>) -> Event {
        let mut event = Event::new(Tenant::default(), "t".to_owned(), source.to_owned());
        event.id = id.map(str::to_owned);
        event.idempotency_key = key.map(str::to_owned);
        event
    }

    fn key(event: &Event) -> Option<Key> {
        KeyHasher::new(LogId([7; 16])).key(event)
    }

    #[test]
    fn it_never_changes() {
        // Logs keep these: another value here makes every repetition across the upgrade a new event. They were worked out
        // by another implementation of SipHash from what the docs say is hashed.
        let key = KeyHasher::new(LogId(*b"0123456789abcdef")).key(&event("/s", Some("1"), None)).unwrap();
        assert_eq!(
            format!("{:032x} {:016x}", key.hash, key.fingerprint),
            "740aed0a5c01677ad0582ee67e6378eb 74ef1bea9f8c8f03"
        );
    }

    #[test]
    fn the_id_serves_when_there_is_no_key() {
        assert_eq!(key(&event("s", None, None)), None);
        let hash = |id, name| key(&event("s", id, name)).unwrap().hash;
        assert_eq!(hash(Some("a"), None), hash(None, Some("a")));
        assert_eq!(hash(Some("a"), Some("k")), hash(Some("b"), Some("k")));
        assert_ne!(hash(Some("a"), None), hash(Some("b"), None));
    }

    #[test]
    fn parts_do_not_run_together() {
        let hash = |source, name| key(&event(source, None, Some(name))).unwrap().hash;
        assert_ne!(hash("ab", "c"), hash("a", "bc"));
        let mut other = event("a", None, Some("b"));
        other.tenant = Tenant::parse("other").unwrap();
        assert_ne!(key(&other).unwrap().hash, hash("a", "b"));
    }

    #[test]
    fn another_log_has_other_keys() {
        let event = event("s", None, Some("k"));
        let other = KeyHasher::new(LogId([8; 16])).key(&event).unwrap();
        let ours = key(&event).unwrap();
        assert!(other.hash != ours.hash && other.fingerprint != ours.fingerprint);
    }
}
