//! A message as the event that it is.
//!
//! | of the message | in the event |
//! |---|---|
//! | `eventType`, `payload` | type, data |
//! | `eventId` | the producer's `id` |
//! | `channels`, `tags` | the headers [`CHANNELS`] and [`TAGS`]: the names with a comma before, between and after them |
//!
//! Events that came in otherwise are messages too. A payload is an object, so data that is none is shown as `{"data": …}`.

use std::ops::Range;

use eventrelay_delivery::{SearchError, SearchRequest};
use eventrelay_event::filter::Filter;
use eventrelay_event::{Data, DataKind, Event, MessageId, StoredEvent, Timestamp};
use eventrelay_state::SvixApplication;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::ids::check_name;
use super::refusal::Refusal;
use super::resources::Resources;

/// Where messages come from, as events have it.
pub(super) const SOURCE: &str = "/svix";
/// The header with the names of the channels.
pub(super) const CHANNELS: &str = "svixchannels";
/// The header with the names of the tags.
const TAGS: &str = "svixtags";
/// The header that names the one endpoint that an example is for.
pub(super) const ENDPOINT: &str = "svixendpoint";
/// The most channels or tags of a message.
const MAX_NAMES: usize = 10;
/// How many searches one request makes: each takes half a second at most.
const MAX_SEARCHES: usize = 4;

/// What a message says, but for its payload.
#[derive(Debug, Clone, Default)]
pub(super) struct Labels {
    pub(super) event_id: Option<String>,
    pub(super) channels: Vec<String>,
    pub(super) tags: Vec<String>,
}

/// The event of a message that is to be sent.
pub(super) fn event(
    resources: &Resources,
    application: &SvixApplication,
    event_type: String,
    payload: &RawValue,
    labels: Labels,
) -> Result<Event, Refusal> {
    check_name("eventType", &event_type)?;
    if !payload.get().starts_with('{') {
        return Err(Refusal::invalid("payload", "must be an object"));
    }
    let limits = &resources.publisher.limits().events.json;
    let data = Data::json(payload.get().as_bytes().to_vec().into(), limits);
    let mut event = Event::new(application.tenant.clone(), event_type, SOURCE.to_owned());
    event.content_type = Some("application/json".to_owned());
    event.data = Some(data.map_err(|error| Refusal::invalid("payload", error.to_string()))?);
    if let Some(id) = &labels.event_id {
        check_name("eventId", id)?;
    }
    event.id = labels.event_id;
    for (field, header, names) in [("channels", CHANNELS, labels.channels), ("tags", TAGS, labels.tags)] {
        if names.len() > MAX_NAMES {
            return Err(Refusal::invalid(field, format!("must be at most {MAX_NAMES}")));
        }
        names.iter().try_for_each(|name| check_name(field, name))?;
        if !names.is_empty() {
            event.headers.push((header.to_owned(), format!(",{},", names.join(","))));
        }
    }
    Ok(event)
}

/// A message as it is shown.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MessageOut {
    pub(super) id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<String>,
    event_type: String,
    payload: Box<RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channels: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<Vec<String>>,
    timestamp: String,
}

impl MessageOut {
    /// A stored event, with its payload or an empty one.
    pub(super) fn of(event: &StoredEvent, with_content: bool) -> Result<Self, Refusal> {
        let payload = if with_content { payload(event) } else { RawValue::from_string("{}".to_owned()) };
        Ok(Self {
            id: MessageId(event.id()).to_string(),
            event_id: event.client_id().map(str::to_owned),
            event_type: event.event_type().to_owned(),
            payload: payload.map_err(|error| Refusal::internal(error.to_string()))?,
            channels: names(event, CHANNELS),
            tags: names(event, TAGS),
            timestamp: Timestamp(event.append_time_micros()).to_string(),
        })
    }
}

fn payload(event: &StoredEvent) -> serde_json::Result<Box<RawValue>> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    RawValue::from_string(match event.data() {
        Some((DataKind::Json, bytes)) if bytes.starts_with(b"{") => text(bytes),
        Some((DataKind::Json, bytes)) => format!("{{\"data\":{}}}", text(bytes)),
        Some((DataKind::Text, bytes)) => json!({ "data": text(bytes) }).to_string(),
        Some((DataKind::Binary, _)) | None => json!({ "data": Value::Null }).to_string(),
    })
}

fn names(event: &StoredEvent, header: &str) -> Option<Vec<String>> {
    let (_, value) = event.headers().find(|(name, _)| *name == header)?;
    Some(value.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect())
}

/// Whether a message has a channel, or a tag.
pub(super) fn has_label(event: &StoredEvent, channel: Option<&str>, tag: Option<&str>) -> bool {
    let has = |header, wanted: Option<&str>| {
        wanted.is_none_or(|wanted| {
            names(event, header).is_some_and(|names| names.iter().any(|name| name == wanted))
        })
    };
    has(CHANNELS, channel) && has(TAGS, tag)
}

/// What is looked for among messages.
#[derive(Debug, Clone, Default)]
pub(super) struct Looked {
    pub(super) event_types: Vec<String>,
    pub(super) channel: Option<String>,
    pub(super) tag: Option<String>,
    /// In the client's own name for a message.
    pub(super) event_id: Option<String>,
    /// A subscription, and what became of them there.
    pub(super) delivery: Option<eventrelay_delivery::DeliverySearch>,
    pub(super) newest_first: bool,
}

/// The messages of a part of the log, at most `limit`, and the part that is left, if any is. Blocking.
pub(super) fn search(
    resources: &Resources,
    application: &SvixApplication,
    mut range: Range<u64>,
    looked: &Looked,
    limit: usize,
) -> Result<(Vec<eventrelay_delivery::Found>, Option<Range<u64>>), Refusal> {
    range.start = range.start.max(application.start_offset);
    let filter = Filter::new(looked.event_types.clone(), Vec::new());
    let filter = filter.map_err(|error| Refusal::parameter("event_types", error.to_string()))?;
    let mut request = SearchRequest {
        tenant: application.tenant.as_str().to_owned(),
        range,
        filter,
        key: None,
        delivery: looked.delivery.clone(),
        newest_first: looked.newest_first,
        limit,
    };
    let mut messages = Vec::new();
    for _ in 0..MAX_SEARCHES {
        request.limit = limit - messages.len();
        let page = resources.engine.search(&request).map_err(|error: SearchError| Refusal::from(error))?;
        let is_wanted = |found: &eventrelay_delivery::Found| {
            has_label(&found.event, looked.channel.as_deref(), looked.tag.as_deref())
                && looked.event_id.as_deref().is_none_or(|id| found.event.client_id() == Some(id))
        };
        messages.extend(page.found.into_iter().filter(is_wanted));
        let Some(rest) = page.rest else { return Ok((messages, None)) };
        request.range = rest;
        if messages.len() >= limit {
            break;
        }
    }
    Ok((messages, Some(request.range)))
}

/// The newest message that the client gave this id; looked for among the latest.
pub(super) async fn of_client_id(
    resources: &Resources,
    application: &SvixApplication,
    id: &str,
) -> Result<Option<StoredEvent>, Refusal> {
    let looked = Looked { event_id: Some(id.to_owned()), newest_first: true, ..Looked::default() };
    let application = application.clone();
    let found =
        resources.block(move |resources| search(resources, &application, 0..u64::MAX, &looked, 1)).await?;
    Ok(found.0.into_iter().next().map(|found| found.event))
}
