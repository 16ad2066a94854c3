//! For tests: drives a decoder with mutated inputs.
