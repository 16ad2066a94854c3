//! `ingestpb.Ingestor`: the contract of a streaming relay.
//!
//! Each message is one event of type `log` and source `/ingestpb`, with its `data` as they are. Its `id`, unless empty,
//! is the event's id, so a message that is sent again under the same id is stored once. Its `timestamp`, unless 0, is the
//! header `timestamp`: the contract does not say in which unit it is. `ok` is false when the message was not stored.

use bytes::Bytes;
use eventrelay_event::{Data, Event, Tenant};
use tonic::{Request, Response, Status, Streaming};

use super::pipeline::{self, Answered, Answers, Batch, Dialect};
use super::refusals::Refused;
use super::service::{Call, Shared};
use crate::proto::ingestpb::ingestor_server::Ingestor;
use crate::proto::ingestpb::{Ack, LogEvent};

const EVENT_TYPE: &str = "log";
const SOURCE: &str = "/ingestpb";

#[tonic::async_trait]
impl Ingestor for Call {
    type StreamLogsStream = Answers<Ack>;

    async fn stream_logs(
        &self,
        request: Request<Streaming<LogEvent>>,
    ) -> Result<Response<Self::StreamLogsStream>, Status> {
        Ok(Response::new(pipeline::start(self, StreamLogs, request.into_inner())?))
    }
}

/// Messages that are one event each, and one answer for each.
struct StreamLogs;

impl Dialect for StreamLogs {
    type Request = LogEvent;
    type Response = Ack;

    fn read(&mut self, _: &Shared, tenant: &Tenant, request: LogEvent) -> Result<Batch, Refused> {
        let mut event = Event::new(tenant.clone(), EVENT_TYPE.to_owned(), SOURCE.to_owned());
        event.id = Some(request.id).filter(|id| !id.is_empty());
        event.headers = timestamp_header(request.timestamp);
        event.data = Some(request.data).filter(|data: &Bytes| !data.is_empty()).map(Data::binary);
        Ok(Batch { sequence: 0, events: Ok(vec![event]) })
    }

    fn write(&self, answered: impl Iterator<Item = Answered>) -> Vec<Ack> {
        answered.map(|answered| Ack { ok: answered.outcome.is_ok() }).collect()
    }
}

/// A client's number for a time, kept as it is.
pub(super) fn timestamp_header(timestamp: i64) -> Vec<(String, String)> {
    if timestamp == 0 { Vec::new() } else { vec![("timestamp".to_owned(), timestamp.to_string())] }
}
