//! An endpoint as the webhook subscription that it is.
//!
//! | of the endpoint | in the subscription |
//! |---|---|
//! | `url`, headers, secrets | the sink's settings; a secret that was rotated signs on as an expiring one |
//! | `eventTypes` | patterns of the filter, which have no stars, since no type has |
//! | `channels` | an expression of the filter over the header [`CHANNELS`]; their names are in the metadata too, under [`CHANNELS_NOTE`] |
//! | `throttleRate` | `max_events_per_second` |
//! | `disabled` | not enabled: what is sent meanwhile is delivered once it is enabled again |
//! | `description`, `metadata` | the same |
//!
//! What else an operator has set of the subscription stays as it is.

use std::collections::BTreeMap;

use eventrelay_event::Timestamp;
use eventrelay_sinks::UrlView;
use eventrelay_state::{Lifecycle, Subscription};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::ids;
use super::message::{CHANNELS, ENDPOINT};
use super::refusal::Refusal;
use super::resources::Found;

/// Where the names of the channels are noted, separated by commas.
const CHANNELS_NOTE: &str = "svix.channels";
/// The most types and channels that are listened to.
const MAX_EVENT_TYPES: usize = 64;
const MAX_CHANNELS: usize = 10;
const MAX_CHANNEL_CHARS: usize = 100;
/// How long an attempt may take.
const TIMEOUT_MS: u64 = 30_000;
/// Headers whose values are not shown.
const SENSITIVE_HEADERS: [&str; 5] =
    ["authorization", "cookie", "proxy-authorization", "x-api-key", "x-auth-token"];

/// The subscription of a new endpoint.
pub(super) fn subscription(
    tenant: &str,
    name: &str,
    url: &str,
    secret: &str,
    schedule_ms: &[u64],
) -> Result<Subscription, Refusal> {
    let declared = json!({
        "name": name, "tenant": tenant, "keep_attempts": "all",
        "retry": {"max_attempts": schedule_ms.len() + 1, "schedule_ms": schedule_ms, "timeout_ms": TIMEOUT_MS + 5_000},
        "sink": {"kind": "webhook", "url": url, "secrets": [normal_secret(secret)], "body": "data", "id_format": "svix",
                 "svix_headers": true, "timeout_ms": TIMEOUT_MS},
    });
    serde_json::from_value(declared).map_err(|error| Refusal::internal(error.to_string()))
}

/// A secret with the prefix that it may have been given without.
pub(super) fn normal_secret(secret: &str) -> String {
    if secret.starts_with("whsec_") || secret.starts_with("whsk_") {
        secret.to_owned()
    } else {
        format!("whsec_{secret}")
    }
}

/// Has the subscription take only these types; none: all.
pub(super) fn set_event_types(spec: &mut Subscription, types: Option<&[String]>) -> Result<(), Refusal> {
    let types = types.unwrap_or_default();
    if types.len() > MAX_EVENT_TYPES {
        return Err(Refusal::invalid("eventTypes", format!("must be at most {MAX_EVENT_TYPES}")));
    }
    types.iter().try_for_each(|name| ids::check_name("eventTypes", name))?;
    set_filter(spec, "types", json!(types))
}

/// Has the subscription of `endpoint_id` take only messages of these channels, none: of any or no channel; and no examples for
/// other endpoints.
pub(super) fn set_channels(
    spec: &mut Subscription,
    endpoint_id: &str,
    channels: Option<&[String]>,
) -> Result<(), Refusal> {
    let channels = channels.unwrap_or_default();
    check_channels(channels)?;
    channels.iter().try_for_each(|name| ids::check_name("channels", name))?;
    let mine = format!("!has(event.headers.{ENDPOINT}) || event.headers.{ENDPOINT} == '{endpoint_id}'");
    let one = |name: &String| format!("event.headers.{CHANNELS}.contains(',{name},')");
    let any: Vec<String> = channels.iter().map(one).collect();
    if channels.is_empty() {
        spec.metadata.remove(CHANNELS_NOTE);
        return set_filter(spec, "cel", mine.into());
    }
    spec.metadata.insert(CHANNELS_NOTE.to_owned(), channels.join(","));
    let of_channel = any.join(" || ");
    set_filter(spec, "cel", format!("({mine}) && has(event.headers.{CHANNELS}) && ({of_channel})").into())
}

/// Refuses what nobody has a use for.
pub(super) fn check_channels(channels: &[String]) -> Result<(), Refusal> {
    if channels.len() > MAX_CHANNELS || channels.iter().any(|name| name.len() > MAX_CHANNEL_CHARS) {
        let why = format!("must be at most {MAX_CHANNELS}, of at most {MAX_CHANNEL_CHARS} characters");
        return Err(Refusal::invalid("channels", why));
    }
    Ok(())
}

fn set_filter(spec: &mut Subscription, part: &str, value: Value) -> Result<(), Refusal> {
    let mut written = filter_of(spec);
    written.insert(part.to_owned(), value);
    let filter = serde_json::from_value(Value::Object(written));
    spec.filter = filter.map_err(|error| Refusal::invalid("", error.to_string()))?;
    Ok(())
}

fn filter_of(spec: &Subscription) -> Map<String, Value> {
    match serde_json::to_value(&spec.filter) {
        Ok(Value::Object(written)) => written,
        // A filter is an object, and always serialises.
        _ => Map::new(),
    }
}

/// The client's own notes in place of those there are.
pub(super) fn set_metadata(spec: &mut Subscription, metadata: BTreeMap<String, String>) {
    let channels = spec.metadata.remove(CHANNELS_NOTE);
    spec.metadata = metadata;
    if let Some(channels) = channels {
        spec.metadata.insert(CHANNELS_NOTE.to_owned(), channels);
    }
}

/// A setting of the sink.
pub(super) fn setting<'a>(spec: &'a Subscription, name: &str) -> Option<&'a Value> {
    spec.sink.as_ref()?.settings.get(name)
}

/// Changes a setting of the sink.
pub(super) fn set(spec: &mut Subscription, name: &str, value: Value) {
    if let Some(sink) = &mut spec.sink {
        sink.settings.insert(name.to_owned(), value);
    }
}

/// The headers that are added to each request.
pub(super) fn headers(spec: &Subscription) -> BTreeMap<String, String> {
    let headers = setting(spec, "headers").cloned();
    headers.and_then(|headers| serde_json::from_value(headers).ok()).unwrap_or_default()
}

/// Whether a header's value is not shown.
pub(super) fn is_sensitive(header: &str) -> bool {
    SENSITIVE_HEADERS.contains(&header.to_ascii_lowercase().as_str())
}

/// Where it delivers to, as far as that is shown: a URL's path may be what lets somebody in.
pub(super) fn url(spec: &Subscription, urls: UrlView) -> String {
    let Some(sink) = &spec.sink else { return String::new() };
    let shown = eventrelay_sinks::redacted(&sink.settings, urls);
    shown.get("url").and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn list_of(values: Option<&Value>) -> Option<Vec<String>> {
    let values = values?.as_array()?.iter().filter_map(|value| value.as_str().map(str::to_owned));
    Some(values.collect::<Vec<_>>()).filter(|values| !values.is_empty())
}

/// An endpoint as it is shown. Types and rates have two names, for SDKs of different versions.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EndpointOut {
    pub(super) id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<String>,
    url: String,
    description: String,
    version: u16,
    disabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_types: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filter_types: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channels: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    throttle_rate: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_limit: Option<u32>,
    metadata: BTreeMap<String, String>,
    created_at: String,
    updated_at: String,
}

impl EndpointOut {
    pub(super) fn of((endpoint, record): Found, urls: UrlView) -> Self {
        let spec = record.spec;
        let event_types = list_of(filter_of(&spec).get("types"));
        let throttle_rate = spec.max_events_per_second.map(std::num::NonZeroU32::get);
        let url = url(&spec, urls);
        let mut metadata = spec.metadata;
        let channels = metadata.remove(CHANNELS_NOTE);
        Self {
            id: endpoint.id,
            uid: endpoint.uid,
            url,
            description: spec.description,
            version: 1,
            disabled: record.lifecycle != Lifecycle::Enabled,
            filter_types: event_types.clone(),
            event_types,
            channels: channels.map(|names| names.split(',').map(str::to_owned).collect()),
            throttle_rate,
            rate_limit: throttle_rate,
            metadata,
            created_at: Timestamp(record.created_at_micros).to_string(),
            updated_at: Timestamp(record.updated_at_micros).to_string(),
        }
    }

    /// Whether a message of this type and these channels is for it, now.
    pub(super) fn would_take(&self, event_type: &str, channels: &[&str]) -> bool {
        let is_among = |wanted: &Option<Vec<String>>, names: &[&str]| {
            wanted.as_ref().is_none_or(|wanted| wanted.iter().any(|name| names.contains(&name.as_str())))
        };
        !self.disabled && is_among(&self.event_types, &[event_type]) && is_among(&self.channels, channels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made() -> Subscription {
        subscription("acme", "ep_1", "https://example.com/", "c2VjcmV0", &[5, 6]).unwrap()
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_new_one_delivers_as_svix_does() {
        let spec = made();
        spec.validate().unwrap();
        assert_eq!((spec.retry.max_attempts.get(), &spec.retry.schedule_ms[..]), (3, &[5, 6][..]));
        assert_eq!(setting(&spec, "secrets"), Some(&json!(["whsec_c2VjcmV0"])));
        assert_eq!(url(&spec, UrlView::Whole), "https://example.com/");
    }

    #[test]
    fn types_and_channels_are_a_filter_and_can_be_taken_back() {
        let mut spec = made();
        set_event_types(&mut spec, Some(&names(&["order.created", "order.paid"]))).unwrap();
        set_channels(&mut spec, "ep_1", Some(&names(&["a", "b"]))).unwrap();
        let filter = filter_of(&spec);
        assert_eq!(filter["types"], json!(["order.created", "order.paid"]));
        let cel = filter["cel"].as_str().unwrap();
        assert!(cel.contains("contains(',a,')") && cel.contains("contains(',b,')"), "{cel}");
        set_metadata(&mut spec, [("plan".to_owned(), "free".to_owned())].into());
        assert_eq!(spec.metadata[CHANNELS_NOTE], "a,b");
        set_event_types(&mut spec, None).unwrap();
        set_channels(&mut spec, "ep_1", None).unwrap();
        assert_eq!(filter_of(&spec).get("types"), None);
        assert_eq!(spec.metadata.len(), 1);
    }

    #[test]
    fn as_many_channels_as_there_may_be_fit_a_filter() {
        let many: Vec<String> =
            (0..MAX_CHANNELS).map(|n| format!("{n}{}", "x".repeat(MAX_CHANNEL_CHARS - 1))).collect();
        set_channels(&mut made(), "ep_0123456789012345678901234567", Some(&many)).unwrap();
        assert!(set_channels(&mut made(), "ep_1", Some(&names(&["a'b"]))).is_err());
        assert!(set_event_types(&mut made(), Some(&names(&["order.*"]))).is_err());
    }
}
