//! Numbers that every reader takes.

use super::JsonErrorKind as Kind;

/// Beyond this exponent, either way, an `f64` is zero or infinite, and PostgreSQL's `numeric` grows without use.
const EXPONENT_LIMIT: u32 = 400;

/// Checks the number that `bytes` begin with. Says how long it is, or where in it what is wrong.
pub(super) fn check(bytes: &[u8], max_chars: usize) -> Result<usize, (usize, Kind)> {
    const DIGIT: Kind = Kind::Expected("a digit");
    let digits = |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let some_digits = |from: usize| match digits(from) {
        0 if from == bytes.len() => Err((from, Kind::UnexpectedEnd)),
        0 => Err((from, DIGIT)),
        count => Ok(from + count),
    };

    let start = usize::from(bytes.first() == Some(&b'-'));
    let mut end = some_digits(start)?;
    if bytes[start] == b'0' && end > start + 1 {
        return Err((start + 1, Kind::Expected("no digit after a leading zero")));
    }
    if bytes.get(end) == Some(&b'.') {
        end = some_digits(end + 1)?;
    }
    // Without an exponent a number of fewer than 300 characters is finite.
    let mut may_be_infinite = end >= 300;
    let mut exponent_fits = true;
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let exponent_start = end + 1 + sign;
        end = some_digits(exponent_start)?;
        exponent_fits =
            parse::<u32>(&bytes[exponent_start..end]).is_some_and(|exponent| exponent <= EXPONENT_LIMIT);
        may_be_infinite = true;
    }
    let fits = end <= max_chars
        && exponent_fits
        && (!may_be_infinite || parse::<f64>(&bytes[..end]).is_some_and(f64::is_finite));
    if fits { Ok(end) } else { Err((0, Kind::NumberOutOfRange)) }
}

fn parse<T: std::str::FromStr>(digits: &[u8]) -> Option<T> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}
