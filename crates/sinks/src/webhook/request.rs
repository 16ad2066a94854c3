//! One attempt's request: method, headers, signature, body.

use std::borrow::Cow;
use std::time::SystemTime;

use bytes::Bytes;
use eventrelay_event::{EventId, MessageId, TRACEPARENT, TRACESTATE, TraceContext};
use http::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, InvalidHeaderValue};
use http::{Method, Request, Version};
use http_body_util::Full;

use super::body;
use super::settings::{BodyFormat, IdFormat};
use super::signature::Signer;
use crate::http_client::{Answer, Body, Target, WriteRequest, exchange};
use crate::{Delivery, Exchange};

/// Id, timestamp and signature.
const STANDARD_NAMES: [HeaderName; 3] = [
    HeaderName::from_static("webhook-id"),
    HeaderName::from_static("webhook-timestamp"),
    HeaderName::from_static("webhook-signature"),
];
/// The same as the older libraries of Svix look for them.
const SVIX_NAMES: [HeaderName; 3] = [
    HeaderName::from_static("svix-id"),
    HeaderName::from_static("svix-timestamp"),
    HeaderName::from_static("svix-signature"),
];
const TRACEPARENT_HEADER: HeaderName = HeaderName::from_static(TRACEPARENT);
const TRACESTATE_HEADER: HeaderName = HeaderName::from_static(TRACESTATE);
/// The headers of ours: those above, two of the trace, `host` and `content-type`.
const OWN_HEADERS: usize = 10;

/// What all requests of a subscription have in common.
pub(super) struct RequestTemplate {
    pub(super) target: Target,
    pub(super) signer: Signer,
    pub(super) format: BodyFormat,
    pub(super) id_format: IdFormat,
    pub(super) svix_headers: bool,
    pub(super) headers: HeaderMap,
}

/// An event that cannot be written as a request.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    #[error("the event cannot be written as JSON: {0}")]
    Body(#[from] serde_json::Error),
    #[error("the event has a value that a header cannot hold")]
    Header(#[from] InvalidHeaderValue),
    #[error("the clock is before 1970")]
    Clock(#[from] std::time::SystemTimeError),
}

/// One attempt, signed; it can be written more than once, for a connection may turn out to be stale.
pub(super) struct Prepared<'a> {
    template: &'a RequestTemplate,
    id: HeaderValue,
    timestamp: HeaderValue,
    signature: Option<HeaderValue>,
    content_type: HeaderValue,
    /// The event's trace, which goes on with the receiver.
    traceparent: Option<HeaderValue>,
    tracestate: Option<HeaderValue>,
    body: Bytes,
}

impl RequestTemplate {
    /// Encodes and signs an event for an attempt that is made `now`.
    pub(super) fn prepare(&self, delivery: &Delivery, now: SystemTime) -> Result<Prepared<'_>, RequestError> {
        let event = &delivery.event;
        let (content_type, body) = body::encode(self.format, event)?;
        let timestamp = now.duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
        let mut buffer = [0; EventId::CHARS];
        let id: Cow<'_, str> = match self.id_format {
            IdFormat::Event => event.id().encode(&mut buffer).into(),
            IdFormat::Svix => MessageId(event.id()).to_string().into(),
        };
        let signature = self.signer.sign(&id, timestamp, &body).map(HeaderValue::try_from).transpose()?;
        let traceparent = delivery.traceparent();
        let tracestate = TraceContext::of(event).and_then(|trace| trace.tracestate);
        Ok(Prepared {
            template: self,
            traceparent: traceparent.as_deref().map(HeaderValue::from_str).transpose()?,
            tracestate: tracestate.map(HeaderValue::from_str).transpose()?,
            id: HeaderValue::from_str(&id)?,
            timestamp: HeaderValue::from(timestamp),
            signature,
            content_type,
            body,
        })
    }
}

impl Prepared<'_> {
    /// What people may see of it.
    pub(super) fn exchange(&self, answer: Option<&Answer>) -> Box<Exchange> {
        exchange(self, &self.template.target, &self.body, answer)
    }

    /// Id, timestamp and signature under these names.
    fn sign(&self, headers: &mut HeaderMap, names: &[HeaderName; 3]) {
        headers.insert(names[0].clone(), self.id.clone());
        headers.insert(names[1].clone(), self.timestamp.clone());
        if let Some(signature) = &self.signature {
            headers.insert(names[2].clone(), signature.clone());
        }
    }
}

impl WriteRequest for Prepared<'_> {
    // `content-length` follows from the body.
    fn request(&self, version: Version) -> Request<Body> {
        let template = self.template;
        let mut headers = HeaderMap::with_capacity(OWN_HEADERS + template.headers.len());
        if version != Version::HTTP_2 {
            headers.insert(HOST, template.target.host());
        }
        headers.insert(CONTENT_TYPE, self.content_type.clone());
        self.sign(&mut headers, &STANDARD_NAMES);
        if template.svix_headers {
            self.sign(&mut headers, &SVIX_NAMES);
        }
        if let Some(traceparent) = &self.traceparent {
            headers.insert(TRACEPARENT_HEADER, traceparent.clone());
        }
        if let Some(tracestate) = &self.tracestate {
            headers.insert(TRACESTATE_HEADER, tracestate.clone());
        }
        for (name, value) in &template.headers {
            headers.insert(name, value.clone());
        }
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = template.target.uri(version);
        *request.version_mut() = version;
        *request.headers_mut() = headers;
        request
    }
}
