//! The names of event files: `<prefix>-<UTC time>-<first offset>.ndjson`.
//!
//! `events-20260131T120000000123Z-00000000000000000042.ndjson` was begun at 12:00:00.000123 with the event at
//! offset 42. Times of one prefix only ever grow, so the names in order are the files in order.

use eventrelay_event::Timestamp;

const EXTENSION: &str = ".ndjson";

/// The part of a file's name after the prefix. In the order of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FileName {
    /// When the file was begun: microseconds since the Unix epoch.
    pub(super) begun_micros: u64,
    /// The offset of its first event.
    pub(super) first_offset: u64,
}

impl FileName {
    /// Takes a name that is exactly one of ours, with this prefix.
    pub(super) fn parse(prefix: &str, name: &str) -> Option<Self> {
        let rest = name.strip_prefix(prefix)?.strip_prefix('-')?.strip_suffix(EXTENSION)?;
        let (time, offset) = rest.split_once('-')?;
        let parsed = Self { begun_micros: parse_time(time)?, first_offset: offset.parse().ok()? };
        // One spelling for each name, so that no two files have the same.
        (parsed.with_prefix(prefix) == name).then_some(parsed)
    }

    pub(super) fn with_prefix(&self, prefix: &str) -> String {
        let mut time = Timestamp(self.begun_micros).to_string();
        time.retain(|character| character.is_ascii_alphanumeric());
        format!("{prefix}-{time}-{:020}{EXTENSION}", self.first_offset)
    }
}

/// Reads `20260131T120000000123Z`. A date that does not exist comes out as another one.
fn parse_time(text: &str) -> Option<u64> {
    let (date, clock) = text.strip_suffix('Z')?.split_once('T')?;
    let (date, clock): (u64, u64) = (date.parse().ok()?, clock.parse().ok()?);
    let (year, month, day) = (date / 10_000, date / 100 % 100, date % 100);
    let (seconds_of_clock, micros) = (clock / 1_000_000, clock % 1_000_000);
    let (hour, minute, second) =
        (seconds_of_clock / 10_000, seconds_of_clock / 100 % 100, seconds_of_clock % 100);
    let seconds = days_since_epoch(year, month, day)? * 86_400 + hour * 3600 + minute * 60 + second;
    Some(seconds * 1_000_000 + micros)
}

/// Days from 1970-01-01 to a date of the Gregorian calendar (Hinnant's `days_from_civil`): years begin in
/// March, so that the leap day comes last.
fn days_since_epoch(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || day == 0 {
        return None;
    }
    let year_from_march = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = year_from_march * 365 + year_from_march / 4 - year_from_march / 100
        + year_from_march / 400
        + day_of_year;
    Some(days - 719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "events-20260131T120000000123Z-00000000000000000042.ndjson";

    #[test]
    fn a_name_reads_as_it_was_written() {
        let name = FileName { begun_micros: 1_769_860_800_000_123, first_offset: 42 };
        assert_eq!(name.with_prefix("events"), NAME);
        assert_eq!(FileName::parse("events", NAME), Some(name));
        // 1970-01-01, 2000-02-29, 2023-12-31, 2024-02-29, 2100-03-01, 9999-12-31T23:59:59.999999
        for begun_micros in [
            0,
            951_782_400_000_000,
            1_704_067_199_999_999,
            1_709_164_800_000_001,
            4_107_542_400_000_000,
            253_402_300_799_999_999,
        ] {
            let name = FileName { begun_micros, first_offset: u64::MAX };
            assert_eq!(FileName::parse("a-b", &name.with_prefix("a-b")), Some(name));
        }
    }

    #[test]
    fn other_files_are_not_ours() {
        for name in [
            "events-20260131T120000000123Z-42.ndjson",
            "events-20260131T120000000123Z-00000000000000000042.ndjson.gz",
            "events-20260131T120000000123Z-99999999999999999999.ndjson",
            "events-more-20260131T120000000123Z-00000000000000000042.ndjson",
            "events-20260132T120000000123Z-00000000000000000042.ndjson",
            "events-20260131T240000000123Z-00000000000000000042.ndjson",
            "events-20260131X120000000123Z-00000000000000000042.ndjson",
            "events-99999999999T99999999999999Z-00000000000000000042.ndjson",
            "events-.ndjson",
            "events",
            "",
        ] {
            assert_eq!(FileName::parse("events", name), None, "{name}");
        }
        assert_eq!(FileName::parse("event", NAME), None);
    }

    #[test]
    fn names_sort_as_files() {
        let early = FileName { begun_micros: 999, first_offset: u64::MAX };
        let late = FileName { begun_micros: 1000, first_offset: 0 };
        assert!(late > early && late.with_prefix("e") > early.with_prefix("e"));
    }
}
