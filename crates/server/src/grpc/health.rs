//! The standard health service: whether events are taken, for load balancers and orchestrators.
//!
//! The server as a whole (the empty name) and each of its services are `SERVING` while the log takes events, and
//! `NOT_SERVING` when it does not or the server is shutting down.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use eventrelay_log::Status as LogStatus;
use futures_util::{Stream, stream};
use tokio::time::{Interval, MissedTickBehavior, interval};
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::refusals::Refused;
use super::service::{Shared, draining};
use crate::shutdown::Stage;

/// How often a watcher's answer is looked at.
const WATCH_INTERVAL: Duration = Duration::from_millis(500);

const SERVICES: [&str; 4] = ["", "eventrelay.v1.EventRelay", "event.EventService", "ingestpb.Ingestor"];

/// Asks the log.
#[derive(Debug, Clone)]
pub(crate) struct LogHealth(Arc<Shared>);

impl LogHealth {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Self(Arc::clone(shared))
    }

    pub(crate) fn into_service(self) -> HealthServer<Self> {
        HealthServer::new(self)
    }

    fn status(&self) -> ServingStatus {
        let running = *self.0.stage.borrow() == Stage::Running;
        if running && matches!(self.0.log.status(), LogStatus::Writable) {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        }
    }
}

#[tonic::async_trait]
impl Health for LogHealth {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let service = request.into_inner().service;
        if !SERVICES.contains(&service.as_str()) {
            return Err(Refused::new(Code::NotFound, "not_found", "there is no such service").into_status());
        }
        Ok(Response::new(answer(self.status())))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let known = SERVICES.contains(&request.into_inner().service.as_str());
        let mut ticks = interval(WATCH_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let watcher = Watcher { health: self.clone(), known, told: None, ticks };
        Ok(Response::new(Box::pin(stream::unfold(watcher, Watcher::next))))
    }
}

/// Tells a status, and then each other one.
struct Watcher {
    health: LogHealth,
    /// Who watches a service that there is not is told so, and nothing else; the contract has it that way.
    known: bool,
    told: Option<ServingStatus>,
    ticks: Interval,
}

impl Watcher {
    async fn next(mut self) -> Option<(Result<HealthCheckResponse, Status>, Self)> {
        let mut stage = self.health.0.stage.clone();
        loop {
            let status = if self.known { self.health.status() } else { ServingStatus::ServiceUnknown };
            if self.told != Some(status) {
                self.told = Some(status);
                return Some((Ok(answer(status)), self));
            }
            if *stage.borrow() != Stage::Running {
                return None;
            }
            tokio::select! {
                _ = self.ticks.tick() => {}
                () = draining(&mut stage) => {}
            }
        }
    }
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}
