//! `+ - * / %` and the sign. Integers never wrap around; an int and a double give a double, an int and a uint an int.

use crate::budget::Budget;
use crate::fault::FaultKind;
use crate::syntax::node::BinaryOperator;
use crate::value::{Blob, List, Value};

/// Two numbers of one type.
#[derive(Clone, Copy)]
enum Numbers {
    Ints(i64, i64),
    Uints(u64, u64),
    Doubles(f64, f64),
}

/// Adds numbers and times, and joins texts, bytes and lists.
pub(super) fn add<'a>(
    left: &Value<'a>,
    right: &Value<'a>,
    budget: &mut Budget,
) -> Result<Value<'a>, FaultKind> {
    match (left, right) {
        (Value::Text(left), Value::Text(right)) => {
            // Twice: joined, and then counted.
            budget.memory(2 * (left.len() + right.len()))?;
            Ok(Value::made_text([&**left, &**right].concat()))
        }
        (Value::Bytes(left), Value::Bytes(right)) => {
            budget.memory(2 * (left.len() + right.len()))?;
            Ok(Value::Bytes(Blob::Made([&**left, &**right].concat().into())))
        }
        (Value::List(left), Value::List(right)) => join(left, right, budget),
        _ => compute(BinaryOperator::Add, left, right),
    }
}

fn join<'a>(left: &List<'a>, right: &List<'a>, budget: &mut Budget) -> Result<Value<'a>, FaultKind> {
    let count = left.len() + right.len();
    budget.steps(count)?;
    budget.memory(count * size_of::<Value<'_>>())?;
    let mut joined = Vec::with_capacity(count);
    joined.extend(left.iter());
    joined.extend(right.iter());
    Ok(Value::made_list(joined))
}

/// All that costs the same for all values.
pub(super) fn compute<'a>(
    operator: BinaryOperator,
    left: &Value<'a>,
    right: &Value<'a>,
) -> Result<Value<'a>, FaultKind> {
    if let Some(numbers) = numbers(left, right)? {
        return of_numbers(operator, numbers);
    }
    let time = match (operator, left, right) {
        (BinaryOperator::Add, Value::Timestamp(time), Value::Duration(by))
        | (BinaryOperator::Add, Value::Duration(by), Value::Timestamp(time)) => {
            time.checked_add(*by).map(Value::Timestamp)
        }
        (BinaryOperator::Subtract, Value::Timestamp(time), Value::Duration(by)) => {
            time.checked_sub(*by).map(Value::Timestamp)
        }
        (BinaryOperator::Subtract, Value::Timestamp(time), Value::Timestamp(since)) => {
            Some(Value::Duration(*time - *since))
        }
        (BinaryOperator::Add, Value::Duration(left), Value::Duration(right)) => {
            left.checked_add(*right).map(Value::Duration)
        }
        (BinaryOperator::Subtract, Value::Duration(left), Value::Duration(right)) => {
            left.checked_sub(*right).map(Value::Duration)
        }
        _ => {
            let (left, right) = (left.type_name(), Some(right.type_name()));
            return Err(FaultKind::NoOverload { operation: operator.symbol(), left, right });
        }
    };
    time.ok_or(FaultKind::Overflow)
}

/// The same sum with the other sign.
pub(super) fn negate<'a>(value: &Value<'a>) -> Result<Value<'a>, FaultKind> {
    match value {
        Value::Int(value) => value.checked_neg().map(Value::Int).ok_or(FaultKind::Overflow),
        Value::Double(value) => Ok(Value::Double(-value)),
        other => Err(FaultKind::NoOverload { operation: "-", left: other.type_name(), right: None }),
    }
}

/// The index that a number is, if it is one.
pub(super) fn whole(value: &Value<'_>) -> Option<usize> {
    match value {
        Value::Int(value) => usize::try_from(*value).ok(),
        Value::Uint(value) => usize::try_from(*value).ok(),
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it has just been checked"
        )]
        Value::Double(value) => {
            (value.fract() == 0.0 && (0.0..f64::from(u32::MAX)).contains(value)).then_some(*value as usize)
        }
        _ => None,
    }
}

#[expect(clippy::cast_precision_loss, reason = "what a double and an integer give is a double")]
fn numbers(left: &Value<'_>, right: &Value<'_>) -> Result<Option<Numbers>, FaultKind> {
    let double = |value: &Value<'_>| match value {
        Value::Int(value) => Some(*value as f64),
        Value::Uint(value) => Some(*value as f64),
        Value::Double(value) => Some(*value),
        _ => None,
    };
    let int = |value: u64| i64::try_from(value).map_err(|_| FaultKind::Overflow);
    Ok(match (left, right) {
        (Value::Int(left), Value::Int(right)) => Some(Numbers::Ints(*left, *right)),
        (Value::Uint(left), Value::Uint(right)) => Some(Numbers::Uints(*left, *right)),
        (Value::Int(left), Value::Uint(right)) => Some(Numbers::Ints(*left, int(*right)?)),
        (Value::Uint(left), Value::Int(right)) => Some(Numbers::Ints(int(*left)?, *right)),
        _ => double(left).zip(double(right)).map(|(left, right)| Numbers::Doubles(left, right)),
    })
}

fn of_numbers<'a>(operator: BinaryOperator, numbers: Numbers) -> Result<Value<'a>, FaultKind> {
    use BinaryOperator::{Divide, Multiply, Remainder, Subtract};
    let is_division = matches!(operator, Divide | Remainder);
    let result = match numbers {
        Numbers::Ints(_, 0) | Numbers::Uints(_, 0) if is_division => return Err(FaultKind::DivisionByZero),
        Numbers::Ints(left, right) => match operator {
            Subtract => left.checked_sub(right),
            Multiply => left.checked_mul(right),
            Divide => left.checked_div(right),
            Remainder => left.checked_rem(right),
            _ => left.checked_add(right),
        }
        .map(Value::Int),
        Numbers::Uints(left, right) => match operator {
            Subtract => left.checked_sub(right),
            Multiply => left.checked_mul(right),
            Divide => left.checked_div(right),
            Remainder => left.checked_rem(right),
            _ => left.checked_add(right),
        }
        .map(Value::Uint),
        Numbers::Doubles(left, right) => Some(Value::Double(match operator {
            Subtract => left - right,
            Multiply => left * right,
            Divide => left / right,
            Remainder => {
                return Err(FaultKind::NoOverload {
                    operation: "%",
                    left: "a double",
                    right: Some("a number"),
                });
            }
            _ => left + right,
        })),
    };
    result.ok_or(FaultKind::Overflow)
}
