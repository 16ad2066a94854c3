//! `eventrelay.v1.EventRelay`: our own API.

use std::pin::Pin;

use futures_util::Stream;
use prost::Message;
use tonic::{Request, Response, Status, Streaming};

use super::pipeline::{self, Answers};
use super::publish_stream::PublishStream;
use super::refusals::Refused;
use super::service::Call;
use super::{consume, messages, status, subscribe};
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
        let mut events = self.shared.events(request.events, access.tenant()).map_err(Refused::into_status)?;
        self.apply_trace(&mut events);
        let receipts = self.shared.publish(access, events, bytes).await.map_err(Refused::into_status)?;
        Ok(Response::new(v1::PublishResponse { receipts: messages::receipts(&receipts) }))
    }

    type PublishStreamStream = Answers<v1::PublishStreamResponse>;

    async fn publish_stream(
        &self,
        request: Request<Streaming<v1::PublishStreamRequest>>,
    ) -> Result<Response<Self::PublishStreamStream>, Status> {
        Ok(Response::new(pipeline::start(self, PublishStream::default(), request.into_inner())?))
    }

    async fn get_event(
        &self,
        request: Request<v1::GetEventRequest>,
    ) -> Result<Response<v1::GetEventResponse>, Status> {
        let found = status::stored(&self.shared, self.access()?, &request.into_inner().id).await;
        let found = found.and_then(|found| found.ok_or_else(Refused::event_not_found));
        let event = found.map_err(Refused::into_status)?;
        Ok(Response::new(v1::GetEventResponse { event: Some(messages::stored_event(&event)) }))
    }

    async fn get_status(
        &self,
        request: Request<v1::GetStatusRequest>,
    ) -> Result<Response<v1::GetStatusResponse>, Status> {
        let found = status::find(&self.shared, self.access()?, &request.into_inner().id).await;
        let found = found.and_then(|found| found.ok_or_else(Refused::event_not_found));
        Ok(Response::new(found.map_err(Refused::into_status)?.into_message()))
    }

    type SubscribeStream = Pin<Box<dyn Stream<Item = Result<v1::SubscribeResponse, Status>> + Send>>;

    async fn subscribe(
        &self,
        request: Request<v1::SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let opened = subscribe::open(&self.shared, self.access()?, request.into_inner()).await;
        Ok(Response::new(Box::pin(opened.map_err(Refused::into_status)?)))
    }

    type ConsumeStream = consume::Answers;

    async fn consume(
        &self,
        request: Request<Streaming<v1::ConsumeRequest>>,
    ) -> Result<Response<Self::ConsumeStream>, Status> {
        Ok(Response::new(consume::start(self, request.into_inner()).await?))
    }
}
