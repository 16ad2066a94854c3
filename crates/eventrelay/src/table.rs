//! Documents as text for people: lists as tables, one thing as its members.
//!
//! ```text
//!  NAME     STATUS   SINK          name                billing
//!  billing  running  webhook       filter.types        order.*
//!  search   paused   -             retry.max_attempts  12
//! ```
//!
//! Columns are as wide as what is in them; at a terminal the widest ones give way until a line fits, with `…` for what is cut.
//! Control characters are escaped: what is shown comes from whoever publishes.

use std::io::IsTerminal;

use serde_json::Value;

/// A column: its head, and where in an item its value is (RFC 6901).
pub(crate) type Column = (&'static str, &'static str);

/// What columns are not made narrower than.
const LEAST_COLUMN_CHARS: usize = 8;
const GAP: &str = "  ";

/// A list, with a line for each item.
pub(crate) fn list(columns: &[Column], items: &[Value]) -> String {
    let head = columns.iter().map(|(head, _)| (*head).to_owned()).collect();
    let row = |item: &Value| columns.iter().map(|(_, pointer)| cell(item.pointer(pointer))).collect();
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(items.iter().map(row)).collect();
    aligned(&rows, terminal_columns())
}

/// One thing, with a line for each member, by its path.
pub(crate) fn members(thing: &Value) -> String {
    let mut rows = Vec::new();
    collect_members("", thing, &mut rows);
    // Whole: who asks for one thing wants all of it.
    aligned(&rows, None)
}

fn collect_members(path: &str, value: &Value, rows: &mut Vec<Vec<String>>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                collect_members(&path, value, rows);
            }
        }
        value => rows.push(vec![printable(path), cell(Some(value))]),
    }
}

fn cell(value: Option<&Value>) -> String {
    let text = match value {
        None | Some(Value::Null) => return "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) if items.iter().all(Value::is_string) => {
            items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",")
        }
        Some(other) => other.to_string(),
    };
    if text.is_empty() { "-".to_owned() } else { printable(&text) }
}

/// Nothing in it commands a terminal.
pub(crate) fn printable(text: &str) -> String {
    let escaped = |character: char| match character.is_control() {
        true => character.escape_default().collect::<String>(),
        false => character.to_string(),
    };
    text.chars().map(escaped).collect()
}

fn aligned(rows: &[Vec<String>], line_chars: Option<usize>) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width_of =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| chars(cell)).max();
    let mut widths: Vec<usize> = (0..columns).map(|column| width_of(column).unwrap_or(0)).collect();
    if let Some(line_chars) = line_chars {
        narrow(&mut widths, line_chars.saturating_sub(GAP.len() * columns.saturating_sub(1)));
    }
    let line = |row: &Vec<String>| {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{:<width$}", cut(cell, *width))).collect();
        cells.join(GAP).trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Takes from the widest until all fit.
fn narrow(widths: &mut [usize], room: usize) {
    let mut excess = widths.iter().sum::<usize>().saturating_sub(room);
    while excess > 0 {
        let Some(widest) = widths.iter_mut().max().filter(|widest| **widest > LEAST_COLUMN_CHARS) else {
            return;
        };
        *widest -= 1;
        excess -= 1;
    }
}

fn cut(text: &str, width: usize) -> String {
    if chars(text) <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

fn chars(text: &str) -> usize {
    text.chars().count()
}

/// How many characters a line of stdout has; none where it is no terminal.
fn terminal_columns() -> Option<usize> {
    let stdout = std::io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(&stdout).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_fit_what_is_in_them() {
        let items =
            [json!({"name": "billing", "sink": {"kind": "webhook"}}), json!({"name": "a", "sink": null})];
        let table = list(&[("NAME", "/name"), ("SINK", "/sink/kind")], &items);
        assert_eq!(table, "NAME     SINK\nbilling  webhook\na        -");
    }

    #[test]
    fn the_widest_column_gives_way() {
        let rows = [vec!["NAME".to_owned(), "REASON".to_owned()], vec!["a".repeat(9), "b".repeat(40)]];
        let table = aligned(&rows, Some(30));
        assert!(table.lines().all(|line| chars(line) <= 30), "{table}");
        assert!(table.contains(&"a".repeat(9)) && table.ends_with('…'), "{table}");
        // There is an end to it.
        assert!(aligned(&rows, Some(1)).lines().all(|line| chars(line) <= 18));
    }

    #[test]
    fn members_are_named_by_their_paths() {
        let thing =
            json!({"filter": {"types": ["a", "b"]}, "retry": {"max_attempts": 12}, "transform": null});
        assert_eq!(members(&thing), "filter.types        a,b\nretry.max_attempts  12\ntransform           -");
    }

    #[test]
    fn nothing_commands_the_terminal() {
        let table = list(&[("A", "/a")], &[json!({"a": "\u{1b}[31m\n\u{9b}"})]);
        assert!(
            table.lines().count() == 2 && !table.replace('\n', "").chars().any(char::is_control),
            "{table:?}"
        );
    }
}
