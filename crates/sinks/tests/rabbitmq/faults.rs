//! A broker that is not there, blocks, hangs, goes away or comes back empty.

use std::sync::Arc;
use std::time::{Duration, Instant};

use eventrelay_sinks::Sink;
use serde_json::json;

use crate::broker_events::{batch, deliver, deliver_all, deliver_in_the_end, ids, retried, until};
use crate::components::Component;
use crate::delivering::threads_of_lapin;
use crate::management::Management;
use crate::{broker, tls};

fn sorted_ids(management: Management, queue: &str) -> Vec<String> {
    let mut ids = management.ids(queue);
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// Scenes in one broker's life.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_with_faults_gets_all_in_the_end() {
    let Some((mut component, management)) = broker::start() else { return };
    management.exchange_and_queue("events", "events", "#");
    let quick = json!({"timeout_ms": 1500, "connect_timeout_ms": 1000});
    let sink = broker::sink(&component, &quick);
    a_broker_that_blocks_is_waited_for(&component, management, &sink).await;
    a_broker_that_hangs_is_given_up_in_time(&component, management, &sink).await;
    a_broker_that_dies_in_the_middle_is_noticed(&mut component, &sink).await;
    let tls_port = a_broker_that_comes_back_empty_is_waited_for(&mut component, &sink).await;
    tls::a_certificate_must_be_the_brokers(&component, tls_port).await;
    drop(sink);
    until(async || threads_of_lapin() == 0).await;
}

async fn a_broker_that_blocks_is_waited_for(
    component: &Component,
    management: Management,
    sink: &Arc<dyn Sink>,
) {
    let batch = batch("blocked", 0..50);
    deliver_all(sink, &batch[..1]).await;
    broker::control(component, &["set_vm_memory_high_watermark", "0.000001"]);
    until(async || {
        let outcome = deliver(sink, &batch[..1]).await.remove(0);
        matches!(&outcome, eventrelay_sinks::Outcome::Retry { why, .. } if why.contains("blocked"))
    })
    .await;
    // From now on it is known at once.
    let began = Instant::now();
    let outcomes = deliver(sink, &batch).await;
    assert!(outcomes.iter().all(|outcome| retried(outcome).contains("low on memory")), "{outcomes:?}");
    assert!(began.elapsed() < Duration::from_millis(1000));
    assert_eq!(threads_of_lapin(), 1, "the connection is kept");
    broker::control(component, &["set_vm_memory_high_watermark", "0.4"]);
    deliver_in_the_end(sink, &batch).await;
    assert_eq!(sorted_ids(management, "events"), ids(&batch));
}

async fn a_broker_that_hangs_is_given_up_in_time(
    component: &Component,
    management: Management,
    sink: &Arc<dyn Sink>,
) {
    let batch = batch("hung", 100..400);
    component.freeze();
    let outcomes = deliver(sink, &batch).await;
    assert!(
        outcomes.iter().all(|outcome| retried(outcome).contains("did not confirm in time")),
        "{outcomes:?}"
    );
    // New connections come to nothing, and leave nothing behind.
    for _ in 0..3 {
        let outcomes = deliver(sink, &batch).await;
        assert!(outcomes.iter().all(|outcome| retried(outcome).contains("to let us in")), "{outcomes:?}");
    }
    until(async || threads_of_lapin() == 0).await;
    component.thaw();
    deliver_in_the_end(sink, &batch).await;
    let stored = sorted_ids(management, "events");
    assert!(ids(&batch).iter().all(|id| stored.contains(id)));
}

async fn a_broker_that_dies_in_the_middle_is_noticed(component: &mut Component, sink: &Arc<dyn Sink>) {
    let batch = Arc::new(batch("died", 500..800));
    let patient = broker::sink(component, &json!({"timeout_ms": 20_000}));
    deliver_all(&patient, &batch[..1]).await;
    component.freeze();
    let delivery = tokio::spawn({
        let (patient, batch) = (Arc::clone(&patient), Arc::clone(&batch));
        async move { deliver(&patient, &batch).await }
    });
    tokio::task::yield_now().await;
    let began = Instant::now();
    component.kill();
    let outcomes = delivery.await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(10), "the death was not noticed");
    assert!(outcomes.iter().all(|outcome| !retried(outcome).is_empty()));
    // The other sink's own connection may be found broken first.
    until(async || {
        let outcomes = deliver(sink, &batch).await;
        outcomes.iter().all(|outcome| retried(outcome).contains("cannot be connected to"))
    })
    .await;
    component.resume();
    deliver_in_the_end(&patient, &batch).await;
    let stored = sorted_ids(broker::management(component), "events");
    assert!(ids(&batch).iter().all(|id| stored.contains(id)));
    assert!(stored.len() >= 650, "what it had confirmed before it died, it still has: {}", stored.len());
}

/// It comes back with TLS too, to save another start. Answers the port of that.
async fn a_broker_that_comes_back_empty_is_waited_for(
    component: &mut Component,
    sink: &Arc<dyn Sink>,
) -> u16 {
    let batch = batch("empty", 900..950);
    component.kill();
    component.lose_everything();
    let tls_port = tls::prepare(component);
    component.resume();
    until(async || retried(&deliver(sink, &batch).await[0]).contains("no exchange 'events'")).await;
    let management = broker::management(component);
    management.exchange_and_queue("events", "events", "#");
    deliver_in_the_end(sink, &batch).await;
    assert_eq!(sorted_ids(management, "events"), ids(&batch));
    tls_port
}
