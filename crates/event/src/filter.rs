//! Which events a subscription wants.
//!
//! A filter has patterns for types, for sources and for subjects; an event matches when its type matches any of the first, its
//! source any of the second and its subject any of the third. Where there are no patterns of a kind all match, events without
//! a subject too. In a pattern `*` stands for any run of characters, dots and slashes too, and everything else for itself:
//! `order.*`, `*.deleted`, `/shop/*/till`.
//!
//! Matching takes at most (pattern × text) steps, without recursion or allocation, whatever the pattern. Finding out
//! whether an event matches never fails, so an error can never read as "no match".

use serde::{Deserialize, Serialize};

use crate::StoredEvent;
use crate::rules::MAX_URI_BYTES;

/// The most patterns of one kind.
pub const MAX_PATTERNS: usize = 64;
/// The most bytes of a pattern: as many as a source may have.
pub const MAX_PATTERN_BYTES: usize = MAX_URI_BYTES;
/// The most stars in a pattern.
pub const MAX_STARS: usize = 8;

/// Which events a subscription wants. As JSON or TOML: `{"types": ["order.*"], "sources": ["/shop/*"]}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Patterns", into = "Patterns")]
pub struct Filter {
    types: Vec<Glob>,
    sources: Vec<Glob>,
    subjects: Vec<Glob>,
}

/// A filter that cannot be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// More patterns than a filter may have.
    #[error("a filter has at most {MAX_PATTERNS} patterns for '{field}'")]
    TooManyPatterns {
        /// `types`, `sources` or `subjects`.
        field: &'static str,
    },
    /// A pattern that matches nothing, or is too long or too starry.
    #[error(
        "a pattern of '{field}' must have 1 to {MAX_PATTERN_BYTES} bytes and at most {MAX_STARS} stars: '{pattern}'"
    )]
    Pattern {
        /// `types`, `sources` or `subjects`.
        field: &'static str,
        /// The pattern, cut to 64 characters.
        pattern: String,
    },
}

impl Filter {
    /// A filter of these patterns; none of a kind matches all.
    ///
    /// # Errors
    /// When there are too many, or one is empty, too long or has too many stars.
    pub fn new(types: Vec<String>, sources: Vec<String>) -> Result<Self, FilterError> {
        let (types, sources) = (globs("types", types)?, globs("sources", sources)?);
        Ok(Self { types, sources, subjects: Vec::new() })
    }

    /// The same filter, with these patterns for subjects.
    ///
    /// # Errors
    /// As [`Filter::new`].
    pub fn with_subjects(self, subjects: Vec<String>) -> Result<Self, FilterError> {
        Ok(Self { subjects: globs("subjects", subjects)?, ..self })
    }

    /// The patterns for types, sources and subjects.
    #[must_use]
    pub fn into_patterns(self) -> (Vec<String>, Vec<String>, Vec<String>) {
        let patterns = |globs: Vec<Glob>| globs.into_iter().map(|glob| glob.pattern).collect();
        (patterns(self.types), patterns(self.sources), patterns(self.subjects))
    }

    /// Whether a pattern for types begins with this text.
    #[must_use]
    pub fn names_types(&self, prefix: &str) -> bool {
        self.types.iter().any(|glob| glob.pattern.starts_with(prefix))
    }

    /// Whether the subscription wants the event.
    #[must_use]
    pub fn matches(&self, event: &StoredEvent) -> bool {
        self.mismatch(event).is_none()
    }

    /// The first kind of patterns of which none matches: `types`, `sources` or `subjects`.
    #[must_use]
    pub fn mismatch(&self, event: &StoredEvent) -> Option<&'static str> {
        if !matches_any(&self.types, event.event_type()) {
            Some("types")
        } else if !matches_any(&self.sources, event.source()) {
            Some("sources")
        } else if !self.subjects.is_empty()
            && !event.subject().is_some_and(|subject| matches_any(&self.subjects, subject))
        {
            Some("subjects")
        } else {
            None
        }
    }
}

fn globs(field: &'static str, patterns: Vec<String>) -> Result<Vec<Glob>, FilterError> {
    if patterns.len() > MAX_PATTERNS {
        return Err(FilterError::TooManyPatterns { field });
    }
    patterns
        .into_iter()
        .map(|pattern| {
            let stars = pattern.bytes().filter(|&byte| byte == b'*').count();
            if (1..=MAX_PATTERN_BYTES).contains(&pattern.len()) && stars <= MAX_STARS {
                Ok(Glob::new(pattern))
            } else {
                Err(FilterError::Pattern { field, pattern: pattern.chars().take(64).collect() })
            }
        })
        .collect()
}

fn matches_any(globs: &[Glob], text: &str) -> bool {
    globs.is_empty() || globs.iter().any(|glob| glob.matches(text))
}

/// The form that a filter has in JSON and TOML.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Patterns {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    types: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    sources: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    subjects: Vec<String>,
}

impl TryFrom<Patterns> for Filter {
    type Error = FilterError;

    fn try_from(patterns: Patterns) -> Result<Self, FilterError> {
        Self::new(patterns.types, patterns.sources)?.with_subjects(patterns.subjects)
    }
}

impl From<Filter> for Patterns {
    fn from(filter: Filter) -> Self {
        let (types, sources, subjects) = filter.into_patterns();
        Self { types, sources, subjects }
    }
}

/// A pattern with stars.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Glob {
    pattern: String,
    /// Where its first star is.
    star: Option<usize>,
}

impl Glob {
    fn new(pattern: String) -> Self {
        Self { star: pattern.find('*'), pattern }
    }

    /// Each part between stars is taken at its first place, which leaves the most to the parts after it.
    fn matches(&self, text: &str) -> bool {
        let Some(star) = self.star else {
            return self.pattern == text;
        };
        let (first, rest) = (&self.pattern[..star], &self.pattern[star + 1..]);
        // One byte tells most texts apart, for a fraction of what comparing the rest costs.
        if first.bytes().next().is_some_and(|byte| text.as_bytes().first() != Some(&byte)) {
            return false;
        }
        let Some(mut text) = text.strip_prefix(first) else {
            return false;
        };
        let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
        for part in middle.split('*') {
            match text.find(part) {
                Some(start) => text = &text[start + part.len()..],
                None => return false,
            }
        }
        text.ends_with(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Event, Tenant};

    fn event(event_type: &str, source: &str) -> StoredEvent {
        let mut record = Vec::new();
        let event = Event::new(Tenant::default(), event_type.to_owned(), source.to_owned());
        StoredEvent::encode(&event, &mut record);
        StoredEvent::decode(0, 0, record.into()).unwrap()
    }

    fn glob(pattern: &str, text: &str) -> bool {
        Glob::new(pattern.to_owned()).matches(text)
    }

    #[test]
    fn stars_stand_for_any_run() {
        for (pattern, text) in [
            ("*", ""),
            ("*", "a.b"),
            ("order.*", "order."),
            ("order.*", "order.a.b"),
            ("*.deleted", "x.deleted"),
            ("a*b*c", "abc"),
            ("a*b*c", "a1b2b3c"),
            ("**", "x"),
            ("*ab*ab", "abab"),
            ("a*a", "aa"),
            ("ä*", "äö"),
        ] {
            assert!(glob(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("order.*", "order"),
            ("order", "order.x"),
            ("*.deleted", "deleted"),
            ("a*a", "a"),
            ("*ab*ab", "ab"),
            ("a*b*c", "acb"),
            ("Order.*", "order.x"),
            ("a?c", "abc"),
            ("[ab]", "a"),
        ] {
            assert!(!glob(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn both_kinds_must_match_and_none_matches_all() {
        let filter = Filter::new(vec!["a.*".to_owned(), "b".to_owned()], vec!["/x/*".to_owned()]).unwrap();
        assert!(filter.matches(&event("b", "/x/1")));
        assert!(!filter.matches(&event("b", "/y")));
        assert!(!filter.matches(&event("c", "/x/1")));
        assert!(Filter::default().matches(&event("c", "/y")));
    }

    #[test]
    fn patterns_for_subjects_want_a_subject() {
        let with_subject = |subject: Option<&str>| {
            let mut record = Vec::new();
            let event = Event::new(Tenant::default(), "t".to_owned(), "/s".to_owned());
            StoredEvent::encode(&Event { subject: subject.map(str::to_owned), ..event }, &mut record);
            StoredEvent::decode(0, 0, record.into()).unwrap()
        };
        let filter = Filter::default().with_subjects(vec!["order/*".to_owned()]).unwrap();
        assert!(filter.matches(&with_subject(Some("order/1"))));
        assert_eq!(filter.mismatch(&with_subject(Some("user/1"))), Some("subjects"));
        assert_eq!(filter.mismatch(&with_subject(None)), Some("subjects"));
        assert!(Filter::default().matches(&with_subject(None)));
        let any = Filter::default().with_subjects(vec!["*".to_owned()]).unwrap();
        assert!(!any.matches(&with_subject(None)), "it asks for one");
    }

    #[test]
    fn it_is_plain_json_and_refuses_what_it_does_not_know() {
        let filter: Filter = serde_json::from_str(r#"{"types":["order.*"]}"#).unwrap();
        assert_eq!(serde_json::to_string(&filter).unwrap(), r#"{"types":["order.*"]}"#);
        assert!(serde_json::from_str::<Filter>(r#"{"type":["order.*"]}"#).is_err());
        assert!(serde_json::from_str::<Filter>(r#"{"types":[""]}"#).is_err());
    }

    #[test]
    fn patterns_have_limits() {
        let of = |pattern: String| Filter::new(vec![pattern], Vec::new());
        assert!(of("*".repeat(MAX_STARS)).is_ok());
        assert!(of("*".repeat(MAX_STARS + 1)).is_err());
        assert!(of("a".repeat(MAX_PATTERN_BYTES)).is_ok());
        assert!(of("a".repeat(MAX_PATTERN_BYTES + 1)).is_err());
        assert!(Filter::new(Vec::new(), vec!["*".to_owned(); MAX_PATTERNS + 1]).is_err());
    }
}
