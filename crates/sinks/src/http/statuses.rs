//! What a status means for the events of a request.
//!
//! | status | by default |
//! |---|---|
//! | 2xx | delivered |
//! | 401, 403, 404, 408, 425, 429 | retry, after `Retry-After` where given: credentials, routes and limits get repaired |
//! | other 4xx | reject: the request is at fault; of a batch, the event that is at fault is looked for |
//! | anything else | retry: 3xx (redirects are never followed), 5xx |
//!
//! `success_statuses`, `retry_statuses` and `reject_statuses` name exceptions from that.

use std::ops::RangeInclusive;

use http::StatusCode;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use serde_json::Value;

use super::settings::{KIND, Settings};
use crate::{SinkError, settings};

/// Client errors that are about who asks, where, when or how often, and not about the event.
const RETRIED_CLIENT_ERRORS: [u16; 6] = [401, 403, 404, 408, 425, 429];
const MAX_RANGES: usize = 64;

/// What a status means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Success,
    Retry,
    Reject,
}

/// What each status means to one subscription.
#[derive(Debug)]
pub(super) struct Statuses {
    exceptions: Vec<(RangeInclusive<u16>, Verdict)>,
}

/// Statuses of the settings: numbers, or ranges such as `"500-599"`.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
pub struct StatusList(Vec<StatusRange>);

#[derive(Debug)]
struct StatusRange(RangeInclusive<u16>);

impl Statuses {
    /// Takes the exceptions of the settings.
    pub(super) fn new(settings: &Settings) -> Result<Self, SinkError> {
        let lists = [
            ("success_statuses", &settings.success_statuses, Verdict::Success),
            ("retry_statuses", &settings.retry_statuses, Verdict::Retry),
            ("reject_statuses", &settings.reject_statuses, Verdict::Reject),
        ];
        let mut exceptions: Vec<(RangeInclusive<u16>, Verdict)> = Vec::new();
        for (field, list, verdict) in lists {
            settings::within(KIND, field, &list.0.len(), 0..=MAX_RANGES)?;
            for StatusRange(range) in &list.0 {
                let clash = |(other, of): &&(RangeInclusive<u16>, Verdict)| {
                    *of != verdict && other.start() <= range.end() && range.start() <= other.end()
                };
                if let Some((other, _)) = exceptions.iter().find(clash) {
                    let status = other.start().max(range.start());
                    return Err(settings::refused(
                        KIND,
                        field,
                        format!("{status} is in another list already"),
                    ));
                }
                exceptions.push((range.clone(), verdict));
            }
        }
        Ok(Self { exceptions })
    }

    pub(super) fn judge(&self, status: StatusCode) -> Verdict {
        let code = status.as_u16();
        if let Some((_, verdict)) = self.exceptions.iter().find(|(range, _)| range.contains(&code)) {
            return *verdict;
        }
        if status.is_success() {
            Verdict::Success
        } else if status.is_client_error() && !RETRIED_CLIENT_ERRORS.contains(&code) {
            Verdict::Reject
        } else {
            Verdict::Retry
        }
    }
}

impl<'de> Deserialize<'de> for StatusRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = || D::Error::custom("expected a status from 200 to 599, or a range as \"500-599\"");
        let value = Value::deserialize(deserializer)?;
        let number = |text: &str| text.trim().parse::<u16>().ok();
        let (first, last) = match &value {
            Value::Number(_) => {
                let status = value.as_u64().and_then(|status| u16::try_from(status).ok());
                (status, status)
            }
            Value::String(text) => match text.split_once('-') {
                Some((first, last)) => (number(first), number(last)),
                None => (number(text), number(text)),
            },
            _ => (None, None),
        };
        let (first, last) = first.zip(last).ok_or_else(expected)?;
        if first > last || !(200..600).contains(&first) || !(200..600).contains(&last) {
            return Err(expected());
        }
        Ok(Self(first..=last))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn statuses(extra: &Value) -> Result<Statuses, String> {
        let mut value = json!({"url": "https://example.com/"});
        value.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let settings: Settings = settings::parse(KIND, &value).map_err(|error| error.to_string())?;
        Statuses::new(&settings).map_err(|error| error.to_string())
    }

    fn verdicts(statuses: &Statuses, codes: &[u16]) -> Vec<Verdict> {
        codes.iter().map(|code| statuses.judge(StatusCode::from_u16(*code).unwrap())).collect()
    }

    #[test]
    fn by_default_faults_of_the_event_are_told_from_faults_of_the_moment() {
        let statuses = statuses(&json!({})).unwrap();
        assert_eq!(verdicts(&statuses, &[200, 202, 204, 299]), [Verdict::Success; 4]);
        assert_eq!(verdicts(&statuses, &[401, 403, 404, 408, 425, 429]), [Verdict::Retry; 6]);
        assert_eq!(verdicts(&statuses, &[301, 307, 500, 503, 599, 999]), [Verdict::Retry; 6]);
        assert_eq!(verdicts(&statuses, &[400, 402, 405, 409, 410, 413, 415, 422]), [Verdict::Reject; 8]);
    }

    #[test]
    fn exceptions_leave_the_rest_as_it_is() {
        let extra = json!({
            "success_statuses": [409],
            "retry_statuses": ["423"],
            "reject_statuses": ["404", "500-502"],
        });
        let statuses = statuses(&extra).unwrap();
        assert_eq!(verdicts(&statuses, &[200, 409]), [Verdict::Success; 2]);
        assert_eq!(verdicts(&statuses, &[423, 429, 503]), [Verdict::Retry; 3]);
        assert_eq!(verdicts(&statuses, &[404, 400, 500, 501, 502]), [Verdict::Reject; 5]);
    }

    #[test]
    fn what_is_no_status_or_named_twice_is_refused() {
        for extra in [
            json!({"retry_statuses": [100]}),
            json!({"retry_statuses": ["599-500"]}),
            json!({"retry_statuses": ["5xx"]}),
            json!({"retry_statuses": [true]}),
            json!({"retry_statuses": [500], "reject_statuses": ["500-599"]}),
        ] {
            let error = statuses(&extra).unwrap_err();
            assert!(error.contains("_statuses"), "{error}");
        }
    }
}
