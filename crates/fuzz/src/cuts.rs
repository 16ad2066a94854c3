//! Bytes in pieces, as a network delivers them.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::random::Random;

/// The most pieces.
const MOST_PIECES: usize = 12;

/// Cuts the bytes into pieces at places that look random and follow from the bytes, so that an input which fails fails
/// again. Some pieces are empty.
#[must_use]
pub fn cuts(bytes: &[u8]) -> Vec<&[u8]> {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    let mut random = Random::new(hasher.finish());
    let count = random.below(MOST_PIECES);
    let mut places: Vec<usize> = (0..count).map(|_| random.below(bytes.len() + 1)).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}
