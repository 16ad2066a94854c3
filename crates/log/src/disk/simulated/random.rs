//! The disk's own random numbers (SplitMix64): the same seed gives the same faults on every machine and in
//! every release, which a general crate does not promise.

#[derive(Debug, Clone)]
pub(super) struct Random {
    state: u64,
}

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    pub(super) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number in `0..limit`; 0 when the limit is 0. The bias is below 2^-32 for the limits that occur here.
    pub(super) fn below(&mut self, limit: usize) -> usize {
        super::image::to_index(self.next().checked_rem(limit as u64).unwrap_or(0))
    }

    /// True once in `of` times.
    pub(super) fn one_in(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }
}
