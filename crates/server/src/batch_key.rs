//! The idempotency keys of events whose client has named not them but all of them together.

/// The key of the event at a place, from 0: the same one whenever the same events come again.
pub(crate) fn of_place(key: &str, place: u64) -> String {
    format!("{key}/{place}")
}
