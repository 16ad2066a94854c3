//! Recursive descent over the tokens, bounded in nodes, nesting and depth.
//!
//! ```text
//! expression  = or [ "?" or ":" expression ]
//! or          = and { "||" and }               and      = relation { "&&" relation }
//! relation    = sum { ("<" | "==" | "in" …) sum }
//! sum         = product { ("+" | "-") product }   product = unary { ("*" | "/" | "%") unary }
//! unary       = { "!" | "-" } member
//! member      = primary { "." name [ "(" arguments ")" ] | "[" expression "]" }
//! primary     = literal | name | name "(" arguments ")" | "(" expression ")" | "[" list "]" | "{" map "}"
//! ```

use super::node::{Attribute, BinaryOperator, Macro, MacroKind, Node, NodeKind};
use super::token::{Token, TokenKind, tokens};
use crate::error::CompileError;
use crate::functions::{Function, closest};
use crate::limits::{MAX_DEPTH, MAX_NESTED_MACROS, MAX_NESTING, MAX_NODES, MAX_PATTERNS, MAX_SOURCE_BYTES};
use crate::pattern::Pattern;

/// Words that CEL keeps for itself.
const RESERVED: [&str; 17] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// A fault, and the byte that it is blamed on.
type Fault = (u32, String);

/// Parses and resolves an expression.
pub(crate) fn parse(source: &str) -> Result<Node, CompileError> {
    let refuse = |(at, message): Fault| CompileError::new(source, at, message);
    if source.len() > MAX_SOURCE_BYTES {
        let place = u32::try_from(source.floor_char_boundary(MAX_SOURCE_BYTES)).unwrap_or(0);
        return Err(refuse((place, format!("an expression has at most {MAX_SOURCE_BYTES} bytes"))));
    }
    let tokens = tokens(source).map_err(refuse)?;
    let mut parser = Parser { tokens, position: 0, nodes: 0, nesting: 0, patterns: 0, variables: Vec::new() };
    let root = parser.expression().map_err(refuse)?;
    parser.end().map_err(refuse)?;
    Ok(root)
}

struct Parser<'a> {
    /// With an end behind them.
    tokens: Vec<Token<'a>>,
    position: usize,
    nodes: usize,
    nesting: usize,
    patterns: usize,
    /// Those of the macros around, outermost first.
    variables: Vec<&'a str>,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> &TokenKind<'a> {
        self.tokens.get(self.position).map_or(&TokenKind::End, |token| &token.kind)
    }

    fn place(&self) -> u32 {
        self.tokens.get(self.position).or(self.tokens.last()).map_or(0, |token| token.at)
    }

    fn take(&mut self) -> TokenKind<'a> {
        let taken = self.peek().clone();
        self.position += 1;
        taken
    }

    /// Takes the symbol, or the word `in`, if it is next.
    fn takes(&mut self, symbol: &str) -> bool {
        let is_next = self.is_next(symbol);
        self.position += usize::from(is_next);
        is_next
    }

    fn is_next(&self, symbol: &str) -> bool {
        match self.peek() {
            TokenKind::Symbol(next) => *next == symbol,
            TokenKind::Name(name) => *name == symbol && symbol == "in",
            _ => false,
        }
    }

    fn expect(&mut self, symbol: &'static str) -> Result<(), Fault> {
        if self.takes(symbol) { Ok(()) } else { Err(self.unexpected(&format!("`{symbol}`"))) }
    }

    fn unexpected(&self, expected: &str) -> Fault {
        (self.place(), format!("expected {expected}, found {}", self.peek().describe()))
    }

    fn end(&self) -> Result<(), Fault> {
        if *self.peek() == TokenKind::End { Ok(()) } else { Err(self.unexpected("an operator or the end")) }
    }

    fn node(&mut self, at: u32, kind: NodeKind) -> Result<Node, Fault> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err((at, format!("an expression has at most {MAX_NODES} parts")));
        }
        let depth = kind.depth();
        if depth > MAX_DEPTH {
            return Err((at, format!("the parts of an expression are nested at most {MAX_DEPTH} deep")));
        }
        Ok(Node { kind, at, depth })
    }

    fn expression(&mut self) -> Result<Node, Fault> {
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            return Err((self.place(), format!("brackets are nested at most {MAX_NESTING} deep")));
        }
        let condition = self.or()?;
        let at = self.place();
        let result = if self.takes("?") {
            let then = self.or()?;
            self.expect(":")?;
            let otherwise = self.expression()?;
            self.node(at, NodeKind::Conditional(Box::new([condition, then, otherwise])))?
        } else {
            condition
        };
        self.nesting -= 1;
        Ok(result)
    }

    fn or(&mut self) -> Result<Node, Fault> {
        self.row("||", Self::and, NodeKind::Or)
    }

    fn and(&mut self) -> Result<Node, Fault> {
        self.row("&&", Self::relation, NodeKind::And)
    }

    /// Operands with the same operator between them, as one node.
    fn row(
        &mut self,
        symbol: &str,
        operand: impl Fn(&mut Self) -> Result<Node, Fault>,
        kind: impl Fn(Vec<Node>) -> NodeKind,
    ) -> Result<Node, Fault> {
        let first = operand(self)?;
        let at = self.place();
        if !self.is_next(symbol) {
            return Ok(first);
        }
        let mut operands = vec![first];
        while self.takes(symbol) {
            operands.push(operand(self)?);
        }
        self.node(at, kind(operands))
    }

    fn relation(&mut self) -> Result<Node, Fault> {
        use BinaryOperator::{Equal, Greater, GreaterOrEqual, In, Less, LessOrEqual, NotEqual};
        self.chain(&[Equal, NotEqual, LessOrEqual, Less, GreaterOrEqual, Greater, In], Self::sum)
    }

    fn sum(&mut self) -> Result<Node, Fault> {
        self.chain(&[BinaryOperator::Add, BinaryOperator::Subtract], Self::product)
    }

    fn product(&mut self) -> Result<Node, Fault> {
        use BinaryOperator::{Divide, Multiply, Remainder};
        self.chain(&[Multiply, Divide, Remainder], Self::unary)
    }

    /// Operands with operators of one rank between them, from left to right.
    fn chain(
        &mut self,
        operators: &[BinaryOperator],
        operand: impl Fn(&mut Self) -> Result<Node, Fault>,
    ) -> Result<Node, Fault> {
        let mut left = operand(self)?;
        loop {
            let at = self.place();
            let Some(&operator) = operators.iter().find(|operator| self.is_next(operator.symbol())) else {
                return Ok(left);
            };
            self.position += 1;
            let right = operand(self)?;
            left = self.node(at, NodeKind::Binary(operator, Box::new([left, right])))?;
        }
    }

    /// Signs are taken in a loop, since there can be thousands.
    fn unary(&mut self) -> Result<Node, Fault> {
        let mut signs = Vec::new();
        while self.is_next("!") || self.is_next("-") {
            signs.push((self.place(), self.takes("!")));
            self.position += usize::from(!signs.last().is_some_and(|(_, is_not)| *is_not));
        }
        let mut operand = match (signs.last(), self.peek()) {
            (Some(&(at, false)), &TokenKind::Int(amount)) => {
                self.position += 1;
                signs.pop();
                let least = i64::MIN.unsigned_abs();
                let value =
                    if amount == least { Some(i64::MIN) } else { i64::try_from(amount).ok().map(|it| -it) };
                let value = value.ok_or((at, "the number is out of range".to_owned()))?;
                let literal = self.node(at, NodeKind::Int(value))?;
                self.members(literal)?
            }
            _ => self.member()?,
        };
        for (at, is_not) in signs.into_iter().rev() {
            let operand_box = Box::new(operand);
            operand = self
                .node(at, if is_not { NodeKind::Not(operand_box) } else { NodeKind::Negate(operand_box) })?;
        }
        Ok(operand)
    }

    fn member(&mut self) -> Result<Node, Fault> {
        let primary = self.primary()?;
        self.members(primary)
    }

    /// What follows an operand: fields, calls and indexes.
    fn members(&mut self, mut of: Node) -> Result<Node, Fault> {
        loop {
            let at = self.place();
            if self.takes("[") {
                let index = self.expression()?;
                self.expect("]")?;
                of = self.node(at, NodeKind::Index(Box::new([of, index])))?;
            } else if self.takes(".") {
                let at = self.place();
                let TokenKind::Name(name) = *self.peek() else {
                    return Err(self.unexpected("a field's name"));
                };
                self.position += 1;
                of = if self.is_next("(") {
                    self.member_call(at, of, name)?
                } else {
                    self.field(at, of, name)?
                };
            } else {
                return Ok(of);
            }
        }
    }

    fn field(&mut self, at: u32, of: Node, name: &str) -> Result<Node, Fault> {
        if !matches!(of.kind, NodeKind::Event) {
            return self.node(at, NodeKind::Field(Box::new(of), name.into()));
        }
        let known = Attribute::ALL.into_iter().find(|known| known.0 == name);
        let (_, attribute) = known.ok_or_else(|| (at, no_attribute(name)))?;
        // `event` itself is not evaluated, so it is no part.
        self.nodes -= 1;
        self.node(at, NodeKind::Attribute(attribute))
    }

    fn member_call(&mut self, at: u32, of: Node, name: &'a str) -> Result<Node, Fault> {
        if MacroKind::is_name(name) {
            return self.macro_call(at, of, name);
        }
        self.expect("(")?;
        if name == "matches" {
            return self.matches(at, of);
        }
        let mut arguments = vec![of];
        self.list_until(")", |parser| {
            arguments.push(parser.expression()?);
            Ok(())
        })?;
        let function = Function::of_call(name, true, arguments.len()).map_err(|why| (at, why))?;
        self.node(at, NodeKind::Call(function, arguments))
    }

    /// The rest of `text.matches(`, or of `matches(text,`.
    fn matches(&mut self, at: u32, text: Node) -> Result<Node, Fault> {
        let place = self.place();
        let TokenKind::Text(pattern) = self.take() else {
            return Err((place, "the pattern must be a text literal, since it is compiled once".to_owned()));
        };
        self.expect(")")?;
        self.patterns += 1;
        if self.patterns > MAX_PATTERNS {
            return Err((place, format!("an expression has at most {MAX_PATTERNS} patterns")));
        }
        let pattern = Pattern::compile(&pattern).map_err(|why| (place, why))?;
        self.node(at, NodeKind::Matches(Box::new(text), Box::new(pattern)))
    }

    fn macro_call(&mut self, at: u32, over: Node, name: &str) -> Result<Node, Fault> {
        if self.variables.len() >= MAX_NESTED_MACROS {
            let limit = MAX_NESTED_MACROS;
            return Err((at, format!("`{name}` and its like may be in each other at most {limit} deep")));
        }
        self.expect("(")?;
        let place = self.place();
        let TokenKind::Name(variable) = self.take() else {
            return Err((place, format!("expected a name for the elements, as in `{name}(it, …)`")));
        };
        self.check_name(place, variable)?;
        self.expect(",")?;
        let slot = self.variables.len();
        self.variables.push(variable);
        let mut arguments = Vec::new();
        self.list_until(")", |parser| {
            arguments.push(parser.expression()?);
            Ok(())
        })?;
        self.variables.pop();
        let given = arguments.len();
        let kind = MacroKind::of(name, given + 1)
            .ok_or_else(|| (at, format!("`{name}` takes a name and an expression, and is given {given}")))?;
        let last = arguments.pop();
        let (test, result) = if kind == MacroKind::Map { (arguments.pop(), last) } else { (last, None) };
        self.node(at, NodeKind::Macro(Box::new(Macro { kind, over, variable: slot, test, result })))
    }

    fn primary(&mut self) -> Result<Node, Fault> {
        let at = self.place();
        match self.take() {
            TokenKind::Int(amount) => {
                let value =
                    i64::try_from(amount).map_err(|_| (at, "the number is out of range".to_owned()))?;
                self.node(at, NodeKind::Int(value))
            }
            TokenKind::Uint(value) => self.node(at, NodeKind::Uint(value)),
            TokenKind::Double(value) => self.node(at, NodeKind::Double(value)),
            TokenKind::Text(text) => self.node(at, NodeKind::Text(text.into())),
            TokenKind::Bytes(bytes) => self.node(at, NodeKind::Bytes(bytes.into())),
            TokenKind::Name(name) if self.is_next("(") => self.global_call(at, name),
            TokenKind::Name(name) => self.name(at, name),
            TokenKind::Symbol("(") => {
                let inside = self.expression()?;
                self.expect(")")?;
                Ok(inside)
            }
            TokenKind::Symbol("[") => self.list(at),
            TokenKind::Symbol("{") => self.map(at),
            TokenKind::Symbol(_) | TokenKind::End => {
                self.position -= 1;
                Err(self.unexpected("a value"))
            }
        }
    }

    fn name(&mut self, at: u32, name: &str) -> Result<Node, Fault> {
        let variable = self.variables.iter().rposition(|variable| *variable == name);
        let kind = match (name, variable) {
            (_, Some(slot)) => NodeKind::Variable(slot),
            ("true", _) => NodeKind::Bool(true),
            ("false", _) => NodeKind::Bool(false),
            ("null", _) => NodeKind::Null,
            ("event", _) => NodeKind::Event,
            ("data", _) => NodeKind::Data,
            _ => {
                self.check_name(at, name)?;
                return Err((at, no_name(name)));
            }
        };
        self.node(at, kind)
    }

    /// Refuses words that are no names.
    fn check_name(&self, at: u32, name: &str) -> Result<(), Fault> {
        if RESERVED.contains(&name) || ["true", "false", "null", "in"].contains(&name) {
            return Err((at, format!("`{name}` is a word of the language")));
        }
        if ["event", "data"].contains(&name) {
            return Err((at, format!("`{name}` has a meaning already")));
        }
        Ok(())
    }

    fn global_call(&mut self, at: u32, name: &str) -> Result<Node, Fault> {
        self.expect("(")?;
        if name == "has" {
            return self.has(at);
        }
        if name == "matches" {
            let text = self.expression()?;
            self.expect(",")?;
            return self.matches(at, text);
        }
        let mut arguments = Vec::new();
        self.list_until(")", |parser| {
            arguments.push(parser.expression()?);
            Ok(())
        })?;
        let function = Function::of_call(name, false, arguments.len()).map_err(|why| (at, why))?;
        self.node(at, NodeKind::Call(function, arguments))
    }

    fn has(&mut self, at: u32) -> Result<Node, Fault> {
        let place = self.place();
        let of = self.expression()?;
        self.expect(")")?;
        let kind = match of.kind {
            NodeKind::Field(of, name) => NodeKind::HasField(of, name),
            NodeKind::Attribute(attribute) => NodeKind::HasAttribute(attribute),
            _ => return Err((place, "`has` asks for a field, as in `has(data.amount)`".to_owned())),
        };
        self.nodes -= 1;
        self.node(at, kind)
    }

    fn list(&mut self, at: u32) -> Result<Node, Fault> {
        let mut elements = Vec::new();
        self.list_until("]", |parser| {
            elements.push(parser.expression()?);
            Ok(())
        })?;
        self.node(at, NodeKind::List(elements))
    }

    fn map(&mut self, at: u32) -> Result<Node, Fault> {
        let mut entries = Vec::new();
        self.list_until("}", |parser| {
            let key = parser.expression()?;
            parser.expect(":")?;
            entries.push([key, parser.expression()?]);
            Ok(())
        })?;
        self.node(at, NodeKind::Map(entries))
    }

    /// Items with commas between them, up to and with the closing symbol; a comma may stand before that.
    fn list_until(
        &mut self,
        close: &'static str,
        mut item: impl FnMut(&mut Self) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        while !self.takes(close) {
            item(self)?;
            if !self.takes(",") {
                return if self.takes(close) {
                    Ok(())
                } else {
                    Err(self.unexpected(&format!("`,`, an operator or `{close}`")))
                };
            }
        }
        Ok(())
    }
}

fn no_attribute(name: &str) -> String {
    if name == "data" {
        return "an event's data is `data`, without `event.`".to_owned();
    }
    match closest(name, Attribute::ALL.into_iter().map(|known| known.0)) {
        Some(meant) => format!("an event has no `{name}`; did you mean `event.{meant}`?"),
        None => format!("an event has no `{name}`"),
    }
}

fn no_name(name: &str) -> String {
    match closest(name, ["event", "data", "true", "false", "null"].into_iter()) {
        Some(meant) => format!("there is no `{name}`; did you mean `{meant}`?"),
        None => format!("there is no `{name}`; an expression knows `event` and `data`"),
    }
}
