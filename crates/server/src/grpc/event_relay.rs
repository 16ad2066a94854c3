//! `eventrelay.v1.EventRelay`: our own API.

use std::pin::Pin;

use futures_util::Stream;
use prost::Message;
use tonic::{Code, Request, Response, Status, Streaming};

use super::pipeline::{self, Answers};
use super::publish_stream::PublishStream;
use super::refusals::Refused;
use super::service::Call;
use super::{messages, subscribe};
use crate::proto::v1;
use crate::proto::v1::event_relay_server::EventRelay;

#[tonic::async_trait]
impl EventRelay for Call {
    async fn publish(
        &self,
        request: Request<v1::PublishRequest>,
    ) -> Result<Response<v1::PublishResponse>, Status> {
        let request = request.into_inner();
        let bytes = request.encoded_len();
        let access = self.access()?;
        let events = self.shared.events(request.events, access.tenant()).map_err(Refused::into_status)?;
        let receipts = self.shared.publish(access, events, bytes).await.map_err(Refused::into_status)?;
        Ok(Response::new(v1::PublishResponse { receipts: messages::receipts(&receipts) }))
    }

    type PublishStreamStream = Answers<v1::PublishStreamResponse>;

    async fn publish_stream(
        &self,
        request: Request<Streaming<v1::PublishStreamRequest>>,
    ) -> Result<Response<Self::PublishStreamStream>, Status> {
        let dialect = PublishStream::default();
        let answers = pipeline::start(
            self.shared.clone(),
            &self.tasks,
            self.access()?.clone(),
            dialect,
            request.into_inner(),
        );
        Ok(Response::new(answers.map_err(Refused::into_status)?))
    }

    async fn get_event(
        &self,
        request: Request<v1::GetEventRequest>,
    ) -> Result<Response<v1::GetEventResponse>, Status> {
        // What is no id, what is nobody's and what is another tenant's answer alike.
        let absent =
            || Refused::new(Code::NotFound, "event_not_found", "there is no such event").into_status();
        let id = request.into_inner().id.parse().map_err(|_| absent())?;
        let found = self.shared.publisher.find(id, self.access()?.tenant()).await;
        let event = found.map_err(|error| Refused::from(error).into_status())?.ok_or_else(absent)?;
        Ok(Response::new(v1::GetEventResponse { event: Some(messages::stored_event(&event)) }))
    }

    type SubscribeStream = Pin<Box<dyn Stream<Item = Result<v1::SubscribeResponse, Status>> + Send>>;

    async fn subscribe(
        &self,
        request: Request<v1::SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let opened = subscribe::open(&self.shared, self.access()?, request.into_inner()).await;
        Ok(Response::new(Box::pin(opened.map_err(Refused::into_status)?)))
    }
}
