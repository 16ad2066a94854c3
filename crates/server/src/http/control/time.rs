//! Times in requests and answers: RFC 3339, in answers always in UTC.

use eventrelay_event::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A time as it comes and goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Time(pub(crate) Timestamp);

impl Time {
    /// A time that is stored: microseconds since the Unix epoch.
    pub(crate) fn of_micros(micros: u64) -> Self {
        Self(Timestamp(micros))
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.encode(&mut [0; Timestamp::CHARS]))
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let time = OffsetDateTime::parse(&text, &Rfc3339)
            .map_err(|_| de::Error::custom("must be a time as of RFC 3339, such as 2026-01-31T12:00:00Z"))?;
        let micros = u64::try_from(time.unix_timestamp_nanos() / 1000);
        let micros = micros.map_err(|_| de::Error::custom("must not be before 1970"))?;
        Ok(Self(Timestamp(micros)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_all_zones_come_back_in_utc() {
        let time: Time = serde_json::from_str(r#""2026-01-31T13:00:00.5+01:00""#).unwrap();
        assert_eq!(serde_json::to_string(&time).unwrap(), r#""2026-01-31T12:00:00.500000Z""#);
        for wrong in [r#""2026-01-31""#, r#""1969-12-31T23:59:59Z""#, r#""now""#, "5"] {
            assert!(serde_json::from_str::<Time>(wrong).is_err(), "{wrong}");
        }
    }
}
