//! Regular expressions that take the same short time for every byte of a text.
//!
//! A pattern becomes a deterministic automaton when the expression is compiled, and one that would need more than
//! [`MAX_AUTOMATON_BYTES`] is refused then. So matching is one table look-up a byte, whatever the pattern and the text; engines
//! that simulate a pattern's many states, or build the automaton as they go, are a thousand times slower on texts made for it.

use regex_automata::dfa::{Automaton, StartKind, dense};
use regex_automata::nfa::thompson;
use regex_automata::util::syntax;
use regex_automata::{Input, MatchKind};

use crate::limits::{MAX_AUTOMATON_BYTES, MAX_PATTERN_BYTES};

/// A compiled pattern.
pub(crate) struct Pattern {
    automaton: dense::DFA<Vec<u32>>,
}

impl std::fmt::Debug for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pattern").finish_non_exhaustive()
    }
}

impl Pattern {
    /// Compiles a pattern; says what is wrong with one that it does not take.
    pub(crate) fn compile(pattern: &str) -> Result<Self, String> {
        if pattern.len() > MAX_PATTERN_BYTES {
            return Err(format!("a pattern has at most {MAX_PATTERN_BYTES} bytes"));
        }
        let config = dense::Config::new()
            .start_kind(StartKind::Unanchored)
            .match_kind(MatchKind::All)
            .minimize(false)
            .dfa_size_limit(Some(MAX_AUTOMATON_BYTES))
            .determinize_size_limit(Some(MAX_AUTOMATON_BYTES));
        let built = dense::Builder::new()
            .configure(config)
            .syntax(syntax::Config::new().nest_limit(32))
            .thompson(thompson::Config::new().nfa_size_limit(Some(MAX_AUTOMATON_BYTES)))
            .build(pattern);
        match built {
            Ok(automaton) => Ok(Self { automaton }),
            Err(error) if error.is_size_limit_exceeded() => {
                Err("the pattern is too large: its repetitions or classes allow too much".to_owned())
            }
            Err(error) => Err(format!("this is no pattern: {}", last_line(&first_cause(&error)))),
        }
    }

    /// Whether the pattern is found anywhere in the text. None: it cannot be told, for a pattern with `\b` on text that is not
    /// ASCII; such patterns are not compiled.
    pub(crate) fn is_in(&self, text: &str) -> Option<bool> {
        let found = self.automaton.try_search_fwd(&Input::new(text).earliest(true));
        found.ok().map(|found| found.is_some())
    }
}

/// What the errors around it only pass on.
fn first_cause(error: &dyn std::error::Error) -> String {
    let cause = std::iter::successors(Some(error), |error| error.source()).last();
    cause.unwrap_or(error).to_string()
}

/// Errors of the parser draw the pattern over several lines, and say in the last what is wrong.
fn last_line(error: &str) -> String {
    let line = error.lines().last().unwrap_or_default();
    line.trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn it_is_found_anywhere_unless_it_is_anchored() {
        for (pattern, text, expected) in [
            ("b+", "abbc", true),
            ("^b+", "abbc", false),
            ("^a.*c$", "abbc", true),
            (r"^\d{4}-\d{2}-\d{2}$", "2026-01-31", true),
            (r"\w+@\w+\.(com|org)", "to: ä.b@example.org", true),
            ("(?i)straße", "STRASSE, STRAßE", true),
            ("", "", true),
            ("x", "", false),
        ] {
            let compiled = Pattern::compile(pattern).unwrap_or_else(|why| panic!("{pattern}: {why}"));
            assert_eq!(compiled.is_in(text), Some(expected), "{pattern} {text}");
        }
    }

    #[test]
    fn what_is_no_pattern_or_too_much_of_one_is_refused_quickly() {
        let begun = Instant::now();
        for pattern in [
            "(",
            "[z-a]",
            r"(a)\1",
            "(?=a)",
            "a{1000}{1000}{1000}",
            r"(\pL{30}){30}",
            "((((((a{9}){9}){9}){9}){9}){9})",
            "(a|b)*a(a|b){20}",
            &"(".repeat(200),
            &"a".repeat(257),
        ] {
            assert!(Pattern::compile(pattern).is_err(), "{pattern}");
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        let why = Pattern::compile("a(b").unwrap_err();
        assert!(why.contains("unclosed group"), "{why}");
    }

    #[test]
    fn a_text_made_for_it_takes_no_longer() {
        let text = "a".repeat(1 << 20);
        for pattern in ["(a*)*$", "(a|aa)+$", "a*a*a*a*a*a*b", "^(([a-z])+.)+[A-Z]([a-z])+$"] {
            let compiled = Pattern::compile(pattern).unwrap();
            let begun = Instant::now();
            assert!(compiled.is_in(&text).is_some());
            assert!(begun.elapsed() < Duration::from_millis(500), "{pattern}: {:?}", begun.elapsed());
        }
    }
}
