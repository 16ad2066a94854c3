//! Parameters of the query. Unknown ones are left aside: SDKs of other versions send them.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use eventrelay_event::Timestamp;
use http::request::Parts;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::ids::check_name;
use super::refusal::Refusal;

/// How many items a page has where nothing is said, and at most.
const DEFAULT_LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 250;

/// Names and values, in their order.
#[derive(Debug, Clone, Default)]
pub(super) struct Parameters(Vec<(String, String)>);

impl<S: Sync> FromRequestParts<S> for Parameters {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::parse(parts.uri.query().unwrap_or_default()))
    }
}

impl Parameters {
    fn parse(query: &str) -> Self {
        Self(form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// How many items are wanted: more than there may be is as many as there may be.
    pub(super) fn limit(&self) -> Result<u32, Refusal> {
        let Some(text) = self.text("limit") else { return Ok(DEFAULT_LIMIT) };
        let limit = text.parse::<u32>().ok().filter(|limit| *limit > 0);
        limit
            .map(|limit| limit.min(MAX_LIMIT))
            .ok_or_else(|| Refusal::parameter("limit", "must be at least 1"))
    }

    pub(super) fn flag(&self, name: &str, default: bool) -> Result<bool, Refusal> {
        match self.text(name) {
            None => Ok(default),
            Some("true") => Ok(true),
            Some("false") => Ok(false),
            Some(_) => Err(Refusal::parameter(name, "must be true or false")),
        }
    }

    pub(super) fn number(&self, name: &str) -> Result<Option<u16>, Refusal> {
        let parsed = self.text(name).map(str::parse).transpose();
        parsed.map_err(|_| Refusal::parameter(name, "must be a number"))
    }

    pub(super) fn time(&self, name: &str) -> Result<Option<u64>, Refusal> {
        let parsed = self.text(name).map(micros_of).transpose();
        Ok(parsed.map_err(|why| Refusal::parameter(name, why))?.map(|time| time.0))
    }

    /// Names that are separated by commas, or of which each has a parameter; none: any.
    pub(super) fn names(&self, name: &str) -> Result<Vec<String>, Refusal> {
        let values = self.0.iter().filter(|(own, _)| own == name).flat_map(|(_, value)| value.split(','));
        let names: Vec<String> = values.filter(|value| !value.is_empty()).map(str::to_owned).collect();
        for value in &names {
            check_name(name, value).map_err(|_| Refusal::parameter(name, "must be names"))?;
        }
        Ok(names)
    }

    /// Whether the last items are to come first, where that is not the default.
    pub(super) fn is_descending(&self, default: bool) -> Result<bool, Refusal> {
        match self.text("order") {
            None => Ok(default),
            Some("ascending") => Ok(false),
            Some("descending") => Ok(true),
            Some(_) => Err(Refusal::parameter("order", "must be ascending or descending")),
        }
    }
}

/// A time as RFC 3339 has it.
pub(super) fn micros_of(text: &str) -> Result<Timestamp, &'static str> {
    // A plus that was not encoded has become a space.
    let time = OffsetDateTime::parse(&text.replace(' ', "+"), &Rfc3339);
    let time = time.map_err(|_| "must be a time as RFC 3339 has it")?;
    u64::try_from(time.unix_timestamp_nanos() / 1000).map(Timestamp).map_err(|_| "must not be before 1970")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_taken_as_sdks_write_them() {
        let parameters = Parameters::parse(
            "limit=1000&with_content=false&event_types=a.b,c&event_types=d&after=2026-01-31T12:00:00%2B00:00&before=1970-01-01T01:00:00+01:00",
        );
        assert_eq!(parameters.limit().unwrap(), 250);
        assert!(!parameters.flag("with_content", true).unwrap());
        assert_eq!(parameters.names("event_types").unwrap(), ["a.b", "c", "d"]);
        assert_eq!(parameters.time("after").unwrap(), Some(1_769_860_800_000_000));
        assert_eq!(parameters.time("before").unwrap(), Some(0));
        assert_eq!(Parameters::default().limit().unwrap(), 50);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let parameters = Parameters::parse("limit=0&order=up&after=yesterday&flag=1&event_types=a*");
        assert!(parameters.limit().is_err() && parameters.is_descending(false).is_err());
        assert!(parameters.time("after").is_err() && parameters.flag("flag", true).is_err());
        assert!(parameters.names("event_types").is_err());
    }
}
