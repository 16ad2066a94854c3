//! Redis Streams: a transaction of a thousand entries after the other, each synced before it is answered.

use std::net::SocketAddr;

use super::{BATCH, BATCHES_IN_FLIGHT, Target, data};
use crate::components::Component;

pub(super) struct Redis;

impl Target for Redis {
    const NAME: &'static str = "redis";

    async fn prepare(_component: &Component) {}

    fn subscription(address: SocketAddr) -> String {
        format!(
            "max_in_flight = {BATCHES_IN_FLIGHT}\nbatch = {{ max_events = {BATCH} }}\n[subscriptions.sink]\nkind = \"redis\"\n\
             servers = [\"redis://{address}\"]\nstream = \"events\"\n"
        )
    }

    async fn bare(address: SocketAddr, events: u64) {
        let client = redis::Client::open(format!("redis://{address}")).unwrap();
        let config = redis::AsyncConnectionConfig::new().set_response_timeout(None);
        let connection = client.get_multiplexed_async_connection_with_config(&config).await.unwrap();
        let batches = events / BATCH as u64;
        let lanes = (0..BATCHES_IN_FLIGHT as u64).map(|lane| {
            let mut connection = connection.clone();
            tokio::spawn(async move {
                let data = data();
                for batch in (lane..batches).step_by(BATCHES_IN_FLIGHT) {
                    let mut pipeline = redis::pipe();
                    pipeline.atomic();
                    for event in (batch * BATCH as u64..).take(BATCH) {
                        let id = format!("019c12f0-0000-7000-8000-{event:012x}");
                        pipeline
                            .cmd("XADD")
                            .arg("bare")
                            .arg("*")
                            .arg("id")
                            .arg(id)
                            .arg("type")
                            .arg("order.created");
                        pipeline
                            .arg("source")
                            .arg("/shop")
                            .arg("time")
                            .arg("2026-01-31T12:00:00Z")
                            .arg("data")
                            .arg(&data);
                        pipeline.ignore();
                    }
                    let () = pipeline.query_async(&mut connection).await.unwrap();
                }
            })
        });
        for lane in lanes.collect::<Vec<_>>() {
            lane.await.unwrap();
        }
    }
}
