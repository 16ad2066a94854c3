//! An event's JSON data as a tree that expressions can walk, built once and shared by all subscriptions.
//!
//! ```text
//!  nodes:  … │ "sku" │ 7 │ "name" │ "x" │ … │ {2 entries at 40} │ 1 │ 2 │ …          text: …skunamex…
//!              ▲ 40: name, value, name, value                                           all names and texts, unescaped
//! ```
//!
//! All nodes are in one allocation and all text in another; a list or an object names the run of nodes that it holds, an object's
//! being names and values in turn. So a tree has 16 bytes for each value and name, at most eight times its JSON, and holds
//! nothing of the log's memory.

mod build;

use std::sync::OnceLock;

use eventrelay_event::{DataKind, StoredEvent};

/// A JSON value as a tree.
#[derive(Debug)]
pub(crate) struct Document {
    nodes: Box<[DocumentNode]>,
    text: Box<str>,
    root: DocumentNode,
}

/// A value, or an object's name, of a [`Document`].
#[derive(Debug, Clone, Copy)]
pub(crate) enum DocumentNode {
    Null,
    Bool(bool),
    Int(i64),
    /// Only what no `i64` holds.
    Uint(u64),
    Double(f64),
    /// A run of the document's text.
    Text(Run),
    /// A run of nodes.
    List(Run),
    /// A run of twice as many nodes: names and values in turn.
    Object(Run),
}

/// Where something begins, and how much of it there is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    start: u32,
    count: u32,
}

impl Run {
    pub(crate) fn len(self) -> usize {
        self.count as usize
    }

    fn range(self, factor: usize) -> std::ops::Range<usize> {
        let start = self.start as usize;
        start..start + self.len() * factor
    }
}

impl Document {
    pub(crate) fn root(&self) -> DocumentNode {
        self.root
    }

    pub(crate) fn text(&self, run: Run) -> &str {
        self.text.get(run.range(1)).unwrap_or_default()
    }

    pub(crate) fn elements(&self, run: Run) -> &[DocumentNode] {
        self.nodes.get(run.range(1)).unwrap_or_default()
    }

    /// An object's names and values.
    pub(crate) fn entries(&self, run: Run) -> impl Iterator<Item = (&str, DocumentNode)> {
        let pairs = self.nodes.get(run.range(2)).unwrap_or_default().chunks_exact(2);
        pairs.filter_map(|pair| match pair {
            [DocumentNode::Text(name), value] => Some((self.text(*name), *value)),
            _ => None,
        })
    }

    pub(crate) fn field(&self, run: Run, name: &str) -> Option<DocumentNode> {
        self.entries(run).find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// What it takes of memory.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>() + self.nodes.len() * size_of::<DocumentNode>() + self.text.len()
    }
}

/// The tree of one event's data, built when it is first asked for.
#[derive(Debug, Default)]
pub(crate) struct LazyDocument {
    built: OnceLock<Document>,
}

impl LazyDocument {
    /// The tree of the event's data, which is JSON; and whether this call has built it.
    pub(crate) fn of(&self, event: &StoredEvent) -> (&Document, bool) {
        let mut is_new = false;
        let document = self.built.get_or_init(|| {
            is_new = true;
            match event.data() {
                Some((DataKind::Json, bytes)) => build::build(bytes),
                _ => build::build(b"null"),
            }
        });
        (document, is_new)
    }
}
