//! What the functions do.

use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use super::{Evaluation, TIME_STEPS, arithmetic};
use crate::budget::Budget;
use crate::fault::{Fault, FaultKind};
use crate::functions::Function;
use crate::pattern::Pattern;
use crate::syntax::node::Node;
use crate::value::{Blob, Text, Value};

type Outcome<'a> = Result<Value<'a>, FaultKind>;

impl<'a> Evaluation<'a> {
    pub(super) fn call(
        &mut self,
        function: Function,
        arguments: &'a [Node],
        at: u32,
    ) -> Result<Value<'a>, Fault> {
        let first = self.argument(arguments, 0)?;
        let second = self.argument(arguments, 1)?;
        let third = self.argument(arguments, 2)?;
        let budget = &mut self.budget;
        // Reading and writing numbers and times takes longer than most.
        budget.steps(TIME_STEPS / 4).map_err(|kind| kind.at(at))?;
        apply(function, &first, &second, &third, budget).map_err(|kind| kind.at(at))
    }

    /// An argument; null where the call has none, which the parser has seen to be right.
    fn argument(&mut self, arguments: &'a [Node], index: usize) -> Result<Value<'a>, Fault> {
        arguments.get(index).map_or(Ok(Value::Null), |node| self.value(node))
    }

    pub(super) fn matches(&mut self, text: &'a Node, pattern: &Pattern, at: u32) -> Result<Value<'a>, Fault> {
        let text = self.value(text)?;
        let no_overload = FaultKind::NoOverload { operation: "matches", left: text.type_name(), right: None };
        let Value::Text(text) = text else { return Err(no_overload.at(at)) };
        self.budget.text(text.len()).map_err(|kind| kind.at(at))?;
        pattern.is_in(&text).map(Value::Bool).ok_or(no_overload.at(at))
    }
}

fn apply<'a>(
    function: Function,
    first: &Value<'a>,
    second: &Value<'a>,
    third: &Value<'a>,
    budget: &mut Budget,
) -> Outcome<'a> {
    match function {
        Function::Size => size(first, budget),
        Function::Contains | Function::StartsWith | Function::EndsWith => {
            let (text, part) = texts(function, first, second)?;
            budget.text(text.len() + part.len())?;
            Ok(Value::Bool(match function {
                Function::Contains => text.contains(part),
                Function::StartsWith => text.starts_with(part),
                _ => text.ends_with(part),
            }))
        }
        Function::LowerAscii | Function::UpperAscii | Function::Trim => changed(function, first, budget),
        Function::Split => split(first, second, budget),
        Function::Join => join(first, second, budget),
        Function::Replace => replace(first, second, third, budget),
        Function::Substring => substring(first, second, third, budget),
        Function::ToInt => to_int(first),
        Function::ToUint => to_uint(first),
        Function::ToDouble => to_double(first),
        Function::ToText => to_text(first, budget),
        Function::ToBytes => to_bytes(first, budget),
        Function::ToBool => to_bool(first),
        Function::ToTimestamp | Function::ToDuration => {
            budget.steps(TIME_STEPS)?;
            if function == Function::ToTimestamp { to_timestamp(first) } else { to_duration(first) }
        }
        Function::GetFullYear
        | Function::GetMonth
        | Function::GetDate
        | Function::GetDayOfWeek
        | Function::GetHours
        | Function::GetMinutes
        | Function::GetSeconds => part_of_time(function, first),
    }
}

fn no_overload(function: Function, value: &Value<'_>) -> FaultKind {
    FaultKind::NoOverload { operation: function.name(), left: value.type_name(), right: None }
}

fn text<'v>(function: Function, value: &'v Value<'_>) -> Result<&'v str, FaultKind> {
    match value {
        Value::Text(text) => Ok(text),
        other => Err(no_overload(function, other)),
    }
}

fn texts<'v>(
    function: Function,
    first: &'v Value<'_>,
    second: &'v Value<'_>,
) -> Result<(&'v str, &'v str), FaultKind> {
    match (first, second) {
        (Value::Text(first), Value::Text(second)) => Ok((first, second)),
        _ => Err(FaultKind::NoOverload {
            operation: function.name(),
            left: first.type_name(),
            right: Some(second.type_name()),
        }),
    }
}

fn int<'a>(value: usize) -> Outcome<'a> {
    i64::try_from(value).map(Value::Int).map_err(|_| FaultKind::Overflow)
}

fn size<'a>(value: &Value<'a>, budget: &mut Budget) -> Outcome<'a> {
    match value {
        Value::Text(text) => {
            budget.text(text.len())?;
            int(text.chars().count())
        }
        Value::Bytes(bytes) => int(bytes.len()),
        Value::List(list) => int(list.len()),
        Value::Map(map) => int(map.len()),
        other => Err(no_overload(Function::Size, other)),
    }
}

fn changed<'a>(function: Function, value: &Value<'a>, budget: &mut Budget) -> Outcome<'a> {
    let text = text(function, value)?;
    budget.memory(2 * text.len())?;
    Ok(Value::made_text(match function {
        Function::LowerAscii => text.to_ascii_lowercase(),
        Function::UpperAscii => text.to_ascii_uppercase(),
        _ => text.trim().to_owned(),
    }))
}

fn split<'a>(value: &Value<'a>, separator: &Value<'a>, budget: &mut Budget) -> Outcome<'a> {
    let (text, separator) = texts(Function::Split, value, separator)?;
    // Parts are counted before they are made.
    budget.text(2 * text.len())?;
    let parts = if separator.is_empty() { text.len() } else { text.matches(separator).count() + 1 };
    budget.steps(parts)?;
    budget.memory(parts * (size_of::<Value<'_>>() + 32) + 2 * text.len())?;
    let parts: Vec<Value<'a>> = if separator.is_empty() {
        text.chars().map(|character| Value::made_text(character.to_string())).collect()
    } else {
        text.split(separator).map(Value::made_text).collect()
    };
    Ok(Value::made_list(parts))
}

fn join<'a>(value: &Value<'a>, separator: &Value<'a>, budget: &mut Budget) -> Outcome<'a> {
    let Value::List(list) = value else { return Err(no_overload(Function::Join, value)) };
    let separator = match separator {
        Value::Null => "",
        other => text(Function::Join, other)?,
    };
    let mut joined = String::new();
    for (index, element) in list.iter().enumerate() {
        let element = text(Function::Join, &element)?;
        budget.steps(1)?;
        budget.memory(2 * (element.len() + separator.len()))?;
        if index > 0 {
            joined.push_str(separator);
        }
        joined.push_str(element);
    }
    Ok(Value::made_text(joined))
}

fn replace<'a>(value: &Value<'a>, from: &Value<'a>, to: &Value<'a>, budget: &mut Budget) -> Outcome<'a> {
    let (whole, from) = texts(Function::Replace, value, from)?;
    let to = text(Function::Replace, to)?;
    budget.text(2 * whole.len())?;
    // Nothing is found at every place, the end included.
    let places = if from.is_empty() { whole.chars().count() + 1 } else { whole.matches(from).count() };
    budget.steps(places)?;
    budget.memory((2 * whole.len()).saturating_add(places.saturating_mul(2 * to.len())))?;
    Ok(Value::made_text(whole.replace(from, to)))
}

/// By characters: from the first place to the second, exclusive, or to the end.
fn substring<'a>(value: &Value<'a>, from: &Value<'a>, to: &Value<'a>, budget: &mut Budget) -> Outcome<'a> {
    let text = text(Function::Substring, value)?;
    budget.memory(2 * text.len())?;
    let place = |index: &Value<'_>| {
        let index = arithmetic::whole(index).ok_or(FaultKind::BadIndex)?;
        let mut places = text.char_indices().map(|(place, _)| place).chain([text.len()]);
        places.nth(index).ok_or(FaultKind::BadIndex)
    };
    let start = place(from)?;
    let end = if matches!(to, Value::Null) { text.len() } else { place(to)? };
    text.get(start..end).map(Value::made_text).ok_or(FaultKind::BadIndex)
}

fn conversion(value: &Value<'_>, to: &'static str) -> FaultKind {
    FaultKind::Conversion { from: value.type_name(), to }
}

fn to_int<'a>(value: &Value<'a>) -> Outcome<'a> {
    let converted = match value {
        Value::Int(value) => Some(*value),
        Value::Uint(value) => i64::try_from(*value).ok(),
        Value::Double(value) => whole_of_double(*value).and_then(|value| i64::try_from(value).ok()),
        Value::Text(text) => text.parse().ok(),
        Value::Timestamp(time) => Some(time.unix_timestamp()),
        Value::Duration(duration) => Some(duration.whole_seconds()),
        _ => None,
    };
    converted.map(Value::Int).ok_or(conversion(value, "an int"))
}

fn to_uint<'a>(value: &Value<'a>) -> Outcome<'a> {
    let converted = match value {
        Value::Int(value) => u64::try_from(*value).ok(),
        Value::Uint(value) => Some(*value),
        Value::Double(value) => whole_of_double(*value).and_then(|value| u64::try_from(value).ok()),
        Value::Text(text) => text.parse().ok(),
        _ => None,
    };
    converted.map(Value::Uint).ok_or(conversion(value, "a uint"))
}

/// Towards zero; none when it is not a number or beyond 64 bits.
fn whole_of_double(value: f64) -> Option<i128> {
    #[expect(clippy::cast_possible_truncation, reason = "it has just been checked")]
    (value.is_finite() && value.abs() < 2e19).then_some(value.trunc() as i128)
}

fn to_double<'a>(value: &Value<'a>) -> Outcome<'a> {
    #[expect(clippy::cast_precision_loss, reason = "a double is asked for")]
    let converted = match value {
        Value::Int(value) => Some(*value as f64),
        Value::Uint(value) => Some(*value as f64),
        Value::Double(value) => Some(*value),
        Value::Text(text) => text.parse().ok(),
        _ => None,
    };
    converted.map(Value::Double).ok_or(conversion(value, "a double"))
}

fn to_bool<'a>(value: &Value<'a>) -> Outcome<'a> {
    let converted = match value {
        Value::Bool(value) => Some(*value),
        Value::Text(text) => match &**text {
            "true" | "True" | "TRUE" | "t" | "1" => Some(true),
            "false" | "False" | "FALSE" | "f" | "0" => Some(false),
            _ => None,
        },
        _ => None,
    };
    converted.map(Value::Bool).ok_or(conversion(value, "a bool"))
}

fn to_text<'a>(value: &Value<'a>, budget: &mut Budget) -> Outcome<'a> {
    if let Value::Text(_) = value {
        return Ok(value.clone());
    }
    if let Value::Bytes(bytes) = value {
        budget.memory(2 * bytes.len())?;
        return std::str::from_utf8(bytes).map(Value::made_text).map_err(|_| conversion(value, "a string"));
    }
    budget.memory(64)?;
    text_of(value).map(Value::made_text).ok_or(conversion(value, "a string"))
}

/// How a value without parts is spelled.
pub(crate) fn text_of(value: &Value<'_>) -> Option<String> {
    match value {
        Value::Bool(value) => Some(value.to_string()),
        Value::Int(value) => Some(value.to_string()),
        Value::Uint(value) => Some(value.to_string()),
        Value::Double(value) => Some(double_text(*value)),
        Value::Timestamp(time) => time.format(&Rfc3339).ok(),
        Value::Duration(duration) => Some(format!("{}s", double_text(duration.as_seconds_f64()))),
        _ => None,
    }
}

/// The shortest spelling, with an exponent where there would be many zeros.
fn double_text(value: f64) -> String {
    let text = format!("{value:?}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

fn to_bytes<'a>(value: &Value<'a>, budget: &mut Budget) -> Outcome<'a> {
    match value {
        Value::Bytes(_) => Ok(value.clone()),
        Value::Text(Text::Borrowed(text)) => Ok(Value::Bytes(Blob::Borrowed(text.as_bytes()))),
        Value::Text(text) => {
            budget.memory(text.len())?;
            Ok(Value::Bytes(Blob::Made(text.as_bytes().into())))
        }
        other => Err(conversion(other, "bytes")),
    }
}

fn to_timestamp<'a>(value: &Value<'a>) -> Outcome<'a> {
    let converted = match value {
        Value::Timestamp(_) => Some(value.clone()),
        Value::Text(text) => timestamp_of_text(text),
        Value::Int(seconds) => OffsetDateTime::from_unix_timestamp(*seconds).ok().map(Value::Timestamp),
        _ => None,
    };
    converted.ok_or(conversion(value, "a timestamp"))
}

/// The time that RFC 3339 spells.
pub(super) fn timestamp_of_text<'a>(text: &str) -> Option<Value<'a>> {
    // The longest there is, with all digits of a fraction.
    let text = text.get(..64.min(text.len())).filter(|cut| cut.len() == text.len())?;
    OffsetDateTime::parse(text, &Rfc3339).ok().map(Value::Timestamp)
}

/// A time in microseconds since the Unix epoch.
pub(super) fn timestamp_of_micros<'a>(micros: u64) -> Option<Value<'a>> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1000).ok().map(Value::Timestamp)
}

fn to_duration<'a>(value: &Value<'a>) -> Outcome<'a> {
    let converted = match value {
        Value::Duration(duration) => Some(*duration),
        Value::Text(text) => duration_of_text(text),
        _ => None,
    };
    converted.map(Value::Duration).ok_or(conversion(value, "a duration"))
}

/// Amounts with units, as in `1h30m`, `-1.5s` or `250ms`.
fn duration_of_text(text: &str) -> Option<Duration> {
    let text = text.get(..64.min(text.len())).filter(|cut| cut.len() == text.len())?;
    let (is_negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest.is_empty() {
        return None;
    }
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').filter(|end| *end > 0)?;
        let amount: f64 = rest[..end].parse().ok()?;
        let units =
            [("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
        let (unit, seconds) = units.into_iter().find(|(unit, _)| rest[end..].starts_with(unit))?;
        sum = sum.checked_add(Duration::checked_seconds_f64(amount * seconds)?)?;
        rest = &rest[end + unit.len()..];
    }
    Some(if is_negative { -sum } else { sum })
}

/// In UTC. Months and days of the week count from 0, the latter from Sunday, as CEL has it.
fn part_of_time<'a>(function: Function, value: &Value<'a>) -> Outcome<'a> {
    let part = match value {
        Value::Timestamp(time) => {
            let time = time.to_offset(time::UtcOffset::UTC);
            match function {
                Function::GetFullYear => i64::from(time.year()),
                Function::GetMonth => i64::from(u8::from(time.month())) - 1,
                Function::GetDate => i64::from(time.day()),
                Function::GetDayOfWeek => i64::from(time.weekday().number_days_from_sunday()),
                Function::GetHours => i64::from(time.hour()),
                Function::GetMinutes => i64::from(time.minute()),
                _ => i64::from(time.second()),
            }
        }
        Value::Duration(duration) => match function {
            Function::GetHours => duration.whole_hours(),
            Function::GetMinutes => duration.whole_minutes(),
            Function::GetSeconds => duration.whole_seconds(),
            _ => return Err(no_overload(function, value)),
        },
        other => return Err(no_overload(function, other)),
    };
    Ok(Value::Int(part))
}
