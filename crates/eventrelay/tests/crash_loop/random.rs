//! Numbers that follow from a seed: splitmix64, small enough to be read and the same for ever.

use std::time::Duration;

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// A sequence of numbers.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// True once in `times` on average.
    pub(crate) fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// A time of up to `longest_ms`, as fine as a microsecond.
    pub(crate) fn time_up_to_ms(&mut self, longest_ms: u64) -> Duration {
        Duration::from_micros(self.below(longest_ms * 1000 + 1))
    }
}

/// One number of two, so that things named by numbers have a seed of their own.
pub(crate) fn mix(seed: u64, number: u64) -> u64 {
    Random::new(seed ^ number.wrapping_mul(STEP)).next()
}
