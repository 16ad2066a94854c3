//! CloudEvents 1.0, in JSON (structured and batched) and as HTTP headers (binary mode).
//!
//! | attribute | our field |
//! |---|---|
//! | `specversion` | none: it must be `1.0` |
//! | `id` | `id`; written: the producer's, or the [`crate::EventId`] when it gave none |
//! | `source`, `type`, `subject`, `time` | the same |
//! | `datacontenttype` | `content_type` |
//! | `dataschema` | `data_schema` |
//! | `partitionkey` (extension) | `key` |
//! | other extensions | `headers`; booleans and integers become the strings that the specification gives them |
//!
//! An attribute's name is 1 to 20 of `a-z` and `0-9`. An integer has 32 bits. `null` stands for an absent attribute.

mod binary;
mod decode;
#[cfg(test)]
mod tests;
mod write;

pub(crate) use binary::is_attribute_header;
pub use binary::{attributes, decode_binary, encode_header_value};
pub use decode::{decode_batch, decode_structured};
pub use write::write_cloudevent_json;

const SPEC_VERSION: &str = "1.0";
