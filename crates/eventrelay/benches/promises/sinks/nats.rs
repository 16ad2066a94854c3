//! NATS JetStream, which syncs every message before it acknowledges it.

use std::net::SocketAddr;

use async_nats::HeaderMap;
use async_nats::jetstream::{self, context::PublishAckFuture};
use futures_util::future::try_join_all;

use super::{BATCH, BATCHES_IN_FLIGHT, Target, data, once_ready};
use crate::components::Component;

pub(super) struct Nats;

impl Target for Nats {
    const NAME: &'static str = "nats";

    async fn prepare(component: &Component) {
        let subjects = vec!["events.>".to_owned(), "bare.>".to_owned()];
        let stream = jetstream::stream::Config { name: "EVENTS".to_owned(), subjects, ..Default::default() };
        let context = connect(component.address()).await;
        once_ready(async || context.create_stream(stream.clone()).await).await;
    }

    fn subscription(address: SocketAddr) -> String {
        format!(
            "max_in_flight = {BATCHES_IN_FLIGHT}\nbatch = {{ max_events = {BATCH} }}\n[subscriptions.sink]\nkind = \"nats\"\n\
             servers = [\"nats://{address}\"]\nsubject = \"events.{{type}}\"\n"
        )
    }

    async fn bare(address: SocketAddr, events: u64) {
        let stream = connect(address).await;
        let batches = events / BATCH as u64;
        let lanes = (0..BATCHES_IN_FLIGHT as u64).map(|lane| {
            let stream = stream.clone();
            tokio::spawn(async move {
                for batch in (lane..batches).step_by(BATCHES_IN_FLIGHT) {
                    publish(&stream, batch * BATCH as u64).await;
                }
            })
        });
        for lane in lanes.collect::<Vec<_>>() {
            lane.await.unwrap();
        }
    }
}

async fn publish(stream: &jetstream::Context, first: u64) {
    let data = bytes::Bytes::from(data());
    let mut acks: Vec<PublishAckFuture> = Vec::with_capacity(BATCH);
    for event in (first..).take(BATCH) {
        let id = format!("019c12f0-0000-7000-8000-{event:012x}");
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", id.as_str());
        headers.insert("ce-specversion", "1.0");
        headers.insert("ce-id", id.as_str());
        headers.insert("ce-source", "/shop");
        headers.insert("ce-type", "order.created");
        headers.insert("ce-time", "2026-01-31T12:00:00Z");
        headers.insert("content-type", "application/json");
        acks.push(stream.publish_with_headers("bare.order.created", headers, data.clone()).await.unwrap());
    }
    try_join_all(acks.into_iter().map(IntoFuture::into_future)).await.unwrap();
}

async fn connect(address: SocketAddr) -> jetstream::Context {
    let client = async_nats::connect(format!("nats://{address}")).await.unwrap();
    let mut context = jetstream::new(client);
    context.set_timeout(std::time::Duration::from_secs(60));
    context
}
