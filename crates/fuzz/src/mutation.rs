//! One input made of another: a few small changes at random places.

use crate::corpus::Corpus;
use crate::random::Random;

/// The most changes of one mutation.
const MOST_CHANGES: usize = 6;
/// Bytes that mean something to many decoders.
const BYTES: [u8; 20] = *b"\0\x01\x7f\x80\xff\n\r\t \"\\{}[]:,%0-";
/// Lengths that are wrong in interesting ways.
const LENGTHS: [u32; 8] = [0, 1, 0x7f, 0xffff, 0x1_0000, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];
/// How often a piece is repeated at most: enough to be too deep for any limit on nesting.
const MOST_REPEATS: usize = 200;

/// How inputs are changed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mutator<'a> {
    pub(crate) words: &'a [&'a [u8]],
    pub(crate) max_bytes: usize,
}

impl Mutator<'_> {
    /// A changed input of the corpus.
    pub(crate) fn mutate(&self, corpus: &Corpus, random: &mut Random) -> Vec<u8> {
        let mut input = random.of(corpus.inputs()).clone();
        for _ in 0..=random.below(MOST_CHANGES) {
            self.change(&mut input, corpus, random);
        }
        input.truncate(self.max_bytes);
        input
    }

    fn change(&self, input: &mut Vec<u8>, corpus: &Corpus, random: &mut Random) {
        let at = random.below(input.len() + 1);
        let span = at..(at + random.below(16)).min(input.len()).max(at);
        match random.below(11) {
            0 if at < input.len() => input[at] ^= 1 << random.below(8),
            1 if at < input.len() => input[at] = *random.of(&BYTES),
            2 if at < input.len() => input[at] = random.next() as u8,
            3 => drop(input.drain(span)),
            4 => insert(input, at, &[*random.of(&BYTES)]),
            5 if !self.words.is_empty() => insert(input, at, random.of::<&[u8]>(self.words)),
            6 => {
                let piece = input[span].to_vec();
                insert(input, at, &piece.repeat(1 + random.below(MOST_REPEATS)));
            }
            7 => {
                let length = *random.of(&LENGTHS);
                let bytes = if random.below(2) == 0 { length.to_le_bytes() } else { length.to_be_bytes() };
                overwrite(input, at, &bytes);
            }
            8 => input.truncate(at),
            // The head of one and the tail of another.
            9 => {
                let other = random.of(corpus.inputs());
                let from = random.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            _ => {
                let other = random.of(corpus.inputs());
                let from = random.below(other.len() + 1);
                let to = (from + random.below(64)).min(other.len());
                insert(input, at, &other[from..to]);
            }
        }
    }
}

fn insert(input: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    drop(input.splice(at..at, bytes.iter().copied()));
}

fn overwrite(input: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = (at + bytes.len()).min(input.len());
    drop(input.splice(at..end, bytes.iter().copied()));
}
