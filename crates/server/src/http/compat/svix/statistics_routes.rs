//! `/api/v1/app/{app}/endpoint/{endpoint}/stats`: how many messages arrived, wait or failed, of those with an attempt that is kept.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use eventrelay_state::{AttemptOutcome, AttemptQuery, AttemptRecord, DeliveryState};
use serde::Serialize;

use super::attempt::Status;
use super::caller::Caller;
use super::json::Json;
use super::parameters::Parameters;
use super::refusal::Refusal;
use super::resources::Resources;
use super::routes::Routes;
use crate::auth::Scope;

pub(super) fn routes() -> Routes<Resources> {
    Routes::new().get("/api/v1/app/{app_id}/endpoint/{endpoint_id}/stats", Scope::Read, get)
}

#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct StatisticsOut {
    success: u64,
    pending: u64,
    sending: u64,
    fail: u64,
    canceled: u64,
}

async fn get(
    State(resources): State<Resources>,
    caller: Caller,
    Path((app, name)): Path<(String, String)>,
    parameters: Parameters,
) -> Result<Json<StatisticsOut>, Refusal> {
    let application = resources.application(&caller, app).await?;
    let (_, record) = resources.endpoint(&application, name).await?;
    let query = AttemptQuery {
        from_micros: parameters.time("since")?,
        to_micros: parameters.time("until")?,
        ..AttemptQuery::default()
    };
    let counted = resources.block(move |resources| {
        let kept = resources.state().attempts(record.id, &query, AttemptRecord::KEPT_PER_SUBSCRIPTION)?;
        let mut statistics = StatisticsOut::default();
        for (offset, outcome) in latest(kept.into_iter().map(|(_, attempt)| attempt)) {
            let status = match outcome {
                AttemptOutcome::Delivered => Status::Success,
                AttemptOutcome::Retry | AttemptOutcome::Reject | AttemptOutcome::Gone => {
                    match resources.state().delivery_state(record.id, offset)? {
                        Some(DeliveryState::Dead { .. }) => Status::Fail,
                        // It has not arrived, whatever is saved of it by now.
                        _ => Status::Pending,
                    }
                }
            };
            match status {
                Status::Success => statistics.success += 1,
                Status::Fail => statistics.fail += 1,
                Status::Pending | Status::Sending => statistics.pending += 1,
            }
        }
        Ok(statistics)
    });
    Ok(Json(counted.await?))
}

/// What the newest attempt of each message came to; the newest come first.
fn latest(attempts: impl Iterator<Item = AttemptRecord>) -> BTreeMap<u64, AttemptOutcome> {
    let mut outcomes = BTreeMap::new();
    for attempt in attempts {
        outcomes.entry(attempt.offset).or_insert(attempt.outcome);
    }
    outcomes
}
