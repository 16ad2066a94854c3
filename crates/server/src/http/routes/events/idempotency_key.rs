//! The `Idempotency-Key` header: the client's name for a request, so that it can be repeated safely.
//!
//! It has 1 to 255 visible ASCII characters, and becomes the idempotency key of a single event. In a batch the event
//! at place `i` gets `<key>/<i>`, so a repeated batch repeats each of its events. An event that names its own
//! `idempotency_key` keeps that.

use eventrelay_event::Event;
use eventrelay_event::rules::MAX_NAME_BYTES;
use http::{HeaderMap, HeaderName, StatusCode};

use crate::batch_key;
use crate::http::problem::Problem;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const MAX_CHARS: usize = 255;

/// The request's key, when it has one.
///
/// # Errors
/// 400 `invalid_idempotency_key`.
pub(crate) fn of(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(invalid("There is more than one"));
    }
    let legal =
        !value.is_empty() && value.len() <= MAX_CHARS && value.as_bytes().iter().all(u8::is_ascii_graphic);
    match value.to_str() {
        Ok(key) if legal => Ok(Some(key)),
        _ => Err(invalid("It must be 1 to 255 visible ASCII characters")),
    }
}

/// The key of a stream, whose events get it with their places: it leaves room for the longest of these.
///
/// # Errors
/// 400 `invalid_idempotency_key`.
pub(super) fn of_stream(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let key = of(headers)?;
    if key.is_some_and(|key| batch_key::of_place(key, u64::MAX).len() > MAX_NAME_BYTES) {
        return Err(invalid("It is too long for a stream, whose events get <key>/<place>"));
    }
    Ok(key)
}

/// Gives the key to the events that have none of their own.
///
/// # Errors
/// 400 `invalid_idempotency_key` when it leaves no room for the places of a batch.
pub(super) fn apply(key: &str, events: &mut [Event], is_batch: bool) -> Result<(), Problem> {
    for (index, event) in events.iter_mut().enumerate().filter(|(_, event)| event.idempotency_key.is_none()) {
        let own = if is_batch { batch_key::of_place(key, index as u64) } else { key.to_owned() };
        if own.len() > MAX_NAME_BYTES {
            return Err(invalid("It is too long for a batch, whose events get <key>/<index>"));
        }
        event.idempotency_key = Some(own);
    }
    Ok(())
}

fn invalid(detail: &'static str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "invalid_idempotency_key", "The Idempotency-Key is not valid")
        .detail(detail)
}

#[cfg(test)]
mod tests {
    use eventrelay_event::Tenant;
    use http::HeaderValue;

    use super::*;

    fn event(key: Option<&str>) -> Event {
        let mut event = Event::new(Tenant::default(), "t".to_owned(), "/s".to_owned());
        event.idempotency_key = key.map(str::to_owned);
        event
    }

    fn read(values: &[&[u8]]) -> Result<Option<String>, &'static str> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(IDEMPOTENCY_KEY, HeaderValue::from_bytes(value).unwrap());
        }
        of(&headers).map(|key| key.map(str::to_owned)).map_err(|problem| problem.code())
    }

    #[test]
    fn a_key_is_visible_ascii_of_bounded_length() {
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[b"a-1"]), Ok(Some("a-1".to_owned())));
        assert_eq!(read(&[&[b'x'; 255]]), Ok(Some("x".repeat(255))));
        for bad in [&[b'x'; 256][..], b"", b"a b", b"\xc3\xa9", b"a\tb"] {
            assert_eq!(read(&[bad]), Err("invalid_idempotency_key"), "{bad:?}");
        }
        assert_eq!(read(&[b"a", b"a"]), Err("invalid_idempotency_key"));
    }

    #[test]
    fn each_event_of_a_batch_gets_its_own_key_and_an_own_key_stays() {
        let mut events = [event(None), event(Some("mine")), event(None)];
        apply("k", &mut events, true).unwrap();
        let keys = events.map(|event| event.idempotency_key.unwrap());
        assert_eq!(keys, ["k/0", "mine", "k/2"]);
        let mut single = [event(None)];
        apply("k", &mut single, false).unwrap();
        assert_eq!(single[0].idempotency_key.as_deref(), Some("k"));
    }

    #[test]
    fn a_key_that_leaves_no_room_for_the_place_is_refused() {
        let problem = apply(&"x".repeat(255), &mut [event(None)], true).unwrap_err();
        assert_eq!(problem.code(), "invalid_idempotency_key");
        apply(&"x".repeat(254), &mut [event(None)], true).unwrap();
    }
}
