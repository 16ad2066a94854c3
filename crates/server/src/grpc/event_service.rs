//! `event.EventService`: the contract of a job-tracked ingester.
//!
//! A request is one event of type `event` and source `/event.EventService`. Its `event_id`, unless empty, is the event's
//! id, so a request that is sent again is accepted once, and answered with the same job. Its `payload` is JSON data when
//! it is JSON, and text otherwise. Its `timestamp`, unless 0, is the header `timestamp`: the contract does not say in which
//! unit it is. The job's id is the event's id in the log.
//!
//! What is wrong with an event is told by `accepted: false` and a message that begins with the stable code. What is wrong
//! with the server ends the call with a status, so that clients repeat it.
//!
//! A job is asked for by its id, and answers `processing`, `done` or `failed` as the event does; what is no job of the
//! key's tenant is `not found`, which is an answer of this contract and no refusal.

use bytes::Bytes;
use eventrelay_event::{Data, Event, Tenant};
use tonic::{Request, Response, Status};

use super::ingestor::timestamp_header;
use super::refusals::Refused;
use super::service::{Call, Shared};
use super::status;
use crate::deliveries::EventStatus;
use crate::proto::event::event_service_server::EventService;
use crate::proto::event::{EventRequest, EventResponse, StatusRequest, StatusResponse};

const EVENT_TYPE: &str = "event";
const SOURCE: &str = "/event.EventService";

#[tonic::async_trait]
impl EventService for Call {
    async fn ingest_event(&self, request: Request<EventRequest>) -> Result<Response<EventResponse>, Status> {
        let request = request.into_inner();
        let bytes = request.payload.len();
        let access = self.access()?;
        let mut events = vec![event(&self.shared, access.tenant(), request)];
        self.apply_trace(&mut events);
        let published = self.shared.publish(access, events, bytes).await;
        let answer = match published {
            Ok(receipts) => EventResponse {
                accepted: true,
                message: "accepted".to_owned(),
                job_id: receipts.first().map(|receipt| receipt.id.to_string()).unwrap_or_default(),
            },
            Err(refused) if refused.is_final() => {
                self.shared.metrics.count_refused(refused.code());
                let message = format!("{}: {}", refused.code(), refused.message());
                EventResponse { accepted: false, message, job_id: String::new() }
            }
            Err(refused) => return Err(refused.into_status()),
        };
        Ok(Response::new(answer))
    }

    async fn get_status(&self, request: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let found = status::find(&self.shared, self.access()?, &request.into_inner().job_id).await;
        let status = match found.map_err(Refused::into_status)?.map(|found| found.status()) {
            Some(EventStatus::Processing) => "processing",
            Some(EventStatus::Done) => "done",
            Some(EventStatus::Failed) => "failed",
            None => "not found",
        };
        Ok(Response::new(StatusResponse { status: status.to_owned() }))
    }
}

fn event(shared: &Shared, tenant: &Tenant, request: EventRequest) -> Event {
    let mut event = Event::new(tenant.clone(), EVENT_TYPE.to_owned(), SOURCE.to_owned());
    event.id = Some(request.event_id).filter(|id| !id.is_empty());
    event.headers = timestamp_header(request.timestamp);
    if request.payload.is_empty() {
        return event;
    }
    let payload = Bytes::from(request.payload);
    let limits = &shared.publisher.limits().events.json;
    event.data = Data::json(payload.clone(), limits).ok().or_else(|| {
        let content_type = "text/plain; charset=utf-8";
        event.content_type = Some(content_type.to_owned());
        // It came as a string, and whatever it holds that JSON forms cannot makes it binary.
        Data::of_body(Some(content_type), payload, limits).ok().flatten()
    });
    event
}
