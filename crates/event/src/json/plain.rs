//! How far a string goes on without anything special, eight bytes at a time: data is mostly long strings, and each is
//! looked through when it is checked, and again when its event is taken apart.

const ONES: u64 = u64::from_le_bytes([1; 8]);
const HIGH_BITS: u64 = u64::from_le_bytes([0x80; 8]);
/// The least byte that stands for itself.
const LEAST: u8 = 0x20;

/// How many bytes there are before the first that does not stand for itself in a string: a quote, a backslash, or a
/// control character.
pub(super) fn plain_bytes(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let special = special(u64::from_le_bytes(*word));
        if special != 0 {
            return 8 * index + special.trailing_zeros() as usize / 8;
        }
    }
    let whole = 8 * words.len();
    whole + rest.iter().position(|&byte| !is_plain(byte)).unwrap_or(rest.len())
}

/// The high bit of each byte that is special. Above the lowest such byte others may be marked that are not, since a
/// subtraction borrows from its neighbour; the lowest is always right.
fn special(word: u64) -> u64 {
    let is_zero = |word: u64| word.wrapping_sub(ONES) & !word;
    let is_control = word.wrapping_sub(ONES * LEAST as u64) & !word;
    let is_quote = is_zero(word ^ (ONES * b'"' as u64));
    let is_backslash = is_zero(word ^ (ONES * b'\\' as u64));
    (is_control | is_quote | is_backslash) & HIGH_BITS
}

fn is_plain(byte: u8) -> bool {
    byte != b'"' && byte != b'\\' && byte >= LEAST
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_judged_alike_at_every_place() {
        for byte in 0..=u8::MAX {
            // Neighbours from which a subtraction could borrow, or that could be taken for special ones.
            for neighbour in [b'x', b' ', b'!', b'#', b'[', b']', 0x7f, 0x80, 0xff] {
                for place in 0..20 {
                    let mut bytes = [neighbour; 20];
                    bytes[place] = byte;
                    let expected = if is_plain(byte) { bytes.len() } else { place };
                    assert_eq!(plain_bytes(&bytes), expected, "{byte} at {place} among {neighbour}");
                }
            }
        }
    }

    #[test]
    fn the_first_of_several_counts() {
        for first in 0..16 {
            for second in first..16 {
                let mut bytes = [b'x'; 16];
                (bytes[first], bytes[second]) = (b'"', 0x1f);
                assert_eq!(plain_bytes(&bytes), first);
                (bytes[first], bytes[second]) = (0, b'\\');
                assert_eq!(plain_bytes(&bytes), if first == second { second } else { first });
            }
        }
    }
}
