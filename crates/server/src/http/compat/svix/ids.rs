//! Ids: a prefix that says of what, and a KSUID.

use eventrelay_event::Ksuid;
use eventrelay_state::{AttemptId, ReplayId, SubscriptionId};

use super::refusal::Refusal;
use crate::auth::now_micros;

pub(super) const APPLICATION: &str = "app_";
pub(super) const ENDPOINT: &str = "ep_";
const ATTEMPT: &str = "atmpt_";
const TASK: &str = "qtask_";

/// The longest name that a client gives.
const MAX_NAME_CHARS: usize = 256;

/// A new application's id.
pub(super) fn application() -> String {
    format!("{APPLICATION}{}", random())
}

/// A new endpoint's id, and the name of its subscription, which has no capital letters.
pub(super) fn endpoint() -> (String, String) {
    let ksuid = random();
    (format!("{ENDPOINT}{ksuid}"), format!("ep_{:032x}", ksuid.payload()))
}

fn random() -> Ksuid {
    Ksuid::new(now_micros(), rand::random())
}

/// An attempt of a subscription, as its id tells both.
pub(super) fn attempt(started_at_micros: u64, subscription: SubscriptionId, attempt: AttemptId) -> String {
    format!("{ATTEMPT}{}", Ksuid::new(started_at_micros, pair(subscription.0, attempt.0)))
}

/// What the id of an attempt tells.
pub(super) fn parse_attempt(id: &str) -> Option<(SubscriptionId, AttemptId)> {
    let (subscription, attempt) = parse_pair(ATTEMPT, id)?;
    Some((SubscriptionId(subscription), AttemptId(attempt)))
}

/// A replay of a subscription, as its id tells both.
pub(super) fn task(created_at_micros: u64, subscription: SubscriptionId, replay: ReplayId) -> String {
    format!("{TASK}{}", Ksuid::new(created_at_micros, pair(subscription.0, replay.0)))
}

/// What the id of a replay tells.
pub(super) fn parse_task(id: &str) -> Option<(SubscriptionId, ReplayId)> {
    let (subscription, replay) = parse_pair(TASK, id)?;
    Some((SubscriptionId(subscription), ReplayId(replay)))
}

fn pair(high: i64, low: i64) -> u128 {
    u128::from(high.cast_unsigned()) << 64 | u128::from(low.cast_unsigned())
}

#[allow(clippy::cast_possible_truncation, reason = "the halves")]
fn parse_pair(prefix: &str, id: &str) -> Option<(i64, i64)> {
    let payload = id.strip_prefix(prefix)?.parse::<Ksuid>().ok()?.payload();
    Some((((payload >> 64) as u64).cast_signed(), (payload as u64).cast_signed()))
}

/// Checks a name that a client gives: a uid, a channel, a type of events.
///
/// # Errors
/// 422 that names the field.
pub(super) fn check_name(field: &str, name: &str) -> Result<(), Refusal> {
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if (1..=MAX_NAME_CHARS).contains(&name.len()) && name.bytes().all(is_legal) {
        return Ok(());
    }
    Err(Refusal::invalid(
        field,
        format!("must be 1 to {MAX_NAME_CHARS} characters of a-z, A-Z, 0-9, '-', '_' and '.'"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_tell_what_they_are_of() {
        let id = attempt(1_790_000_000_000_000, SubscriptionId(7), AttemptId(9));
        assert_eq!(parse_attempt(&id), Some((SubscriptionId(7), AttemptId(9))));
        assert_eq!(parse_task(&id), None);
        let id = task(1_790_000_000_000_000, SubscriptionId(1), ReplayId(2));
        assert_eq!(parse_task(&id), Some((SubscriptionId(1), ReplayId(2))));
        let (id, name) = endpoint();
        assert_eq!(id.len(), ENDPOINT.len() + Ksuid::CHARS);
        assert!(name.len() <= 64 && name == name.to_ascii_lowercase());
    }

    #[test]
    fn names_are_bounded() {
        for good in ["a", "user.signed-up_2", &"x".repeat(256)] {
            assert!(check_name("uid", good).is_ok(), "{good}");
        }
        for bad in ["", "a b", "ä", "a*", "a,b", &"x".repeat(257)] {
            assert!(check_name("uid", bad).is_err(), "{bad}");
        }
    }
}
