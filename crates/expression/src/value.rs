//! The values that an expression computes with. Those of an event are borrowed, those that are made are counted references, so
//! that copying a value never copies what it holds.

use std::ops::Deref;
use std::rc::Rc;

use time::{Duration, OffsetDateTime};

use crate::document::{Document, DocumentNode, Run};

#[derive(Debug, Clone)]
pub(crate) enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(Text<'a>),
    Bytes(Blob<'a>),
    List(List<'a>),
    Map(Map<'a>),
    Timestamp(OffsetDateTime),
    Duration(Duration),
}

#[derive(Debug, Clone)]
pub(crate) enum Text<'a> {
    Borrowed(&'a str),
    Made(Rc<str>),
}

#[derive(Debug, Clone)]
pub(crate) enum Blob<'a> {
    Borrowed(&'a [u8]),
    Made(Rc<[u8]>),
}

#[derive(Debug, Clone)]
pub(crate) enum List<'a> {
    Borrowed(&'a Document, Run),
    Made(Rc<Vec<Value<'a>>>),
}

#[derive(Debug, Clone)]
pub(crate) enum Map<'a> {
    Borrowed(&'a Document, Run),
    /// Keys are texts, integers or truth values, each once.
    Made(Rc<Vec<(Value<'a>, Value<'a>)>>),
}

impl<'a> Value<'a> {
    pub(crate) fn of_document(document: &'a Document, node: DocumentNode) -> Self {
        match node {
            DocumentNode::Null => Self::Null,
            DocumentNode::Bool(value) => Self::Bool(value),
            DocumentNode::Int(value) => Self::Int(value),
            DocumentNode::Uint(value) => Self::Uint(value),
            DocumentNode::Double(value) => Self::Double(value),
            DocumentNode::Text(run) => Self::Text(Text::Borrowed(document.text(run))),
            DocumentNode::List(run) => Self::List(List::Borrowed(document, run)),
            DocumentNode::Object(run) => Self::Map(Map::Borrowed(document, run)),
        }
    }

    pub(crate) fn made_text(text: impl Into<Rc<str>>) -> Self {
        Self::Text(Text::Made(text.into()))
    }

    pub(crate) fn made_list(elements: Vec<Self>) -> Self {
        Self::List(List::Made(Rc::new(elements)))
    }

    /// How it is called in a message.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a bool",
            Self::Int(_) => "an int",
            Self::Uint(_) => "a uint",
            Self::Double(_) => "a double",
            Self::Text(_) => "a string",
            Self::Bytes(_) => "bytes",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
            Self::Timestamp(_) => "a timestamp",
            Self::Duration(_) => "a duration",
        }
    }
}

impl<'a> List<'a> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Borrowed(_, run) => run.len(),
            Self::Made(elements) => elements.len(),
        }
    }

    pub(crate) fn get(&self, index: usize) -> Option<Value<'a>> {
        match self {
            Self::Borrowed(document, run) => {
                document.elements(*run).get(index).map(|node| Value::of_document(document, *node))
            }
            Self::Made(elements) => elements.get(index).cloned(),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Value<'a>> + '_ {
        (0..self.len()).filter_map(|index| self.get(index))
    }
}

impl<'a> Map<'a> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Borrowed(_, run) => run.len(),
            Self::Made(entries) => entries.len(),
        }
    }

    /// The value of a name.
    pub(crate) fn field(&self, name: &str) -> Option<Value<'a>> {
        match self {
            Self::Borrowed(document, run) => {
                document.field(*run, name).map(|node| Value::of_document(document, node))
            }
            Self::Made(entries) => {
                let is_name = |key: &Value<'_>| matches!(key, Value::Text(text) if **text == *name);
                entries.iter().find(|(key, _)| is_name(key)).map(|(_, value)| value.clone())
            }
        }
    }

    /// All entries; an event's are at most as many as its bytes.
    pub(crate) fn entries(&self) -> Vec<(Value<'a>, Value<'a>)> {
        match self {
            Self::Borrowed(document, run) => document
                .entries(*run)
                .map(|(name, value)| (Value::Text(Text::Borrowed(name)), Value::of_document(document, value)))
                .collect(),
            Self::Made(entries) => entries.to_vec(),
        }
    }
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Made(text) => text,
        }
    }
}

impl Deref for Blob<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Made(bytes) => bytes,
        }
    }
}
