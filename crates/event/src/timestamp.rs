//! Times inside are microseconds since the Unix epoch; people and JSON read RFC 3339.

use std::fmt;

/// A time as microseconds since the Unix epoch, shown as RFC 3339 in UTC: `2026-01-31T12:00:00.000123Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// How many characters it has, until the year 9999.
    pub const CHARS: usize = 27;

    /// Writes it into `buffer`, without allocating. Times after the year 9999 come out as its last microsecond.
    #[must_use]
    pub fn encode(self, buffer: &mut [u8; Self::CHARS]) -> &str {
        const LAST_MICROS: u64 = 253_402_300_799_999_999;
        let micros = self.0.min(LAST_MICROS);
        let seconds = micros / 1_000_000;
        let (year, month, day) = civil_date(seconds / 86_400);
        buffer.copy_from_slice(b"0000-00-00T00:00:00.000000Z");
        let fields = [
            (0..4, year),
            (5..7, month),
            (8..10, day),
            (11..13, seconds / 3600 % 24),
            (14..16, seconds / 60 % 60),
            (17..19, seconds % 60),
            (20..26, micros % 1_000_000),
        ];
        for (place, value) in fields {
            let mut rest = value;
            for digit in buffer[place].iter_mut().rev() {
                *digit = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
        }
        std::str::from_utf8(buffer).unwrap_or_default()
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.encode(&mut [0; Self::CHARS]))
    }
}

/// The Gregorian year, month and day of a count of days since the epoch (Hinnant's `civil_from_days`): it counts in
/// eras of 400 years that begin on the first of March, so that the leap day comes last.
fn civil_date(days_since_epoch: u64) -> (u64, u64, u64) {
    let days = days_since_epoch + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;
    use time::format_description::well_known::Rfc3339;

    use super::*;

    #[test]
    fn it_reads_back_as_the_same_time_in_every_year() {
        // A step that is no whole number of days, over all of the range.
        let step = 86_400_000_000 * 97 + 12_345_678_901;
        for micros in (0..253_402_300_800_000_000).step_by(step) {
            let text = Timestamp(micros).to_string();
            assert_eq!(text.len(), Timestamp::CHARS);
            let parsed = OffsetDateTime::parse(&text, &Rfc3339).unwrap();
            assert_eq!(parsed.unix_timestamp_nanos(), i128::from(micros) * 1000, "{text}");
        }
    }

    #[test]
    fn the_far_future_stays_readable() {
        assert_eq!(Timestamp(u64::MAX).to_string(), "9999-12-31T23:59:59.999999Z");
        assert_eq!(Timestamp(0).to_string(), "1970-01-01T00:00:00.000000Z");
    }
}
