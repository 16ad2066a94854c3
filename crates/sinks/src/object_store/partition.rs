//! The folder of an event's object, made from the event: `type=order.created/date=2026-01-31/hour=12`.
//!
//! A value stands in one segment and keeps letters, digits and `-_.`; all else is percent-encoded, so that a value can
//! neither add a folder nor leave one. What makes an empty segment, `.` or `..`, or a path longer than stores take,
//! is a rejection of that event alone.

use eventrelay_event::StoredEvent;
use object_store::path::Path;

use super::settings::KIND;
use crate::template::{MissingField, Template};
use crate::{SinkError, settings};

/// Stores take names of 1,024 bytes, of which a file's name needs some.
const MAX_PATH_BYTES: usize = 800;
/// File systems take 255.
const MAX_SEGMENT_BYTES: usize = 255;

/// Which folder an event belongs to: a function of the event alone.
#[derive(Debug)]
pub(super) struct Partitioning {
    template: Template,
}

/// An event that has no folder.
#[derive(Debug, thiserror::Error)]
pub(super) enum PartitionError {
    #[error(transparent)]
    Field(#[from] MissingField),
    #[error("the event's folder has an empty segment, or one of dots")]
    Segment,
    #[error(
        "the event's folder is longer than {MAX_PATH_BYTES} bytes, or a segment of it than {MAX_SEGMENT_BYTES}"
    )]
    Length,
}

impl Partitioning {
    /// Reads the template of the settings.
    pub(super) fn parse(text: &str) -> Result<Self, SinkError> {
        let refused = |why: String| settings::refused(KIND, "path", why);
        let template = Template::parse(text).map_err(|error| refused(error.to_string()))?;
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.=/+@,".contains(&byte);
        if !template.literals().all(|literal| literal.bytes().all(legal)) {
            let why = "beside fields of the event, it may hold letters, digits and -_.=/+@,";
            return Err(refused(why.into()));
        }
        // With letters in the place of the values, what is wrong is wrong for every event.
        let sample = template.sample("x");
        checked(&sample).map_err(|_| refused("has an empty segment, or one of dots".into()))?;
        Ok(Self { template })
    }

    /// The folder of an event, without a slash at its ends.
    pub(super) fn of(&self, event: &StoredEvent) -> Result<String, PartitionError> {
        let path = self.template.render_with(event, encode)?;
        checked(&path)?;
        Ok(path)
    }
}

fn checked(path: &str) -> Result<(), PartitionError> {
    let fits = |segment: &str| segment.len() <= MAX_SEGMENT_BYTES;
    if path.len() > MAX_PATH_BYTES || !path.split('/').all(fits) {
        return Err(PartitionError::Length);
    }
    if path.split('/').any(str::is_empty) {
        return Err(PartitionError::Segment);
    }
    Path::parse(path).map(drop).map_err(|_| PartitionError::Segment)
}

fn encode(value: &str, out: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

#[cfg(test)]
mod tests {
    use eventrelay_event::Event;

    use super::*;
    use crate::testing::{event, stored};

    fn of(template: &str, key: &str) -> Result<String, String> {
        let event = Event { key: Some(key.to_owned()), ..event(b"1") };
        Partitioning::parse(template).unwrap().of(&stored(7, &event)).map_err(|error| error.to_string())
    }

    #[test]
    fn an_event_has_the_same_folder_every_time() {
        let path = of("v1/type={type}/date={date}/hour={hour}", "k").unwrap();
        assert_eq!(path, "v1/type=order.created/date=2026-01-31/hour=12");
        assert_eq!(of("{source}/{key}", "k").unwrap(), "%2Fshop/k");
    }

    #[test]
    fn a_value_neither_adds_a_folder_nor_leaves_one() {
        assert_eq!(of("a/{key}/b", "../x\\y#1 =ü").unwrap(), "a/..%2Fx%5Cy%231%20%3D%C3%BC/b");
        for key in ["", ".", ".."] {
            assert!(of("a/{key}/b", key).unwrap_err().contains("segment"), "{key}");
        }
        assert_eq!(of("a/k={key}", "..").unwrap(), "a/k=..");
        assert!(of("{key}", &"ü".repeat(50)).unwrap_err().contains("longer"));
        assert!(of("{type}/{subject}", "k").unwrap_err().contains("no subject"));
    }

    #[test]
    fn what_is_wrong_for_every_event_is_refused() {
        for template in
            ["", "/{type}", "{type}/", "a//{type}", "a/../{type}", "a/./b", "a b", "a%2F", "{typ}", "ü"]
        {
            let error = Partitioning::parse(template).unwrap_err().to_string();
            assert!(error.contains("`path`"), "{template}: {error}");
        }
    }
}
