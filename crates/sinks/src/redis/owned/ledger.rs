//! What stands beside an owned stream: a hash under a key of its own, in the same slot.
//!
//! ```text
//! {orders}:eventrelay                    of the stream `orders`
//! shop{7}:eventrelay                     of the stream `shop{7}`, which has a hash tag already
//!
//!   owner          <log id>/<tenant>/<subscription>
//!   passed:12      1                     the event at offset 12 has no entry, although later ones have
//!   batches        how many were waited for by replicas
//! ```
//!
//! `batches` is counted only where replicas are waited for: they are waited for up to a connection's last write, and a repetition
//! that is refused writes nothing by itself.

use redis::Cmd;

use super::super::slot::hash_tag;
use crate::Owner;

const SUFFIX: &str = ":eventrelay";

/// An id of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) struct EntryId {
    pub(super) first: u64,
    pub(super) second: u64,
}

/// Whose streams are.
#[derive(Debug)]
pub(in super::super) struct Ledger {
    owner: String,
    /// Whether the owner is a log's, and not that of a configuration that is looked at.
    is_of_a_log: bool,
}

impl EntryId {
    /// The id of the event at an offset.
    pub(super) fn of_offset(offset: u64) -> Self {
        Self { first: offset, second: u64::from(offset == 0) }
    }

    /// Reads `12-0`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (first, second) = text.split_once('-')?;
        Some(Self { first: first.parse().ok()?, second: second.parse().ok()? })
    }

    /// The nth id behind it with the same beginning.
    pub(super) fn behind(self, nth: u64) -> Self {
        Self { second: self.second.saturating_add(nth), ..self }
    }
}

impl std::fmt::Display for EntryId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.first, self.second)
    }
}

impl Ledger {
    pub(in super::super) fn new(owner: &Owner) -> Self {
        let Owner { tenant, subscription, log_id } = owner;
        let log_id = u128::from_be_bytes(*log_id);
        Self { owner: format!("{log_id:032x}/{tenant}/{subscription}"), is_of_a_log: log_id != 0 }
    }

    /// The key beside a stream. None where braces in the stream's key leave no way to another key of the same slot.
    pub(in super::super) fn key(stream: &str) -> Option<String> {
        if hash_tag(stream.as_bytes()).is_some() {
            return Some(format!("{stream}{SUFFIX}"));
        }
        (!stream.contains(['{', '}'])).then(|| format!("{{{stream}}}{SUFFIX}"))
    }

    /// Why an owner is not us, if it is not.
    pub(in super::super) fn refusal(&self, stream: &str, owner: Option<&str>) -> Option<String> {
        match owner {
            Some(owner) if owner == self.owner => None,
            Some(_) if !self.is_of_a_log => None,
            Some(owner) => Some(format!(
                "the stream {stream:?} belongs to {owner:?} (log, tenant, subscription), and not to {:?}",
                self.owner
            )),
            None => Some(no_owner(stream)),
        }
    }

    pub(in super::super) fn read_owner(key: &str) -> Cmd {
        let mut command = redis::cmd("HGET");
        command.arg(key).arg("owner");
        command
    }

    /// Makes us the owner where there is none.
    pub(in super::super) fn claim(&self, key: &str) -> Cmd {
        let mut command = redis::cmd("HSETNX");
        command.arg(key).arg("owner").arg(&self.owner);
        command
    }

    pub(super) fn give_up(key: &str) -> Cmd {
        let mut command = redis::cmd("HDEL");
        command.arg(key).arg("owner");
        command
    }

    /// Notes offsets that have no entries. Not for none.
    pub(in super::super) fn note_passed(key: &str, offsets: impl IntoIterator<Item = u64>) -> Cmd {
        let mut command = redis::cmd("HSET");
        command.arg(key);
        for offset in offsets {
            command.arg(passed(offset)).arg("1");
        }
        command
    }

    /// Asks which of some offsets are noted. Not for none.
    pub(super) fn read_passed(key: &str, offsets: impl IntoIterator<Item = u64>) -> Cmd {
        let mut command = redis::cmd("HMGET");
        command.arg(key);
        offsets.into_iter().for_each(|offset| {
            command.arg(passed(offset));
        });
        command
    }

    /// Notes no more that offsets have no entries. Not for none.
    pub(in super::super) fn no_longer_passed(key: &str, offsets: impl IntoIterator<Item = u64>) -> Cmd {
        let mut command = redis::cmd("HDEL");
        command.arg(key);
        offsets.into_iter().for_each(|offset| {
            command.arg(passed(offset));
        });
        command
    }

    /// A write of this connection, whatever else is one.
    pub(super) fn count_batch(key: &str) -> Cmd {
        let mut command = redis::cmd("HINCRBY");
        command.arg(key).arg("batches").arg(1);
        command
    }
}

/// A stream without an owner is ours to take only while it has never had an entry.
pub(in super::super) fn no_owner(stream: &str) -> String {
    format!(
        "the stream {stream:?} was there before and has entries of others, so ids made from offsets would be taken for repetitions"
    )
}

fn passed(offset: u64) -> String {
    format!("passed:{offset}")
}

#[cfg(test)]
mod tests {
    use super::super::super::slot::slot;
    use super::*;

    #[test]
    fn the_key_beside_a_stream_is_in_its_slot() {
        for stream in ["orders", "{shop}.orders", "orders{7}", "a{b}{c}", "x{y"] {
            let key = Ledger::key(stream);
            assert_eq!(key.is_some(), stream != "x{y", "{stream}");
            if let Some(key) = key {
                assert_eq!(slot(key.as_bytes()), slot(stream.as_bytes()), "{stream}");
                assert_ne!(key, stream);
            }
        }
        assert_eq!(Ledger::key("a}b"), None);
        assert_eq!(Ledger::key("a{}b"), None);
    }

    #[test]
    fn ids_ascend_with_offsets_and_leave_room_behind_each() {
        let ids: Vec<_> = (0..4).map(EntryId::of_offset).collect();
        assert_eq!(ids.iter().map(ToString::to_string).collect::<Vec<_>>(), ["0-1", "1-0", "2-0", "3-0"]);
        assert!(ids.is_sorted());
        assert!(ids[1] < ids[1].behind(9) && ids[1].behind(9) < ids[2]);
        assert_eq!(EntryId::parse("12-7"), Some(EntryId { first: 12, second: 7 }));
        assert_eq!(EntryId::parse("12"), None);
    }

    #[test]
    fn another_log_tenant_or_subscription_is_another_owner() {
        let owner = |tenant: &str, subscription: &str, log: u8| {
            Ledger::new(&Owner {
                tenant: tenant.to_owned(),
                subscription: subscription.to_owned(),
                log_id: [log; 16],
            })
        };
        let ours = owner("t", "s", 1);
        assert_eq!(ours.refusal("x", Some(&ours.owner)), None);
        for other in [owner("u", "s", 1), owner("t", "r", 1), owner("t", "s", 2)] {
            assert!(ours.refusal("x", Some(&other.owner)).unwrap().contains("belongs to"));
        }
        assert!(ours.refusal("x", None).unwrap().contains("was there before"));
    }
}
