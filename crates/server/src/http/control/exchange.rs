//! What was sent to a target and what came back, as people see it.

use eventrelay_sinks::{Exchange as SinkExchange, Response};
use eventrelay_state::{AttemptRecord, Exchange};
use serde::Serialize;
use utoipa::ToSchema;

/// A request and its answer. Secret values are `[redacted]`, bodies are cut to 4,096 bytes and shown as text.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ExchangeShown {
    /// What was sent; null where the sink does not tell.
    #[schema(required = true)]
    request: Option<RequestShown>,
    /// What came back; null where nothing did.
    #[schema(required = true)]
    response: Option<ResponseShown>,
}

/// A request as it was sent.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RequestShown {
    /// Its method.
    method: String,
    /// Scheme, host and port of where it went.
    url: String,
    /// Its headers, as name and value.
    headers: Vec<(String, String)>,
    /// The first bytes of its body.
    body: String,
    /// Whether there was more.
    truncated: bool,
}

/// An answer.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ResponseShown {
    /// The status, or the target's own code.
    status: u16,
    /// Its headers, as name and value.
    headers: Vec<(String, String)>,
    /// The first bytes of its body.
    body: String,
    /// Whether there was more.
    truncated: bool,
}

impl ExchangeShown {
    /// Of an attempt that was just made; none where nothing is known of it.
    pub(crate) fn of_attempt(exchange: Option<&SinkExchange>, response: Option<&Response>) -> Option<Self> {
        let request = exchange.map(|exchange| RequestShown {
            method: exchange.method.clone(),
            url: exchange.url.clone(),
            headers: exchange.request_headers.clone(),
            body: String::from_utf8_lossy(&exchange.request_body).into_owned(),
            truncated: exchange.request_truncated,
        });
        let response = response.map(|response| {
            let kept = &response.body[..response.body.len().min(AttemptRecord::RESPONSE_LIMIT_BYTES)];
            ResponseShown {
                status: response.status,
                headers: exchange.map(|exchange| exchange.response_headers.clone()).unwrap_or_default(),
                body: String::from_utf8_lossy(kept).into_owned(),
                truncated: response.truncated || kept.len() < response.body.len(),
            }
        });
        (request.is_some() || response.is_some()).then_some(Self { request, response })
    }

    /// Of an attempt that is kept; none where nothing is known of it.
    pub(crate) fn of_record(record: &AttemptRecord) -> Option<Self> {
        let request = record.exchange.as_ref().map(|exchange: &Exchange| RequestShown {
            method: exchange.method.clone(),
            url: exchange.url.clone(),
            headers: exchange.request_headers.clone(),
            body: exchange.request_body.clone(),
            truncated: exchange.request_truncated,
        });
        let response = record.response_status.map(|status| ResponseShown {
            status,
            headers: record
                .exchange
                .as_ref()
                .map(|exchange| exchange.response_headers.clone())
                .unwrap_or_default(),
            body: String::from_utf8_lossy(record.response_body.as_deref().unwrap_or_default()).into_owned(),
            truncated: record.response_truncated,
        });
        (request.is_some() || response.is_some()).then_some(Self { request, response })
    }
}
