//! CRC-32C, the checksum of everything the log writes.

use crc_fast::{CrcAlgorithm, Digest};

/// The CRC-32C of `bytes`, continued from `seed`: `crc32c(crc32c(0, a), b)` is that of `a` then `b`.
pub(crate) fn crc32c(seed: u32, bytes: &[u8]) -> u32 {
    let mut digest = Digest::new_with_init_state(CrcAlgorithm::Crc32Iscsi, u64::from(!seed));
    digest.update(bytes);
    #[allow(clippy::cast_possible_truncation, reason = "a CRC-32 has 32 bits")]
    {
        digest.finalize() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::crc32c;

    #[test]
    fn known_value_and_continuation() {
        // The check value of CRC-32C (RFC 3720, appendix B.4, catalogue name CRC-32/ISCSI).
        assert_eq!(crc32c(0, b"123456789"), 0xE306_9283);
        assert_eq!(crc32c(crc32c(0, b"1234"), b"56789"), 0xE306_9283);
        assert_ne!(crc32c(1, b"123456789"), 0xE306_9283, "a seed changes every checksum");
    }
}
