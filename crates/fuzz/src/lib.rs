//! For tests: drives a decoder with inputs that nobody would write.
//!
//! A *target* is a function of bytes that panics when something is not as it must be. [`fuzz`] gives it the seeds of a
//! corpus, and then mutations of them ([`mutation`]). What a target returns says which way the input took, such as the
//! kind of error: an input that takes a new way joins the corpus of the run, so that the next mutations begin behind the
//! checks which it passed.
//!
//! This is not guided by coverage, as libFuzzer is, which needs instrumented builds and an `extern "C"` entry. In return
//! every run of the tests is a run of the fuzzer: a second of each target in `make test`, more in `make fuzz`. Targets are
//! plain functions of bytes, so that any other driver can have them.
//!
//! | variable | |
//! |---|---|
//! | `TEST_FUZZ_SECONDS` | how long each target runs; a second when it is not set |
//! | `TEST_FUZZ_SEED` | repeats the random choices of an earlier run |
//!
//! An input that fails is made as small as it goes, and kept in `target/fuzz/<target>/`. Once its fault is mended it
//! belongs in the corpus: every file there is tried in every run.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test's way to fail")]
#![allow(clippy::cast_possible_truncation, reason = "random numbers have no meaning to lose")]

mod corpus;
mod cuts;
mod mutation;
mod random;
mod shrinking;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use corpus::Corpus;
pub use cuts::cuts;
use mutation::Mutator;
use random::Random;

/// How long a target runs in every run of the tests.
const USUAL_TIME: Duration = Duration::from_secs(1);
/// However slow the machine, this many mutations are tried.
const LEAST_INPUTS: u64 = 1_000;

/// What a target is driven with.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// Its name, under which failing inputs are kept.
    pub name: &'a str,
    /// A folder with one file for each seed. It must not be empty.
    pub corpus: &'a Path,
    /// What mutations like to insert: the words of the language that is decoded.
    pub words: &'a [&'a [u8]],
    /// The longest input.
    pub max_bytes: usize,
}

/// Runs a target until its time is over.
///
/// # Panics
/// When the target panics for some input, with the smallest one found.
pub fn fuzz<Way: Hash>(target: Target<'_>, run: impl Fn(&[u8]) -> Way) {
    let seed = number_from_environment("TEST_FUZZ_SEED").unwrap_or_else(fresh_seed);
    let time = number_from_environment("TEST_FUZZ_SECONDS").map_or(USUAL_TIME, Duration::from_secs);
    let way = |input: &[u8]| {
        catch_unwind(AssertUnwindSafe(|| {
            let mut hasher = DefaultHasher::new();
            run(input).hash(&mut hasher);
            hasher.finish()
        }))
        .ok()
    };
    let mut corpus = Corpus::read(target.corpus);
    for (input, name) in corpus.seeds() {
        let Some(way) = way(&input) else { fail(target, seed, &input, &name, &run) };
        corpus.take_down(way);
    }
    let mut random = Random::new(seed);
    let mutator = Mutator { words: target.words, max_bytes: target.max_bytes };
    let (began, mut tried) = (Instant::now(), 0);
    while tried < LEAST_INPUTS || began.elapsed() < time {
        let input = mutator.mutate(&corpus, &mut random);
        match way(&input) {
            Some(way) => corpus.keep_if_new(way, input),
            None => fail(target, seed, &input, "a mutation", &run),
        }
        tried += 1;
    }
    println!("{}: {tried} inputs, {} ways, TEST_FUZZ_SEED={seed}", target.name, corpus.ways());
}

/// Keeps the input, made smaller, and lets it fail once more where its panic can be read.
fn fail<Way>(target: Target<'_>, seed: u64, input: &[u8], what: &str, run: &impl Fn(&[u8]) -> Way) -> ! {
    let small =
        shrinking::shrink(input, |input| catch_unwind(AssertUnwindSafe(|| drop(run(input)))).is_err());
    let kept = corpus::keep_failing(target.name, &small);
    println!(
        "{} failed on {what} with TEST_FUZZ_SEED={seed}; {} bytes are in {}: {}",
        target.name,
        small.len(),
        kept.display(),
        small[..small.len().min(400)].escape_ascii()
    );
    run(&small);
    panic!("{} failed, and then it did not", target.name);
}

fn number_from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|error| panic!("{name}: {error}")))
}

fn fresh_seed() -> u64 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_micros() as u64
}

#[cfg(test)]
mod tests;
