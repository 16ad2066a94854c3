//! Where a new subscription begins.

use eventrelay_event::Timestamp;
use serde::{Deserialize, Serialize};

/// Where a new subscription begins. It is resolved against the log once, when the subscription is created.
///
/// Written `"earliest"`, `"latest"`, `{ offset = 1200 }` or `{ time = "2026-01-31T00:00:00Z" }`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// With the oldest event that the log still has.
    Earliest,
    /// With the first event accepted from now on.
    #[default]
    Latest,
    /// With the event at this offset, which must not be beyond the log's end.
    Offset(u64),
    /// With the first event appended at or after this time.
    Time(#[serde(with = "rfc3339")] Timestamp),
}

/// A time is written as RFC 3339.
mod rfc3339 {
    use eventrelay_event::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer};
    use time::OffsetDateTime;
    use time::format_description::well_known::Rfc3339;

    pub(super) fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(time)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(deserializer)?;
        let time = OffsetDateTime::parse(&text, &Rfc3339).map_err(|error| {
            serde::de::Error::custom(format_args!("`{text}` is not an RFC 3339 time: {error}"))
        })?;
        let micros = u64::try_from(time.unix_timestamp_nanos() / 1000)
            .map_err(|_| serde::de::Error::custom("the time is before 1970"))?;
        Ok(Timestamp(micros))
    }
}
