//! Requests that are prepared once and sent many times, with another idempotency key for every event each time: the places
//! of the keys are known, and as many digits are written there, which costs next to nothing.

use std::sync::atomic::{AtomicU64, Ordering};

/// The digits of a key.
pub(crate) const KEY_DIGITS: usize = 16;
/// What stands in for a key until one is written.
const PLACEHOLDER: [u8; KEY_DIGITS] = *b"KKKKKKKKKKKKKKKK";

/// Whether events carry a key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keyed {
    No,
    Yes,
}

/// A request, and where its keys are.
#[derive(Clone)]
pub(crate) struct Prepared {
    bytes: Vec<u8>,
    places: Vec<usize>,
}

impl Prepared {
    /// Finds the places where [`placeholder`] left room for a key.
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        let mut places = Vec::new();
        let mut at = 0;
        while let Some(found) = bytes[at..].windows(KEY_DIGITS).position(|window| window == PLACEHOLDER) {
            places.push(at + found);
            at += found + KEY_DIGITS;
        }
        Self { bytes, places }
    }

    /// The request with keys that no request had before.
    pub(crate) fn next(&mut self) -> &[u8] {
        static NEXT_KEY: AtomicU64 = AtomicU64::new(1);
        if !self.places.is_empty() {
            let count = self.places.len() as u64;
            let first = NEXT_KEY.fetch_add(count, Ordering::Relaxed);
            for (place, key) in self.places.iter().zip(first..) {
                write_key(key, &mut self.bytes[*place..place + KEY_DIGITS]);
            }
        }
        &self.bytes
    }
}

/// Room for a key, for events that are to have one.
pub(crate) fn placeholder(keyed: Keyed) -> Option<String> {
    (keyed == Keyed::Yes).then(|| String::from_utf8_lossy(&PLACEHOLDER).into_owned())
}

fn write_key(key: u64, digits: &mut [u8]) {
    for (digit, shift) in digits.iter_mut().zip((0..u64::BITS).step_by(4).rev()) {
        *digit = b"0123456789abcdef"[(key >> shift) as usize & 15];
    }
}

/// An event of about 256 bytes as JSON.
pub(crate) fn json_event(keyed: Keyed) -> String {
    let key = placeholder(keyed).map_or_else(String::new, |key| format!(r#","idempotency_key":"{key}""#));
    format!(r#"{{"type":"order.created","source":"/shop"{key},"data":{}}}"#, json_data())
}

/// Its data.
pub(crate) fn json_data() -> String {
    format!(r#"{{"filler":"{}"}}"#, "x".repeat(200))
}
