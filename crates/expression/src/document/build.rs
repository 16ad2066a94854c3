//! Builds a [`Document`] of JSON in one pass, without recursion.
//!
//! The JSON was checked at the door, so nothing is checked again: what no checked JSON holds ends the value early, and nothing
//! panics. Values are kept aside until the list or object around them ends, and are then moved to where they belong, side by side.

use super::{Document, DocumentNode, Run};

/// The tree of a JSON text.
pub(super) fn build(json: &[u8]) -> Document {
    let mut builder =
        Builder { json, position: 0, nodes: Vec::new(), text: String::new(), aside: Vec::new() };
    let root = builder.document().unwrap_or(DocumentNode::Null);
    Document { nodes: builder.nodes.into(), text: builder.text.into(), root }
}

struct Builder<'a> {
    json: &'a [u8],
    position: usize,
    nodes: Vec<DocumentNode>,
    text: String,
    /// The values so far of all lists and objects that are open.
    aside: Vec<DocumentNode>,
}

/// A list or object that is open: where its values begin among those kept aside.
struct Open {
    first: usize,
    is_object: bool,
}

impl Builder<'_> {
    fn document(&mut self) -> Option<DocumentNode> {
        let mut open: Vec<Open> = Vec::new();
        loop {
            self.skip_separators();
            let first = self.aside.len();
            let value = match self.json.get(self.position)? {
                b'{' => {
                    self.position += 1;
                    open.push(Open { first, is_object: true });
                    continue;
                }
                b'[' => {
                    self.position += 1;
                    open.push(Open { first, is_object: false });
                    continue;
                }
                b'}' | b']' => {
                    self.position += 1;
                    let closed = open.pop()?;
                    self.close(&closed)?
                }
                b'"' => DocumentNode::Text(self.string()?),
                _ => self.scalar()?,
            };
            if open.is_empty() {
                return Some(value);
            }
            self.aside.push(value);
        }
    }

    fn skip_separators(&mut self) {
        let rest = self.json.get(self.position..).unwrap_or_default();
        let is_between = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | b',' | b':');
        self.position += rest.iter().take_while(|byte| is_between(byte)).count();
    }

    /// Moves the values of a list or object to where they stay.
    fn close(&mut self, closed: &Open) -> Option<DocumentNode> {
        let start = u32::try_from(self.nodes.len()).ok()?;
        let values = self.aside.len() - closed.first;
        let count = u32::try_from(if closed.is_object { values / 2 } else { values }).ok()?;
        self.nodes.extend(self.aside.drain(closed.first..));
        let run = Run { start, count };
        Some(if closed.is_object { DocumentNode::Object(run) } else { DocumentNode::List(run) })
    }

    fn string(&mut self) -> Option<Run> {
        let start = self.text.len();
        self.position += 1;
        loop {
            let rest = self.json.get(self.position..)?;
            let plain = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
            self.text.push_str(std::str::from_utf8(&rest[..plain]).ok()?);
            self.position += plain + 1;
            if rest[plain] == b'"' {
                let count = u32::try_from(self.text.len() - start).ok()?;
                return Some(Run { start: u32::try_from(start).ok()?, count });
            }
            self.escape()?;
        }
    }

    /// What follows a backslash.
    fn escape(&mut self) -> Option<()> {
        let letter = *self.json.get(self.position)?;
        self.position += 1;
        let character = match letter {
            b'u' => self.unicode()?,
            b'b' => '\x08',
            b'f' => '\x0c',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            other => char::from(other),
        };
        self.text.push(character);
        Some(())
    }

    fn unicode(&mut self) -> Option<char> {
        let first = self.code_unit()?;
        if !(0xd800..0xdc00).contains(&first) {
            return char::from_u32(u32::from(first));
        }
        self.position += 2;
        let second = self.code_unit()?;
        char::decode_utf16([first, second]).next()?.ok()
    }

    fn code_unit(&mut self) -> Option<u16> {
        let digits = self.json.get(self.position..self.position + 4)?;
        self.position += 4;
        u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    }

    fn scalar(&mut self) -> Option<DocumentNode> {
        let rest = &self.json[self.position..];
        let ends = |byte: &u8| matches!(byte, b',' | b':' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r');
        let end = rest.iter().position(ends).unwrap_or(rest.len());
        self.position += end;
        let word = std::str::from_utf8(&rest[..end]).ok()?;
        Some(match word {
            "null" => DocumentNode::Null,
            "true" => DocumentNode::Bool(true),
            "false" => DocumentNode::Bool(false),
            number => return number_of(number),
        })
    }
}

/// A number with a fraction or an exponent is a double, and so is one that no integer type holds.
fn number_of(text: &str) -> Option<DocumentNode> {
    if let Ok(value) = text.parse() {
        return Some(DocumentNode::Int(value));
    }
    if let Ok(value) = text.parse() {
        return Some(DocumentNode::Uint(value));
    }
    text.parse().ok().map(DocumentNode::Double)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The tree as the reference reader has it.
    fn read(document: &Document, node: DocumentNode) -> serde_json::Value {
        match node {
            DocumentNode::Null => serde_json::Value::Null,
            DocumentNode::Bool(value) => value.into(),
            DocumentNode::Int(value) => value.into(),
            DocumentNode::Uint(value) => value.into(),
            DocumentNode::Double(value) => value.into(),
            DocumentNode::Text(run) => document.text(run).into(),
            DocumentNode::List(run) => {
                document.elements(run).iter().map(|element| read(document, *element)).collect()
            }
            DocumentNode::Object(run) => {
                document.entries(run).map(|(name, value)| (name.to_owned(), read(document, value))).collect()
            }
        }
    }

    fn values() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<u64>().prop_map(Into::into),
            any::<f64>().prop_filter("JSON has no others", |it| it.is_finite()).prop_map(Into::into),
            any::<String>().prop_map(Into::into),
        ];
        leaf.prop_recursive(6, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Into::into),
                prop::collection::vec((any::<String>(), inner), 0..8)
                    .prop_map(|entries| entries.into_iter().collect::<serde_json::Map<_, _>>().into()),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_tree_holds_what_the_json_says(value in values(), pretty: bool) {
            let json = if pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) }.unwrap();
            let document = build(&json);
            prop_assert_eq!(read(&document, document.root()), value);
            prop_assert!(document.bytes() <= 8 * json.len() + 128, "{} of {}", document.bytes(), json.len());
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,64}") {
            let document = build(text.as_bytes());
            read(&document, document.root());
        }
    }

    #[test]
    fn escapes_are_undone() {
        let document = build(br#" ["\ud83d\ude00\u00e4\n\"\\\/", {"a\tb": 18446744073709551616}] "#);
        assert_eq!(
            read(&document, document.root()),
            serde_json::json!(["😀ä\n\"\\/", { "a\tb": 18446744073709551616_f64 }])
        );
    }

    #[test]
    fn ten_thousand_open_brackets_need_no_stack() {
        let json = "[".repeat(10_000) + &"]".repeat(10_000);
        assert!(matches!(build(json.as_bytes()).root(), DocumentNode::List(_)));
    }
}
