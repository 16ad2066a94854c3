//! The names of objects.
//!
//! ```text
//! <first offset, 20 digits>-<owner, 12 hex digits>.<ndjson[.gz|.zst] or parquet>               a slot
//! <offset, 20 digits>-<owner>-late.<…>                                                         one straggler
//! <first>-<last offset, 20 digits each>-<owner>-<offsets, 8 hex digits>.<…>                    at least once
//! ```
//!
//! The owner is a hash of the log, the tenant and the subscription, so that no two of them meet in a folder: not two
//! subscriptions with the same path, nor one whose data directory was begun anew and whose offsets start at 0 again.

use eventrelay_event::StoredEvent;
use sha2::{Digest, Sha256};

use super::content::ObjectKind;
use crate::Owner;

const OFFSET_DIGITS: usize = 20;
const OWNER_DIGITS: usize = 12;

/// Makes the names of one subscription's objects, and knows them again.
#[derive(Debug)]
pub(super) struct Names {
    owner: String,
    kind: ObjectKind,
}

impl Names {
    pub(super) fn new(owner: &Owner, kind: ObjectKind) -> Self {
        let mut hash = Sha256::new();
        hash.update(owner.log_id);
        hash.update(owner.tenant.as_bytes());
        // Neither may hold it, so no two pairs hash alike.
        hash.update([0]);
        hash.update(owner.subscription.as_bytes());
        Self { owner: hex(&hash.finalize(), OWNER_DIGITS), kind }
    }

    /// The object whose first event is at `first`.
    pub(super) fn slot(&self, first: u64) -> String {
        format!("{first:020}-{}.{}", self.owner, self.kind.extension())
    }

    /// A name that sorts before that of the slot at `first`, and after all slots before it.
    pub(super) fn before_slot(first: u64) -> String {
        format!("{first:020}")
    }

    /// The object of one event that came when its place among the slots was taken.
    pub(super) fn late(&self, offset: u64) -> String {
        format!("{offset:020}-{}-late.{}", self.owner, self.kind.extension())
    }

    /// The object of these events, whatever others there are. The same for the same events.
    pub(super) fn of_events(&self, events: &[StoredEvent]) -> String {
        let mut hash = Sha256::new();
        let (mut first, mut last) = (u64::MAX, 0);
        for offset in events.iter().map(StoredEvent::offset) {
            hash.update(offset.to_le_bytes());
            (first, last) = (first.min(offset), last.max(offset));
        }
        let offsets = hex(&hash.finalize(), 8);
        format!("{first:020}-{last:020}-{}-{offsets}.{}", self.owner, self.kind.extension())
    }

    /// The first offset of a slot of ours, whatever is in it; none when the name is another.
    pub(super) fn parse_slot(&self, name: &str) -> Option<u64> {
        self.parse(name, ".")
    }

    /// The offset of a straggler of ours, likewise.
    pub(super) fn parse_late(&self, name: &str) -> Option<u64> {
        self.parse(name, "-late.")
    }

    fn parse(&self, name: &str, before_extension: &str) -> Option<u64> {
        let (digits, rest) = name.split_at_checked(OFFSET_DIGITS)?;
        let rest = rest.strip_prefix('-')?.strip_prefix(self.owner.as_str())?;
        ObjectKind::of_extension(rest.strip_prefix(before_extension)?)?;
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        digits.parse().ok()
    }
}

fn hex(bytes: &[u8], digits: usize) -> String {
    let mut text: String = bytes.iter().take(digits.div_ceil(2)).map(|byte| format!("{byte:02x}")).collect();
    text.truncate(digits);
    text
}

#[cfg(test)]
mod tests {
    use super::super::content::Compression;
    use super::*;
    use crate::testing::{event, stored};

    fn owner(log_id: u8, tenant: &str, subscription: &str) -> Owner {
        Owner { tenant: tenant.to_owned(), subscription: subscription.to_owned(), log_id: [log_id; 16] }
    }

    #[test]
    fn slots_sort_by_offset_and_are_known_again() {
        let names = Names::new(&owner(1, "default", "s"), ObjectKind::Lines(Compression::Gzip));
        let slots: Vec<_> = [0, 9, 10, 1 << 40, u64::MAX].iter().map(|first| names.slot(*first)).collect();
        assert!(slots.is_sorted() && slots[1].ends_with(".ndjson.gz"), "{slots:?}");
        let parsed: Vec<_> = slots.iter().map(|name| names.parse_slot(name).unwrap()).collect();
        assert_eq!(parsed, [0, 9, 10, 1 << 40, u64::MAX]);
        let before = Names::before_slot(10);
        assert!(slots[1] < before && names.late(9) < before && before < slots[2]);
        let plain = Names::new(&owner(1, "default", "s"), ObjectKind::Lines(Compression::None));
        assert_eq!(plain.parse_slot(&slots[1]), Some(9), "compressed in another way before");
        let parquet = Names::new(&owner(1, "default", "s"), ObjectKind::Parquet);
        assert!(parquet.slot(9).ends_with(".parquet") && parquet.late(9).ends_with("-late.parquet"));
        assert_eq!((parquet.parse_slot(&slots[1]), plain.parse_slot(&parquet.slot(9))), (Some(9), Some(9)));
        assert_eq!((plain.parse_late(&names.late(9)), plain.parse_late(&slots[1])), (Some(9), None));
    }

    #[test]
    fn what_is_not_a_slot_of_ours_is_not_taken_for_one() {
        let names = Names::new(&owner(1, "default", "s"), ObjectKind::Lines(Compression::None));
        let events = [stored(7, &event(b"1")), stored(9, &event(b"1"))];
        for name in [names.late(7), names.of_events(&events), String::new(), "ü".repeat(30)] {
            assert_eq!(names.parse_slot(&name), None, "{name}");
        }
        let slot = names.slot(7);
        for stranger in [owner(2, "default", "s"), owner(1, "other", "s"), owner(1, "default", "t")] {
            assert_eq!(Names::new(&stranger, ObjectKind::Lines(Compression::None)).parse_slot(&slot), None);
        }
        assert_eq!(names.parse_slot(&slot.replace("ndjson", "csv")), None);
    }

    #[test]
    fn the_same_events_have_the_same_name_and_others_another() {
        let names = Names::new(&owner(1, "default", "s"), ObjectKind::Lines(Compression::Zstd));
        let of = |offsets: &[u64]| {
            let events: Vec<_> = offsets.iter().map(|offset| stored(*offset, &event(b"1"))).collect();
            names.of_events(&events)
        };
        assert_eq!(of(&[1, 2, 5]), of(&[1, 2, 5]));
        assert_ne!(of(&[1, 2, 5]), of(&[1, 3, 5]));
        assert!(of(&[1, 5]).starts_with("00000000000000000001-00000000000000000005-"));
    }
}
