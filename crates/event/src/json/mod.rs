//! The strict JSON check that is done once, at the door, so that no reader or sink finds a surprise later.
//!
//! [`validate`] takes what RFC 8259 allows, less what some reader would refuse or take differently:
//!
//! | refused | because |
//! |---|---|
//! | nesting deeper than a limit | readers recurse |
//! | invalid UTF-8, a byte order mark | RFC 8259 says UTF-8 |
//! | a `\u` escape of half a surrogate pair | it has no UTF-8 spelling |
//! | `\u0000` | PostgreSQL's `jsonb` cannot hold it |
//! | a number that is not finite as an `f64`, has an exponent beyond ±400 or is longer than a limit | readers disagree |
//! | a name twice in one object | readers take the first, the last, or refuse |
//!
//! The check works without recursion; its memory is proportional to the number of names in open objects.

mod error;
mod number;
mod object_names;
mod plain;
#[cfg(test)]
mod tests;
mod validate;
mod value;
mod write;

pub use error::{JsonError, JsonErrorKind};
pub use validate::{Limits, validate};

pub(crate) use validate::validate_text;
pub(crate) use value::{Value, trimmed_range};
pub(crate) use write::ObjectWriter;
