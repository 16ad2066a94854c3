//! The name of a request in logs: the client's own `x-request-id`, or one made here.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, HeaderName, HeaderValue};

pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A client's own name for a request may have this many characters.
const MAX_CHARS: usize = 128;
const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Makes request ids that no other request of this process, and hardly one of another, has.
#[derive(Debug)]
pub(crate) struct RequestIds {
    /// Of this process: random, but no secret.
    prefix: u32,
    next: AtomicU64,
}

impl RequestIds {
    pub(crate) fn new() -> Self {
        let random = RandomState::new().hash_one(std::process::id());
        Self { prefix: (random >> 32) as u32, next: AtomicU64::new(0) }
    }

    /// The client's id where it is 1 to 128 visible ASCII characters, else a new one.
    pub(crate) fn name(&self, headers: &HeaderMap) -> HeaderValue {
        match headers.get(X_REQUEST_ID) {
            Some(id) if is_legal(id.as_bytes()) => id.clone(),
            _ => self.make(),
        }
    }

    fn make(&self) -> HeaderValue {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let value = u128::from(self.prefix) << 64 | u128::from(number);
        let text: [u8; 24] =
            std::array::from_fn(|place| DIGITS[(value >> (4 * (23 - place)) & 0xf) as usize]);
        HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("unnamed"))
    }
}

fn is_legal(id: &[u8]) -> bool {
    !id.is_empty() && id.len() <= MAX_CHARS && id.iter().all(u8::is_ascii_graphic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clients_own_id_is_kept_when_it_is_harmless() {
        let ids = RequestIds::new();
        let name = |id: &str| {
            let headers = HeaderMap::from_iter([(X_REQUEST_ID, HeaderValue::from_str(id).unwrap())]);
            ids.name(&headers).to_str().unwrap().to_owned()
        };
        assert_eq!(name("a-1"), "a-1");
        assert_ne!(name("with space"), "with space");
        assert_ne!(name(""), "");
        assert_ne!(name(&"x".repeat(129)).len(), 129);
    }

    #[test]
    fn made_ids_differ_and_have_24_digits() {
        let ids = RequestIds::new();
        let (a, b) = (ids.make(), ids.make());
        assert_ne!(a, b);
        assert!(a.len() == 24 && a.as_bytes().iter().all(u8::is_ascii_hexdigit), "{a:?}");
    }
}
