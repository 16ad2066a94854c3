//! The names of a trace and of its spans, as W3C Trace Context and OpenTelemetry have them.

use std::fmt;

/// A trace's name: 16 bytes, not all zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TraceId([u8; 16]);

/// A span's name, unique in its trace: 8 bytes, not all zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpanId([u8; 8]);

impl TraceId {
    /// The name of these bytes; `None` when all are zero.
    #[must_use]
    pub fn new(bytes: [u8; 16]) -> Option<Self> {
        (bytes != [0; 16]).then_some(Self(bytes))
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(self) -> [u8; 16] {
        self.0
    }
}

impl SpanId {
    /// The name of these bytes; `None` when all are zero.
    #[must_use]
    pub fn new(bytes: [u8; 8]) -> Option<Self> {
        (bytes != [0; 8]).then_some(Self(bytes))
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(self) -> [u8; 8] {
        self.0
    }
}

/// As `traceparent` writes it: 32 lower-case hexadecimal digits.
impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// As `traceparent` writes it: 16 lower-case hexadecimal digits.
impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_no_names_and_names_keep_their_zeros() {
        assert_eq!((TraceId::new([0; 16]), SpanId::new([0; 8])), (None, None));
        let (mut trace, mut span) = ([0; 16], [0; 8]);
        (trace[15], span[7]) = (10, 11);
        assert_eq!(TraceId::new(trace).unwrap().to_string(), "0000000000000000000000000000000a");
        assert_eq!(SpanId::new(span).unwrap().to_string(), "000000000000000b");
    }
}
