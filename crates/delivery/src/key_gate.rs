//! Order by key: at most one event of a key is on its way; later ones of the key wait for it, in order.
//!
//! Keys are known by a hash of 64 bits with a secret of this process. Two keys with one hash would wait for each
//! other, which keeps every promise about order.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};

/// Stands for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct KeyHash(u64);

/// Whether an event may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It may, and holds its key until it is released.
    Go,
    /// It was queued behind an earlier event of its key.
    Wait,
    /// Too many wait already: ask again later.
    Full,
}

/// An event that waits or may go: its place and size only, so that what waits pins no memory of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) offset: u64,
    pub(crate) bytes: usize,
}

#[derive(Debug)]
struct Held {
    by: u64,
    waiting: VecDeque<Place>,
}

/// Which keys are held, and what waits for them.
#[derive(Debug)]
pub(crate) struct KeyGate {
    hasher: RandomState,
    held: HashMap<KeyHash, Held>,
    waiting: usize,
    waiting_limit: usize,
}

impl KeyGate {
    /// At most `waiting_limit` events wait.
    pub(crate) fn new(waiting_limit: usize) -> Self {
        Self { hasher: RandomState::new(), held: HashMap::new(), waiting: 0, waiting_limit }
    }

    pub(crate) fn hash(&self, key: &str) -> KeyHash {
        KeyHash(self.hasher.hash_one(key))
    }

    /// Whether an event of the key would go at once.
    pub(crate) fn is_free(&self, key: KeyHash) -> bool {
        !self.held.contains_key(&key)
    }

    /// Asks for an event that comes after all events asked for before.
    pub(crate) fn admit(&mut self, key: KeyHash, place: Place) -> Admission {
        match self.held.get_mut(&key) {
            None => {
                self.held.insert(key, Held { by: place.offset, waiting: VecDeque::new() });
                Admission::Go
            }
            Some(_) if self.waiting >= self.waiting_limit => Admission::Full,
            Some(held) => {
                held.waiting.push_back(place);
                self.waiting += 1;
                Admission::Wait
            }
        }
    }

    /// Gives the key of a settled event on to the next one that waits for it, which is returned. Nothing where another event
    /// holds it.
    pub(crate) fn release(&mut self, key: KeyHash, offset: u64) -> Option<Place> {
        let held = self.held.get_mut(&key).filter(|held| held.by == offset)?;
        let next = held.waiting.pop_front();
        match next {
            Some(place) => {
                held.by = place.offset;
                self.waiting -= 1;
            }
            None => {
                self.held.remove(&key);
            }
        }
        next
    }

    /// The same for an event whose key can no longer be read. Looks at every held key.
    pub(crate) fn release_holder(&mut self, offset: u64) -> Option<Place> {
        let key = self.held.iter().find_map(|(&key, held)| (held.by == offset).then_some(key))?;
        self.release(key, offset)
    }

    /// How many events wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: u64) -> Place {
        Place { offset, bytes: 1 }
    }

    #[test]
    fn a_key_is_passed_on_in_order_and_holds_back_only_itself() {
        let mut gate = KeyGate::new(10);
        let (a, b) = (gate.hash("a"), gate.hash("b"));
        assert_ne!(a, b);
        assert_eq!(gate.admit(a, at(1)), Admission::Go);
        assert_eq!(gate.admit(a, at(2)), Admission::Wait);
        assert_eq!(gate.admit(b, at(3)), Admission::Go);
        assert_eq!(gate.admit(a, at(4)), Admission::Wait);
        assert_eq!(gate.release(a, 4), None, "it is 1's");
        assert_eq!(gate.release(a, 1), Some(at(2)));
        assert_eq!(gate.admit(a, at(5)), Admission::Wait, "2 holds the key now");
        assert_eq!(gate.release_holder(2), Some(at(4)));
        assert_eq!(
            (gate.release_holder(2), gate.release(a, 4), gate.release(a, 5)),
            (None, Some(at(5)), None)
        );
        assert_eq!(gate.admit(a, at(6)), Admission::Go);
        assert_eq!(gate.release(b, 3), None);
    }

    #[test]
    fn what_waits_is_bounded_and_forgotten_keys_cost_nothing() {
        let mut gate = KeyGate::new(2);
        let a = gate.hash("a");
        assert_eq!(gate.admit(a, at(1)), Admission::Go);
        let answers = [2, 3, 4].map(|offset| gate.admit(a, at(offset)));
        assert_eq!(answers, [Admission::Wait, Admission::Wait, Admission::Full]);
        assert_eq!(gate.waiting(), 2);
        assert_eq!(gate.release(a, 1), Some(at(2)));
        assert_eq!(gate.admit(a, at(4)), Admission::Wait, "the refused one kept its place");
        assert_eq!((gate.release(a, 2), gate.release(a, 3)), (Some(at(3)), Some(at(4))));
        assert_eq!(gate.release(a, 4), None);
        assert_eq!((gate.held.len(), gate.waiting()), (0, 0));
    }
}
