//! For whom a connection's events are, and its login where API keys are asked for.
//!
//! ```text
//! frames   client ──▶ 39 00 00 00 "er_…"             the key is the payload of the first frame
//!          client ◀── 00 │ 08                        good │ not, and the connection ends
//! lines    client ──▶ {"api_key":"er_…"} LF
//!          client ◀── {"tenant":"acme"} LF │ {"code":"unauthenticated","detail":…} LF
//! ```
//!
//! A client need not wait for the answer before it sends events. Until it has logged in it gets no more memory than a key
//! takes, and only `login_timeout_ms`. Where no keys are asked for there is no login: all events are for `tcp.tenant`.

use std::sync::Arc;

use eventrelay_event::{Envelope, Tenant};
use eventrelay_telemetry::Door;
use serde::{Deserialize, Serialize};

use super::service::Shared;
use crate::auth::{Access, AuthError, Scope, now_micros};
use crate::payloads::batch::{JsonForm, OpaqueForm};
use crate::payloads::cut::{BATCH_COST_BYTES, Cutter, JSON_OVERHEAD_BYTES, RECORD_BYTES};
use crate::payloads::framing::Framing;
use crate::payloads::refusal::{ACCEPTED, Refusal};
use crate::quota::OpenStream;

/// The most bytes of a login: a key, and what is around it in a line.
const LOGIN_BYTES: usize = 256;

/// For whom a connection's events are.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) access: Access,
    /// What opaque payloads are put into.
    envelope: Arc<Envelope>,
    /// The most bytes of an opaque payload.
    max_opaque_bytes: usize,
    /// The connection's place among those of its tenant.
    _place: OpenStream,
}

/// The first line.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Login<'a> {
    api_key: &'a str,
}

/// The answer to it.
#[derive(Serialize)]
struct LoggedIn<'a> {
    tenant: &'a str,
}

impl Session {
    /// Begins one for somebody who has the access to publish.
    ///
    /// # Errors
    /// When the tenant has as many connections as it may have, or its name makes the smallest event too large.
    pub(crate) fn begin(shared: &Shared, access: Access) -> Result<Self, Refusal> {
        let place = access.quota().open_stream().map_err(|exceeded| Refusal::of_quota(&exceeded))?;
        let envelope = shared.envelope(access.tenant())?;
        let limit = shared.publisher.limits().events.event_bytes;
        let max_opaque_bytes = limit.saturating_sub(envelope.event_bytes(0));
        Ok(Self { access, envelope, max_opaque_bytes, _place: place })
    }

    /// Begins one for somebody who shows an API key in a first payload.
    ///
    /// # Errors
    /// When it is none that is good, or it is not for publishing.
    pub(crate) fn log_in(shared: &Shared, framing: Framing, payload: &[u8]) -> Result<Self, Refusal> {
        let key = match framing {
            Framing::Frames => std::str::from_utf8(payload).ok().map(str::trim),
            Framing::Lines => serde_json::from_slice(payload).ok().map(|login: Login<'_>| login.api_key),
        };
        let key = key.ok_or_else(unauthenticated)?;
        let access = shared.api_keys.authorize(Some(key), Scope::Publish).map_err(|error| match error {
            AuthError::Unauthenticated => unauthenticated(),
            AuthError::MissingScope(scope) => {
                let detail =
                    format!("the API key lacks the scope `{}`; the connection is closed", scope.name());
                Refusal::new("missing_scope", detail)
            }
        })?;
        Self::begin(shared, access)
    }

    /// Asks again whether the key is good.
    ///
    /// # Errors
    /// When it is not any more.
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        if self.access.can_end() && !self.access.is_valid(now_micros()) {
            return Err(unauthenticated());
        }
        Ok(())
    }

    pub(crate) fn tenant(&self) -> &Tenant {
        self.access.tenant()
    }

    /// What becomes of opaque payloads.
    pub(crate) fn opaque_form(&self) -> OpaqueForm<'_> {
        OpaqueForm { envelope: &self.envelope, max_bytes: self.max_opaque_bytes }
    }

    /// What becomes of events in JSON. A connection has nothing to add to them.
    pub(crate) fn json_form(&self) -> JsonForm<'_> {
        JsonForm {
            door: Door::Tcp,
            tenant: self.tenant(),
            trace: None,
            idempotency_key: None,
            first_place: 0,
        }
    }

    /// What a batch may be.
    pub(crate) fn cutter(&self, shared: &Shared, framing: Framing) -> Cutter {
        let (publisher, in_flight) = (&shared.publisher, shared.options.max_in_flight_bytes);
        Cutter {
            framing,
            max_payload_bytes: shared.options.max_frame_bytes,
            max_payloads: publisher.limits().events.batch_events,
            max_cost: BATCH_COST_BYTES.min(in_flight).min(publisher.max_batch_bytes()),
            // At least what it takes in the log's queue.
            payload_overhead_bytes: RECORD_BYTES + self.envelope.event_bytes(0).max(JSON_OVERHEAD_BYTES),
        }
    }
}

/// What may come before the login: the login.
pub(crate) fn login_cutter(framing: Framing) -> Cutter {
    Cutter {
        framing,
        max_payload_bytes: LOGIN_BYTES,
        max_payloads: 1,
        max_cost: LOGIN_BYTES,
        payload_overhead_bytes: 0,
    }
}

impl Framing {
    /// Appends the answer to a login that is good.
    pub(crate) fn write_logged_in(self, tenant: &Tenant, out: &mut Vec<u8>) {
        match self {
            Self::Frames => out.push(ACCEPTED),
            Self::Lines => {
                let logged_in = LoggedIn { tenant: tenant.as_str() };
                // Writing a string to memory cannot fail.
                if serde_json::to_writer(&mut *out, &logged_in).is_err() {
                    tracing::error!(%tenant, "the answer to a login cannot be written");
                }
                out.push(b'\n');
            }
        }
    }
}

fn unauthenticated() -> Refusal {
    Refusal::new("unauthenticated", "the connection must begin with a good API key; it is closed")
}
