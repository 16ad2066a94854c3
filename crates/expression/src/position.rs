//! Where in an expression something is, for people.

use std::fmt;

/// How many characters of a line are shown on each side of a fault.
const SHOWN_CHARS: usize = 40;

/// A place in an expression's text. Both count from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl Position {
    /// The place of a byte of `source`.
    pub(crate) fn of(source: &str, byte: u32) -> Self {
        let before = before(source, byte);
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        Self {
            line: before.bytes().filter(|&byte| byte == b'\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// The line around a byte of `source`, and below it a caret that points at the byte.
pub(crate) fn excerpt(source: &str, byte: u32) -> String {
    let before = before(source, byte);
    let line_start = before.rfind('\n').map_or(0, |end| end + 1);
    let left: Vec<char> = before[line_start..].chars().collect();
    let left = &left[left.len().saturating_sub(SHOWN_CHARS)..];
    let right = source[before.len()..].lines().next().unwrap_or_default().chars().take(SHOWN_CHARS);
    // A control character would move the caret.
    let shown = |c: char| if c.is_control() { ' ' } else { c };
    let line: String = left.iter().copied().chain(right).map(shown).collect();
    format!("  {}\n  {}^", line.trim_end(), " ".repeat(left.len()))
}

fn before(source: &str, byte: u32) -> &str {
    source.get(..byte as usize).unwrap_or(source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_from_one_and_in_characters() {
        let source = "a &&\n  'ä' == b";
        let of = |byte| {
            let Position { line, column } = Position::of(source, byte);
            (line, column)
        };
        assert_eq!((of(0), of(5), of(7), of(12)), ((1, 1), (2, 1), (2, 3), (2, 7)));
        assert_eq!(of(9999), (2, 11), "the end");
    }

    #[test]
    fn the_caret_is_below_the_character() {
        assert_eq!(excerpt("a &&\n  'ä' == b", 12), "    'ä' == b\n        ^");
        let long = format!("{}!{}", "x".repeat(100), "y".repeat(100));
        let (line, caret) =
            excerpt(&long, 100).split_once('\n').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
        assert_eq!(line.find('!'), caret.find('^'));
        assert!(line.len() < 90, "{line}");
    }
}
