//! An expression as it is evaluated: a tree whose names are resolved, so that evaluating looks nothing up.

use crate::functions::Function;
use crate::pattern::Pattern;

/// A node, the byte of the source that it is blamed at, and the depth of the tree below it.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) kind: NodeKind,
    pub(crate) at: u32,
    pub(crate) depth: usize,
}

#[derive(Debug)]
pub(crate) enum NodeKind {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(Box<str>),
    Bytes(Box<[u8]>),
    /// `event.type`, and whether it is there: `has(event.subject)`.
    Attribute(Attribute),
    HasAttribute(Attribute),
    /// All attributes, as a map.
    Event,
    Data,
    /// The variable of a macro, by how deep the macro is in others.
    Variable(usize),
    Field(Box<Node>, Box<str>),
    HasField(Box<Node>, Box<str>),
    /// `a[b]`.
    Index(Box<[Node; 2]>),
    Not(Box<Node>),
    Negate(Box<Node>),
    /// `a && b && c`.
    And(Vec<Node>),
    Or(Vec<Node>),
    /// `a ? b : c`.
    Conditional(Box<[Node; 3]>),
    Binary(BinaryOperator, Box<[Node; 2]>),
    List(Vec<Node>),
    Map(Vec<[Node; 2]>),
    Call(Function, Vec<Node>),
    /// `text.matches('…')`.
    Matches(Box<Node>, Box<Pattern>),
    Macro(Box<Macro>),
}

/// What is known of an event beside its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attribute {
    Id,
    Type,
    Source,
    Subject,
    Time,
    ReceivedAt,
    Key,
    ContentType,
    DataSchema,
    ClientId,
    Tenant,
    Headers,
}

impl Attribute {
    /// With the names that they have in JSON.
    pub(crate) const ALL: [(&'static str, Self); 12] = [
        ("id", Self::Id),
        ("type", Self::Type),
        ("source", Self::Source),
        ("subject", Self::Subject),
        ("time", Self::Time),
        ("received_at", Self::ReceivedAt),
        ("key", Self::Key),
        ("content_type", Self::ContentType),
        ("dataschema", Self::DataSchema),
        ("client_id", Self::ClientId),
        ("tenant", Self::Tenant),
        ("headers", Self::Headers),
    ];
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BinaryOperator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl BinaryOperator {
    pub(crate) fn symbol(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::In => "in",
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Remainder => "%",
        }
    }
}

/// `over.all(variable, test)` and its like.
#[derive(Debug)]
pub(crate) struct Macro {
    pub(crate) kind: MacroKind,
    /// A list, or a map, whose keys are gone through.
    pub(crate) over: Node,
    pub(crate) variable: usize,
    /// Which elements are meant; none: all.
    pub(crate) test: Option<Node>,
    /// What `map` makes of an element.
    pub(crate) result: Option<Node>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MacroKind {
    All,
    Exists,
    ExistsOne,
    Filter,
    Map,
}

impl MacroKind {
    /// The macro of a name and a number of arguments.
    pub(crate) fn of(name: &str, arguments: usize) -> Option<Self> {
        match (name, arguments) {
            ("all", 2) => Some(Self::All),
            ("exists", 2) => Some(Self::Exists),
            ("exists_one" | "existsOne", 2) => Some(Self::ExistsOne),
            ("filter", 2) => Some(Self::Filter),
            ("map", 2 | 3) => Some(Self::Map),
            _ => None,
        }
    }

    pub(crate) fn is_name(name: &str) -> bool {
        Self::of(name, 2).is_some()
    }
}

impl NodeKind {
    /// The depth of the tree that it is the root of, its own level included.
    pub(crate) fn depth(&self) -> usize {
        let deepest = |nodes: &[Node]| nodes.iter().map(|node| node.depth).max().unwrap_or(0);
        1 + match self {
            Self::Null
            | Self::Bool(_)
            | Self::Int(_)
            | Self::Uint(_)
            | Self::Double(_)
            | Self::Text(_)
            | Self::Bytes(_)
            | Self::Attribute(_)
            | Self::HasAttribute(_)
            | Self::Event
            | Self::Data
            | Self::Variable(_) => 0,
            Self::Field(of, _) | Self::HasField(of, _) => of.depth,
            Self::Not(of) | Self::Negate(of) | Self::Matches(of, _) => of.depth,
            Self::Index(nodes) | Self::Binary(_, nodes) => deepest(&nodes[..]),
            Self::Conditional(nodes) => deepest(&nodes[..]),
            Self::And(nodes) | Self::Or(nodes) | Self::List(nodes) | Self::Call(_, nodes) => deepest(nodes),
            Self::Map(entries) => entries.iter().map(|entry| deepest(entry)).max().unwrap_or(0),
            Self::Macro(it) => {
                let parts = [Some(&it.over), it.test.as_ref(), it.result.as_ref()];
                parts.into_iter().flatten().map(|node| node.depth).max().unwrap_or(0)
            }
        }
    }
}
