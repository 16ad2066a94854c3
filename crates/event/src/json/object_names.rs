//! Finds a name that an object has twice.
//!
//! Names are compared as what they spell, so `"a"` and `"\u0061"` are one name. The names of all open objects lie on one
//! stack; an object's own are sorted when it closes, so that no choice of names costs more than n log n comparisons
//! and nothing is hashed.

use std::ops::Range;

use smallvec::SmallVec;

use super::value::unescape;

/// Up to this many names, comparing each with each is quicker than sorting.
const FEW_NAMES: usize = 8;

pub(super) struct ObjectNames {
    names: SmallVec<[Name; 32]>,
    objects: SmallVec<[Base; 16]>,
    /// What names with escapes spell.
    unescaped: Vec<u8>,
}

#[derive(Clone, Copy)]
struct Name {
    start: usize,
    end: usize,
    /// Where the name stands in the text.
    position: usize,
    /// Whether the span is into `unescaped` rather than the text.
    escaped: bool,
}

/// What was there before an object began.
struct Base {
    names: usize,
    unescaped: usize,
}

impl ObjectNames {
    pub(super) fn new() -> Self {
        Self { names: SmallVec::new(), objects: SmallVec::new(), unescaped: Vec::new() }
    }

    pub(super) fn open_object(&mut self) {
        self.objects.push(Base { names: self.names.len(), unescaped: self.unescaped.len() });
    }

    /// Adds a name of the innermost object: what stands between the quotes.
    pub(super) fn push(&mut self, text: &[u8], span: Range<usize>, escaped: bool) {
        let position = span.start - 1;
        if !escaped {
            self.names.push(Name { start: span.start, end: span.end, position, escaped });
            return;
        }
        let start = self.unescaped.len();
        unescape(&text[span], &mut self.unescaped);
        self.names.push(Name { start, end: self.unescaped.len(), position, escaped });
    }

    /// Ends the innermost object. When it has a name twice: the position of the second.
    pub(super) fn close_object(&mut self, text: &[u8]) -> Result<(), usize> {
        let Some(base) = self.objects.pop() else {
            return Ok(());
        };
        let unescaped = &self.unescaped;
        let spelling = |name: &Name| {
            if name.escaped { &unescaped[name.start..name.end] } else { &text[name.start..name.end] }
        };
        let names = &mut self.names[base.names..];
        let mut duplicate: Option<usize> = None;
        if names.len() <= FEW_NAMES {
            for (index, name) in names.iter().enumerate().skip(1) {
                if names[..index].iter().any(|earlier| spelling(earlier) == spelling(name)) {
                    duplicate = Some(name.position);
                    break;
                }
            }
        } else {
            names.sort_unstable_by(|a, b| spelling(a).cmp(spelling(b)).then(a.position.cmp(&b.position)));
            for pair in names.windows(2) {
                if spelling(&pair[0]) == spelling(&pair[1]) {
                    duplicate = Some(duplicate.map_or(pair[1].position, |found| found.min(pair[1].position)));
                }
            }
        }
        self.names.truncate(base.names);
        self.unescaped.truncate(base.unescaped);
        duplicate.map_or(Ok(()), Err)
    }
}
