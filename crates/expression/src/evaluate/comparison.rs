//! Equality, order and membership. Numbers compare by what they amount to, whatever their type; values of different kinds are
//! different, and have no order.

use std::cmp::Ordering;

use crate::budget::Budget;
use crate::fault::FaultKind;
use crate::syntax::node::BinaryOperator;
use crate::value::{List, Map, Value};

/// Whether two values are the same.
pub(super) fn equal(left: &Value<'_>, right: &Value<'_>, budget: &mut Budget) -> Result<bool, FaultKind> {
    Ok(match (left, right) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(left), Value::Bool(right)) => left == right,
        (Value::Text(left), Value::Text(right)) => {
            budget.text(left.len().min(right.len()))?;
            **left == **right
        }
        (Value::Bytes(left), Value::Bytes(right)) => {
            budget.text(left.len().min(right.len()))?;
            **left == **right
        }
        (Value::List(left), Value::List(right)) => lists_are_equal(left, right, budget)?,
        (Value::Map(left), Value::Map(right)) => maps_are_equal(left, right, budget)?,
        (Value::Timestamp(left), Value::Timestamp(right)) => left == right,
        (Value::Duration(left), Value::Duration(right)) => left == right,
        _ => numbers(left, right) == Some(Ordering::Equal),
    })
}

fn lists_are_equal(left: &List<'_>, right: &List<'_>, budget: &mut Budget) -> Result<bool, FaultKind> {
    if left.len() != right.len() {
        return Ok(false);
    }
    for (left, right) in left.iter().zip(right.iter()) {
        budget.steps(1)?;
        if !equal(&left, &right, budget)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn maps_are_equal(left: &Map<'_>, right: &Map<'_>, budget: &mut Budget) -> Result<bool, FaultKind> {
    if left.len() != right.len() {
        return Ok(false);
    }
    budget.memory(left.len() * 2 * size_of::<Value<'_>>())?;
    for (key, value) in left.entries() {
        budget.steps(1)?;
        match lookup(right, &key, budget)? {
            Some(other) if equal(&value, &other, budget)? => {}
            _ => return Ok(false),
        }
    }
    Ok(true)
}

/// The value of a key.
pub(super) fn lookup<'a>(
    map: &Map<'a>,
    key: &Value<'_>,
    budget: &mut Budget,
) -> Result<Option<Value<'a>>, FaultKind> {
    budget.names(map.len())?;
    if let Value::Text(name) = key {
        return Ok(map.field(name));
    }
    // An event's objects have names only.
    let Map::Made(entries) = map else { return Ok(None) };
    for (known, value) in entries.iter() {
        if equal(known, key, budget)? {
            return Ok(Some(value.clone()));
        }
    }
    Ok(None)
}

/// Whether a list holds the value, or a map the key.
pub(super) fn is_in(value: &Value<'_>, of: &Value<'_>, budget: &mut Budget) -> Result<bool, FaultKind> {
    match of {
        Value::List(list) => {
            for element in list.iter() {
                budget.steps(1)?;
                if equal(value, &element, budget)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Value::Map(map) => Ok(lookup(map, value, budget)?.is_some()),
        other => Err(FaultKind::NoOverload {
            operation: "in",
            left: value.type_name(),
            right: Some(other.type_name()),
        }),
    }
}

/// `<`, `<=`, `>` and `>=`.
pub(super) fn ordered(
    operator: BinaryOperator,
    left: &Value<'_>,
    right: &Value<'_>,
    budget: &mut Budget,
) -> Result<bool, FaultKind> {
    let order = match (left, right) {
        (Value::Bool(left), Value::Bool(right)) => Some(left.cmp(right)),
        (Value::Text(left), Value::Text(right)) => {
            budget.text(left.len().min(right.len()))?;
            Some((**left).cmp(&**right))
        }
        (Value::Bytes(left), Value::Bytes(right)) => {
            budget.text(left.len().min(right.len()))?;
            Some((**left).cmp(&**right))
        }
        (Value::Timestamp(left), Value::Timestamp(right)) => Some(left.cmp(right)),
        (Value::Duration(left), Value::Duration(right)) => Some(left.cmp(right)),
        _ if is_number(left) && is_number(right) => numbers(left, right),
        _ => {
            let (left, right) = (left.type_name(), Some(right.type_name()));
            return Err(FaultKind::NoOverload { operation: operator.symbol(), left, right });
        }
    };
    // What is no number is neither before nor behind any.
    Ok(order.is_some_and(|order| match operator {
        BinaryOperator::Less => order.is_lt(),
        BinaryOperator::LessOrEqual => order.is_le(),
        BinaryOperator::Greater => order.is_gt(),
        _ => order.is_ge(),
    }))
}

fn is_number(value: &Value<'_>) -> bool {
    matches!(value, Value::Int(_) | Value::Uint(_) | Value::Double(_))
}

/// How two numbers compare; none when one is not a number, or NaN.
fn numbers(left: &Value<'_>, right: &Value<'_>) -> Option<Ordering> {
    let whole = |value: &Value<'_>| match value {
        Value::Int(value) => Some(i128::from(*value)),
        Value::Uint(value) => Some(i128::from(*value)),
        _ => None,
    };
    match (left, right) {
        (Value::Double(left), Value::Double(right)) => left.partial_cmp(right),
        (Value::Double(left), _) => double_and_whole(*left, whole(right)?),
        (_, Value::Double(right)) => double_and_whole(*right, whole(left)?).map(Ordering::reverse),
        _ => Some(whole(left)?.cmp(&whole(right)?)),
    }
}

/// Exact, where making a double of the integer would round it.
fn double_and_whole(double: f64, whole: i128) -> Option<Ordering> {
    if double.is_nan() {
        return None;
    }
    // Casts of floats saturate, and no 64-bit integer is near the bounds of 128 bits.
    #[expect(clippy::cast_possible_truncation, reason = "the fraction is compared next")]
    let truncated = double.trunc() as i128;
    Some(truncated.cmp(&whole).then_with(|| double.fract().partial_cmp(&0.0).unwrap_or(Ordering::Equal)))
}
