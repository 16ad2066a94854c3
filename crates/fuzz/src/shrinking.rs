//! A failing input, made smaller while it fails.

use std::panic::{set_hook, take_hook};

/// How often it is tried.
const MOST_TRIES: usize = 2_000;

/// Takes pieces out, the large ones first, as long as what is left still fails.
///
/// Meanwhile no panic of this process is printed, for there are as many as tries.
pub(crate) fn shrink(input: &[u8], fails: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let hook = take_hook();
    set_hook(Box::new(|_| {}));
    let small = without_pieces(input.to_vec(), fails);
    set_hook(hook);
    small
}

fn without_pieces(mut input: Vec<u8>, fails: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let (mut piece, mut tries) = (input.len().div_ceil(2), 0);
    while piece > 0 {
        let mut at = 0;
        while at < input.len() && tries < MOST_TRIES {
            let mut shorter = input.clone();
            shorter.drain(at..(at + piece).min(input.len()));
            tries += 1;
            if fails(&shorter) {
                input = shorter;
            } else {
                at += piece;
            }
        }
        piece /= 2;
    }
    input
}
