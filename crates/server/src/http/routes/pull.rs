//! `/v1/subscriptions/{name}/…`: consumers pull events under leases, and say what became of them. Needs the scope `consume`.
//!
//! | `POST` | body | answer |
//! |---|---|---|
//! | `…/pull` | `{"max": 10, "wait_ms": 5000, "lease_ms": 30000}`; each may be left out | `{"events": [{"lease": "…", "attempt": 1, "purpose": "live", "expires_at": "…", "event": {…}}]}` |
//! | `…/ack` | `{"leases": ["…"]}` | `{"results": [{"lease": "…", "result": "acked"}]}` |
//! | `…/nack` | `{"leases": ["…"], "delay_ms": 1000, "reason": "…"}`; the last two may be left out | the same, `nacked` |
//! | `…/extend` | `{"leases": ["…"], "lease_ms": 30000}` | the same, `extended` |
//!
//! A lease that could not be changed is `expired` or `unknown`, and the others are changed all the same. A subscription of
//! another tenant answers as one that does not exist.
//!
//! A pull ends when there are events, when it has waited as long as it asked for, and, without events, when the server
//! shuts down. When its client goes away before, what was leased to it goes back.

use std::time::Duration;

use eventrelay_delivery::pull::{LeaseChange, LeasedEvent, PullError, PullRequest, PullSubscription};
use eventrelay_event::{Timestamp, native};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::auth::{Access, AuthError, now_micros};
use crate::http::authentication::refused;
use crate::http::body::Body;
use crate::http::problem::Problem;
use crate::http::service::Shared;
use crate::http::upload::Upload;
use crate::shutdown::Stage;

const TRY_AGAIN: Duration = Duration::from_secs(1);
/// What an event's frame takes, at a guess.
const EVENT_FRAME_BYTES: usize = 512;

/// Which events a consumer takes.
#[derive(Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::http) struct Pull {
    /// How many at most.
    #[schema(minimum = 1, maximum = 1000, default = 100)]
    max: usize,
    /// How long to wait while there is none.
    #[schema(minimum = 0, maximum = 30_000, default = 0)]
    wait_ms: u64,
    /// How long each is the consumer's.
    #[schema(minimum = 1000, maximum = 43_200_000, default = 30_000)]
    lease_ms: u64,
}

impl Default for Pull {
    fn default() -> Self {
        Self { max: 100, wait_ms: 0, lease_ms: 30_000 }
    }
}

/// Events that are dealt with.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Ack {
    /// Their leases.
    #[schema(max_items = 1000)]
    leases: Vec<String>,
}

/// Events that are to be delivered again.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Nack {
    /// Their leases.
    #[schema(max_items = 1000)]
    leases: Vec<String>,
    /// When; as the subscription's retries say where nothing is said.
    #[schema(maximum = 86_400_000)]
    delay_ms: Option<u64>,
    /// What went wrong, for people: 1,000 bytes at most.
    #[schema(max_length = 1000)]
    reason: Option<String>,
}

/// Events that need more time.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Extend {
    /// Their leases.
    #[schema(max_items = 1000)]
    leases: Vec<String>,
    /// How much from now on.
    #[schema(minimum = 1000, maximum = 43_200_000)]
    lease_ms: u64,
}

/// What became of each lease.
#[derive(Serialize, ToSchema)]
#[schema(as = LeaseResults)]
pub(in crate::http) struct Results<'a> {
    /// In the order of the request.
    results: Vec<OneResult<'a>>,
}

/// What became of a lease.
#[derive(Serialize, ToSchema)]
#[schema(as = LeaseResult)]
pub(in crate::http) struct OneResult<'a> {
    /// Which.
    lease: &'a str,
    /// `acked`, `nacked` or `extended`; `expired` or `unknown` where nothing was changed.
    result: &'static str,
}

/// Leases events, or waits for some.
///
/// # Errors
/// 400 `invalid_pull_request`, 404 `subscription_not_found`, 409 `push_subscription`, 503 `too_many_pulls`, `shutting_down`.
pub(crate) async fn pull(
    shared: &Shared,
    access: &Access,
    upload: &mut Upload<'_>,
    name: &str,
) -> Result<Response<Body>, Problem> {
    let Pull { max, wait_ms, lease_ms } = parse(upload).await?;
    let subscription = find(shared, access, name)?;
    let (wait, lease) = (Duration::from_millis(wait_ms), Duration::from_millis(lease_ms));
    let mut stage = shared.stage.clone();
    let pulled = tokio::select! {
        biased;
        pulled = subscription.pull(PullRequest { max_events: max, wait, lease }) => pulled.map_err(|error| problem(&error))?,
        // An error means that the server is gone, which is as good a reason.
        _ = stage.wait_for(|stage| *stage != Stage::Running) => return Ok(json(written(&[])?)),
    };
    if access.can_end() && !access.is_valid(now_micros()) {
        return Err(refused(AuthError::Unauthenticated));
    }
    let answer = json(written(pulled.events())?);
    drop(pulled.hand_over());
    Ok(answer)
}

/// The events of leases are dealt with.
///
/// # Errors
/// 400 `invalid_pull_request`, 404 `subscription_not_found`, 409 `push_subscription`, 503 `shutting_down`.
pub(crate) async fn ack(
    shared: &Shared,
    access: &Access,
    upload: &mut Upload<'_>,
    name: &str,
) -> Result<Response<Body>, Problem> {
    let Ack { leases } = parse(upload).await?;
    change(&find(shared, access, name)?, &leases, LeaseChange::Ack).await
}

/// The events of leases are to be delivered again.
///
/// # Errors
/// As [`ack`].
pub(crate) async fn nack(
    shared: &Shared,
    access: &Access,
    upload: &mut Upload<'_>,
    name: &str,
) -> Result<Response<Body>, Problem> {
    let Nack { leases, delay_ms, reason } = parse(upload).await?;
    let delay = delay_ms.map(Duration::from_millis);
    change(&find(shared, access, name)?, &leases, LeaseChange::Nack { delay, reason }).await
}

/// Leases are to last longer.
///
/// # Errors
/// As [`ack`].
pub(crate) async fn extend(
    shared: &Shared,
    access: &Access,
    upload: &mut Upload<'_>,
    name: &str,
) -> Result<Response<Body>, Problem> {
    let Extend { leases, lease_ms } = parse(upload).await?;
    let lease = Duration::from_millis(lease_ms);
    change(&find(shared, access, name)?, &leases, LeaseChange::Extend { lease }).await
}

fn find(shared: &Shared, access: &Access, name: &str) -> Result<PullSubscription, Problem> {
    shared.consumers.find(access.tenant().as_str(), name).map_err(|error| problem(&error))
}

async fn change(
    subscription: &PullSubscription,
    leases: &[String],
    change: LeaseChange,
) -> Result<Response<Body>, Problem> {
    let results = subscription.change(leases, change).await.map_err(|error| problem(&error))?;
    let results = leases.iter().zip(results);
    let results = results.map(|(lease, result)| OneResult { lease, result: result.name() }).collect();
    let body = serde_json::to_vec(&Results { results });
    Ok(json(body.map_err(|error| Problem::internal(error.to_string()))?))
}

async fn parse<T: DeserializeOwned>(upload: &mut Upload<'_>) -> Result<T, Problem> {
    let received = upload.read().await?;
    object(&received.bytes)
}

/// Reads an object by its fields' names; an array would do for serde, too.
fn object<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(invalid("the body must be a JSON object".to_owned()));
    }
    serde_json::from_slice(body).map_err(|error| invalid(error.to_string()))
}

fn invalid(detail: String) -> Problem {
    let title = "This is no request to pull or to change leases";
    Problem::new(StatusCode::BAD_REQUEST, "invalid_pull_request", title).detail(detail)
}

fn problem(error: &PullError) -> Problem {
    let detail = error.to_string();
    let refusal = |status, code, title| Problem::new(status, code, title).detail(detail.clone());
    match error {
        PullError::NotFound => {
            Problem::new(StatusCode::NOT_FOUND, "subscription_not_found", "There is no such subscription")
        }
        PullError::NotPull => {
            refusal(StatusCode::CONFLICT, "push_subscription", "The subscription is not for pulling")
        }
        PullError::OutOfLimits { field, .. } => invalid(detail).field(Some((*field).to_owned())),
        PullError::TooManyPulls => {
            refusal(StatusCode::SERVICE_UNAVAILABLE, "too_many_pulls", "Too many pulls wait")
                .retry_after(TRY_AGAIN)
        }
        PullError::Ending => {
            refusal(StatusCode::SERVICE_UNAVAILABLE, "shutting_down", "The server is shutting down")
                .retry_after(TRY_AGAIN)
        }
    }
}

/// The events as JSON, each in the API's usual form.
fn written(events: &[LeasedEvent]) -> Result<Vec<u8>, Problem> {
    let bytes: usize = events.iter().map(|leased| leased.event.encoded().len() + EVENT_FRAME_BYTES).sum();
    let mut out = Vec::with_capacity(bytes + 16);
    out.extend_from_slice(b"{\"events\":[");
    for (place, leased) in events.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        let head = Head {
            lease: leased.lease.to_string(),
            attempt: leased.attempt,
            purpose: leased.purpose.name(),
            expires_at: Timestamp(leased.expires_at_micros).to_string(),
            traceparent: leased.traceparent.as_deref(),
        };
        serde_json::to_writer(&mut out, &head).map_err(|error| Problem::internal(error.to_string()))?;
        // The event is written as everywhere, as the last field of the same object.
        out.pop();
        out.extend_from_slice(b",\"event\":");
        native::write_json(&leased.event, &mut out);
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
    Ok(out)
}

/// An event and its lease; `event`, which follows, is written apart.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct Head<'a> {
    /// What the event is acknowledged by.
    lease: String,
    /// How often it has been given out, with this time.
    #[schema(minimum = 1)]
    attempt: u32,
    /// `live`, `replay` or `redrive`.
    purpose: &'static str,
    /// When somebody else may have it.
    #[schema(format = DateTime)]
    expires_at: String,
    /// The trace that the consumer goes on with.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<&'a str>,
}

fn json(body: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Body::full(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use eventrelay_delivery::pull::LeaseToken;
    use eventrelay_event::{Event, Purpose, StoredEvent, Tenant};

    use super::*;

    #[test]
    fn every_field_of_a_pull_may_be_left_out_and_none_added() {
        let pull = |text: &str| object::<Pull>(text.as_bytes());
        assert_eq!(pull("{}").unwrap(), Pull::default());
        assert_eq!(
            pull(r#"{"max":1,"wait_ms":2,"lease_ms":3}"#).unwrap(),
            Pull { max: 1, wait_ms: 2, lease_ms: 3 }
        );
        for wrong in [
            r#"{"limit":1}"#,
            r#"{"max":-1}"#,
            r#"{"max":1,"max":2}"#,
            "[]",
            "",
            "[1, 0, 1000]",
            r#"{"max":1e99}"#,
        ] {
            assert!(pull(wrong).is_err(), "{wrong}");
        }
        assert!(object::<Ack>(br#"{"leases":[],"lease_ms":1}"#).is_err());
        assert!(object::<Ack>(br#"[["lease"]]"#).is_err());
        assert!(object::<Extend>(br#"{"leases":[]}"#).is_err());
    }

    #[test]
    fn an_answer_is_json_with_the_event_in_its_usual_form() {
        let mut record = Vec::new();
        let event = Event::new(Tenant::default(), "order.created".to_owned(), "/\"shop\"".to_owned());
        StoredEvent::encode(&event, &mut record);
        let leased = LeasedEvent {
            lease: LeaseToken::parse(&"A".repeat(32)).unwrap(),
            attempt: 3,
            purpose: Purpose::Replay,
            expires_at_micros: 1_000_000,
            traceparent: None,
            event: StoredEvent::decode(7, 1, record.into()).unwrap(),
        };
        let answer: serde_json::Value =
            serde_json::from_slice(&written(&[leased.clone(), leased]).unwrap()).unwrap();
        let second = &answer["events"][1];
        assert_eq!((&second["attempt"], &second["purpose"]), (&3.into(), &"replay".into()));
        assert_eq!((&second["lease"], &second["event"]["offset"]), (&"A".repeat(32).into(), &7.into()));
        assert_eq!(second["expires_at"], "1970-01-01T00:00:01.000000Z");
        assert_eq!(written(&[]).unwrap(), br#"{"events":[]}"#);
    }
}
