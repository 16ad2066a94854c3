//! Evaluates an expression on an event, within a [`Budget`].
//!
//! The language's own rules, and where ours differ:
//!
//! | | CEL | here |
//! |---|---|---|
//! | `a && b`, `a \|\| b` | one side that decides hides a fault of the other | the same, but never that the budget is used up |
//! | a field of what is no map; an element of what is no list | a fault of the types | missing, like any field that is not there |
//! | `1 + 1.5`, `1 + 1u` | a fault of the types | computed: JSON does not tell 1 from 1.0 |
//!
//! Evaluating recurses only as deep as the expression, which is bounded, and copies no part of the event.

mod arithmetic;
mod calls;
mod comparison;
mod macros;

use std::rc::Rc;

use crate::budget::Budget;
use crate::fault::{Fault, FaultKind};
use crate::limits::MAX_NESTED_MACROS;
use crate::subject::Subject;
use crate::syntax::node::{Attribute, BinaryOperator, Node, NodeKind};
use crate::value::{Blob, List, Map, Text, Value};

pub(crate) use calls::text_of;

/// What reading or writing a time takes.
const TIME_STEPS: usize = 16;

/// One evaluation under way.
pub(crate) struct Evaluation<'a> {
    subject: &'a Subject<'a>,
    /// The elements that the macros around are at.
    variables: [Value<'a>; MAX_NESTED_MACROS],
    budget: Budget,
}

/// The value of an expression for an event, and the steps that it took.
pub(crate) fn evaluate<'a>(root: &'a Node, subject: &'a Subject<'a>) -> (Result<Value<'a>, Fault>, u64) {
    let mut evaluation = Evaluation { subject, variables: [Value::Null, Value::Null], budget: Budget::new() };
    let value = evaluation.value(root);
    (value, evaluation.budget.steps_used())
}

impl<'a> Evaluation<'a> {
    fn value(&mut self, node: &'a Node) -> Result<Value<'a>, Fault> {
        self.budget.steps(1).map_err(|kind| kind.at(node.at))?;
        match &node.kind {
            NodeKind::Null => Ok(Value::Null),
            NodeKind::Bool(value) => Ok(Value::Bool(*value)),
            NodeKind::Int(value) => Ok(Value::Int(*value)),
            NodeKind::Uint(value) => Ok(Value::Uint(*value)),
            NodeKind::Double(value) => Ok(Value::Double(*value)),
            NodeKind::Text(text) => Ok(Value::Text(Text::Borrowed(text))),
            NodeKind::Bytes(bytes) => Ok(Value::Bytes(Blob::Borrowed(bytes))),
            NodeKind::Data => Ok(self.subject.data()),
            NodeKind::Variable(slot) => Ok(self.variables[*slot].clone()),
            NodeKind::Attribute(attribute) => {
                self.pay_for(*attribute).map_err(|kind| kind.at(node.at))?;
                self.attribute(*attribute).ok_or(FaultKind::Missing.at(node.at))
            }
            NodeKind::HasAttribute(attribute) => {
                self.pay_for(*attribute).map_err(|kind| kind.at(node.at))?;
                Ok(Value::Bool(self.attribute(*attribute).is_some()))
            }
            NodeKind::Event => self.event().map_err(|kind| kind.at(node.at)),
            NodeKind::Field(of, name) => {
                let of = self.value(of)?;
                self.field(&of, name, node.at)?.ok_or(FaultKind::Missing.at(node.at))
            }
            NodeKind::HasField(of, name) => {
                let of = self.value(of)?;
                Ok(Value::Bool(self.field(&of, name, node.at)?.is_some()))
            }
            NodeKind::Index(operands) => self.index(operands, node.at),
            NodeKind::Not(of) => Ok(Value::Bool(!self.condition(of)?)),
            NodeKind::Negate(of) => {
                let of = self.value(of)?;
                arithmetic::negate(&of).map_err(|kind| kind.at(node.at))
            }
            NodeKind::And(operands) => self.row(operands, false),
            NodeKind::Or(operands) => self.row(operands, true),
            NodeKind::Conditional(parts) => {
                let chosen = if self.condition(&parts[0])? { &parts[1] } else { &parts[2] };
                self.value(chosen)
            }
            NodeKind::Binary(operator, operands) => self.binary(*operator, operands, node.at),
            NodeKind::List(elements) => self.list(elements, node.at),
            NodeKind::Map(entries) => self.map(entries, node.at),
            NodeKind::Call(function, arguments) => self.call(*function, arguments, node.at),
            NodeKind::Matches(text, pattern) => self.matches(text, pattern, node.at),
            NodeKind::Macro(it) => self.expand(it),
        }
    }

    /// A truth value.
    fn condition(&mut self, node: &'a Node) -> Result<bool, Fault> {
        match self.value(node)? {
            Value::Bool(value) => Ok(value),
            other => Err(FaultKind::NotBoolean { found: other.type_name() }.at(node.at)),
        }
    }

    /// `&&` (decided by false) or `||` (decided by true). An operand that decides hides the faults of those before it.
    fn row(&mut self, operands: &'a [Node], decides: bool) -> Result<Value<'a>, Fault> {
        let mut first_fault = None;
        for operand in operands {
            match self.condition(operand) {
                Ok(value) if value == decides => return Ok(Value::Bool(decides)),
                Ok(_) => {}
                Err(fault) if fault.kind.is_over_budget() => return Err(fault),
                Err(fault) => first_fault = first_fault.or(Some(fault)),
            }
        }
        first_fault.map_or(Ok(Value::Bool(!decides)), Err)
    }

    fn binary(
        &mut self,
        operator: BinaryOperator,
        operands: &'a [Node; 2],
        at: u32,
    ) -> Result<Value<'a>, Fault> {
        let left = self.value(&operands[0])?;
        let right = self.value(&operands[1])?;
        let budget = &mut self.budget;
        let result = match operator {
            BinaryOperator::Equal => comparison::equal(&left, &right, budget).map(Value::Bool),
            BinaryOperator::NotEqual => comparison::equal(&left, &right, budget).map(|it| Value::Bool(!it)),
            BinaryOperator::Less
            | BinaryOperator::LessOrEqual
            | BinaryOperator::Greater
            | BinaryOperator::GreaterOrEqual => {
                comparison::ordered(operator, &left, &right, budget).map(Value::Bool)
            }
            BinaryOperator::In => comparison::is_in(&left, &right, budget).map(Value::Bool),
            BinaryOperator::Add => arithmetic::add(&left, &right, budget),
            BinaryOperator::Subtract
            | BinaryOperator::Multiply
            | BinaryOperator::Divide
            | BinaryOperator::Remainder => arithmetic::compute(operator, &left, &right),
        };
        result.map_err(|kind| kind.at(at))
    }

    /// The field of a map; none when it is not there, or `of` is no map.
    fn field(&mut self, of: &Value<'a>, name: &str, at: u32) -> Result<Option<Value<'a>>, Fault> {
        let Value::Map(map) = of else { return Ok(None) };
        self.budget.names(map.len()).map_err(|kind| kind.at(at))?;
        Ok(map.field(name))
    }

    fn index(&mut self, operands: &'a [Node; 2], at: u32) -> Result<Value<'a>, Fault> {
        let of = self.value(&operands[0])?;
        let index = self.value(&operands[1])?;
        let found = match (&of, &index) {
            (Value::List(list), Value::Int(_) | Value::Uint(_) | Value::Double(_)) => {
                arithmetic::whole(&index).and_then(|index| list.get(index))
            }
            (Value::List(list), other) => {
                let (left, right) = (Value::List(list.clone()).type_name(), Some(other.type_name()));
                return Err(FaultKind::NoOverload { operation: "[]", left, right }.at(at));
            }
            (Value::Map(map), _) => {
                comparison::lookup(map, &index, &mut self.budget).map_err(|kind| kind.at(at))?
            }
            _ => None,
        };
        found.ok_or(FaultKind::Missing.at(at))
    }

    fn list(&mut self, elements: &'a [Node], at: u32) -> Result<Value<'a>, Fault> {
        self.budget.memory(size_of_val(elements)).map_err(|kind| kind.at(at))?;
        let values = elements.iter().map(|element| self.value(element)).collect::<Result<_, _>>()?;
        Ok(Value::made_list(values))
    }

    fn map(&mut self, entries: &'a [[Node; 2]], at: u32) -> Result<Value<'a>, Fault> {
        self.budget.memory(size_of_val(entries)).map_err(|kind| kind.at(at))?;
        let mut made: Vec<(Value<'a>, Value<'a>)> = Vec::with_capacity(entries.len());
        for [key_node, value] in entries {
            let key = self.value(key_node)?;
            if !matches!(key, Value::Text(_) | Value::Int(_) | Value::Uint(_) | Value::Bool(_)) {
                return Err(FaultKind::UnsupportedKey { found: key.type_name() }.at(key_node.at));
            }
            for (known, _) in &made {
                let is_known = comparison::equal(known, &key, &mut self.budget);
                if is_known.map_err(|kind| kind.at(key_node.at))? {
                    return Err(FaultKind::DuplicateKey.at(key_node.at));
                }
            }
            made.push((key, self.value(value)?));
        }
        Ok(Value::Map(Map::Made(Rc::new(made))))
    }

    /// What making an attribute's value takes; texts are borrowed.
    fn pay_for(&mut self, attribute: Attribute) -> Result<(), FaultKind> {
        match attribute {
            Attribute::Headers => {
                let headers = self.subject.event().headers().count();
                self.budget.memory(headers * 2 * size_of::<Value<'_>>())
            }
            Attribute::Time | Attribute::ReceivedAt => self.budget.steps(TIME_STEPS),
            Attribute::Id => self.budget.memory(64),
            _ => Ok(()),
        }
    }

    /// An attribute of the event, if it has it.
    fn attribute(&self, attribute: Attribute) -> Option<Value<'a>> {
        let event = self.subject.event();
        let text = match attribute {
            Attribute::Id => return Some(Value::made_text(event.id().encode(&mut [0; 36]).to_owned())),
            Attribute::Time => return Some(self.time()),
            Attribute::ReceivedAt => return calls::timestamp_of_micros(event.append_time_micros()),
            Attribute::Headers => return Some(self.headers()),
            Attribute::Type => Some(event.event_type()),
            Attribute::Source => Some(event.source()),
            Attribute::Tenant => Some(event.tenant()),
            Attribute::Subject => event.subject(),
            Attribute::Key => event.key(),
            Attribute::ContentType => event.content_type(),
            Attribute::DataSchema => event.data_schema(),
            Attribute::ClientId => event.client_id(),
        };
        text.map(|text| Value::Text(Text::Borrowed(text)))
    }

    /// When it happened; when it was received, where the producer did not say.
    fn time(&self) -> Value<'a> {
        let event = self.subject.event();
        let said = event.time().and_then(calls::timestamp_of_text);
        said.or_else(|| calls::timestamp_of_micros(event.append_time_micros())).unwrap_or(Value::Null)
    }

    fn headers(&self) -> Value<'a> {
        let text = |text| Value::Text(Text::Borrowed(text));
        let headers = self.subject.event().headers().map(|(name, value)| (text(name), text(value)));
        Value::Map(Map::Made(Rc::new(headers.collect())))
    }

    /// All attributes that the event has, as a map.
    fn event(&mut self) -> Result<Value<'a>, FaultKind> {
        self.budget.memory(Attribute::ALL.len() * 2 * size_of::<Value<'_>>())?;
        let mut attributes = Vec::with_capacity(Attribute::ALL.len());
        for (name, attribute) in Attribute::ALL {
            self.pay_for(attribute)?;
            if let Some(value) = self.attribute(attribute) {
                attributes.push((Value::Text(Text::Borrowed(name)), value));
            }
        }
        Ok(Value::Map(Map::Made(Rc::new(attributes))))
    }
}

/// The elements that a macro goes through: those of a list, or the keys of a map.
fn elements<'a>(value: Value<'a>) -> Option<List<'a>> {
    match value {
        Value::List(list) => Some(list),
        Value::Map(map) => Some(List::Made(Rc::new(map.entries().into_iter().map(|(key, _)| key).collect()))),
        _ => None,
    }
}
