//! Binary mode: attributes as headers, the body is the data.
//!
//! A value in a header is percent-encoded: space, `"`, `%` and all outside of U+0021–U+007E, as UTF-8, in upper case. A
//! reader first undoes double quotes around the value, then decodes once; what is then not UTF-8 (an overlong
//! spelling, for one) is refused. The data's media type is `Content-Type`, so `ce-datacontenttype` may not be.

use std::borrow::Cow;

use bytes::Bytes;

use super::SPEC_VERSION;
use super::decode::Attributes;
use crate::decode_events::{DecodeEventsError, DecodeEventsErrorKind as Kind, DecodedEvents};
use crate::rules::is_header_name;
use crate::{Data, EventLimits, StoredEvent, Tenant};

const PREFIX: &str = "ce-";

/// Reads a binary-mode request. `headers` are all of its headers, their names in any case; others than `ce-*` are
/// passed over. The event has the required attributes; [`crate::Event::check`] has still to look at what they say.
///
/// # Errors
/// The first thing that is wrong: an attribute that is missing, given twice or not spelled right, or a body that is not
/// the JSON that `content_type` says.
pub fn decode_binary<'a>(
    headers: impl Iterator<Item = (&'a str, &'a [u8])>,
    content_type: Option<&str>,
    body: Bytes,
    tenant: &Tenant,
    limits: &EventLimits,
) -> Result<DecodedEvents, DecodeEventsError> {
    let mut attributes = Attributes::new(tenant);
    let mut seen: Vec<Cow<'_, str>> = Vec::new();
    for (header, value) in headers {
        let Some(name) = attribute_name(header) else {
            continue;
        };
        if matches!(&*name, "datacontenttype" | "data") {
            return Err(Kind::invalid_name(header, "is not allowed: Content-Type and the body say it").into());
        }
        if !is_header_name(&name) {
            return Err(Kind::invalid_name(header, "must have a name of 1 to 20 of a-z and 0-9").into());
        }
        if seen.contains(&name) {
            return Err(Kind::invalid_name(header, "is given twice").into());
        }
        let value = decode_header_value(value).map_err(|why| Kind::invalid_name(header, why))?;
        attributes.set(&name, value)?;
        seen.push(name);
    }
    attributes.content_type(content_type.map(str::to_owned));
    let mut event = attributes.finish()?;
    event.data = Data::of_body(content_type, body, &limits.json).map_err(Kind::from)?;
    Ok(DecodedEvents::one(event))
}

/// Whether a header carries an attribute.
pub(crate) fn is_attribute_header(header: &str) -> bool {
    header.get(..PREFIX.len()).is_some_and(|prefix| prefix.eq_ignore_ascii_case(PREFIX))
}

/// The attribute that a header carries. Header names have no case; attributes are lower-case.
fn attribute_name(header: &str) -> Option<Cow<'_, str>> {
    if !is_attribute_header(header) {
        return None;
    }
    let name = &header[PREFIX.len()..];
    let is_lower = !name.bytes().any(|byte| byte.is_ascii_uppercase());
    Some(if is_lower { Cow::Borrowed(name) } else { Cow::Owned(name.to_ascii_lowercase()) })
}

fn decode_header_value(value: &[u8]) -> Result<String, &'static str> {
    let unquoted = unquote(value)?;
    let mut decoded = Vec::with_capacity(unquoted.len());
    let mut rest = &*unquoted;
    while let Some(percent) = rest.iter().position(|&byte| byte == b'%') {
        decoded.extend_from_slice(&rest[..percent]);
        let digits = rest.get(percent + 1..percent + 3).and_then(|digits| std::str::from_utf8(digits).ok());
        let digits = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        decoded.push(byte.ok_or("has a '%' without two hexadecimal digits")?);
        rest = &rest[percent + 3..];
    }
    decoded.extend_from_slice(rest);
    String::from_utf8(decoded).map_err(|_| "is not UTF-8")
}

/// Undoes an RFC 9110 quoted string.
fn unquote(value: &[u8]) -> Result<Cow<'_, [u8]>, &'static str> {
    const UNBALANCED: &str = "has a quote without its counterpart";
    let Some(inside) = value.strip_prefix(b"\"") else {
        return Ok(Cow::Borrowed(value));
    };
    let mut unquoted = Vec::with_capacity(inside.len());
    let mut bytes = inside.iter();
    loop {
        match *bytes.next().ok_or(UNBALANCED)? {
            b'"' => break,
            b'\\' => unquoted.push(*bytes.next().ok_or(UNBALANCED)?),
            byte => unquoted.push(byte),
        }
    }
    if bytes.len() > 0 { Err(UNBALANCED) } else { Ok(Cow::Owned(unquoted)) }
}

/// The attributes of an event for a binary-mode message of any protocol, without a prefix and not encoded. The content
/// type is not among them: each protocol has its own place for it.
pub fn attributes(event: &StoredEvent) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
    let own_id = || Cow::Owned(event.id().to_string());
    let required = [
        ("specversion", Cow::Borrowed(SPEC_VERSION)),
        ("id", event.client_id().map_or_else(own_id, Cow::Borrowed)),
        ("source", Cow::Borrowed(event.source())),
        ("type", Cow::Borrowed(event.event_type())),
    ];
    let optional = [
        ("subject", event.subject()),
        ("time", event.time()),
        ("dataschema", event.data_schema()),
        ("partitionkey", event.key()),
    ];
    let optional = optional.into_iter().filter_map(|(name, value)| Some((name, Cow::Borrowed(value?))));
    let extensions = event.headers().map(|(name, value)| (name, Cow::Borrowed(value)));
    required.into_iter().chain(optional).chain(extensions)
}

/// An attribute's value as an HTTP header has it: ASCII, visible, percent-encoded.
#[must_use]
pub fn encode_header_value(value: &str) -> Cow<'_, str> {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let is_plain = |byte: u8| (0x21..0x7f).contains(&byte) && byte != b'"' && byte != b'%';
    if value.bytes().all(is_plain) {
        return Cow::Borrowed(value);
    }
    let mut encoded = String::with_capacity(value.len() + 16);
    for byte in value.bytes() {
        if is_plain(byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            encoded.push(char::from(HEX[usize::from(byte >> 4)]));
            encoded.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    Cow::Owned(encoded)
}
