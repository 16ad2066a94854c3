//! Comparing what somebody shows with a secret, in a time that does not depend on where the two differ.

/// Whether two texts are the same. How long they are is no secret.
pub(super) fn are_equal(shown: &[u8], secret: &[u8]) -> bool {
    let differing = secret.iter().zip(shown).fold(0, |differing, (a, b)| differing | (a ^ b));
    secret.len() == shown.len() && differing == 0
}
