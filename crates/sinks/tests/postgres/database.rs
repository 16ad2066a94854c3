//! A server of the test's own, sinks into it, and a second client that looks at what is there.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use eventrelay_event::json::Limits;
use eventrelay_event::{Data, Event, StoredEvent, Tenant};
use eventrelay_sinks::egress::AddressPolicy;
use eventrelay_sinks::{Delivery, Environment, Outcome, Owner, Purpose, Sink, build};
use serde_json::{Value, json};
use tokio_postgres::{Client, NoTls};

use crate::components::Component;

/// 2026-01-31T12:00:00.000123Z
const APPENDED_MICROS: u64 = 1_769_860_800_000_123;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// What an operator sets who tests on loopback.
pub(crate) fn loopback() -> Environment {
    Environment {
        addresses: AddressPolicy::private_allowed(),
        trusted_settings: true,
        ..Environment::default()
    }
}

pub(crate) fn owner() -> Owner {
    Owner { tenant: "default".to_owned(), subscription: "s".to_owned(), log_id: [7; 16] }
}

/// A server with a client of the test's own.
pub(crate) struct Database {
    pub(crate) component: Component,
    pub(crate) client: Client,
}

impl Database {
    /// None when PostgreSQL is not installed.
    pub(crate) async fn start() -> Option<Self> {
        let component = Component::start("postgres")?;
        let client = connect(component.port()).await;
        Some(Self { component, client })
    }

    /// Starts the server again after it was killed.
    pub(crate) async fn resume(&mut self) {
        self.component.resume();
        self.client = connect(self.component.port()).await;
    }

    pub(crate) async fn execute(&self, sql: &str) {
        self.client.batch_execute(sql).await.unwrap();
    }

    /// Locks a table until the client that is returned is told otherwise. A client of its own, since one that is in a
    /// transaction sees what others do as it was at first.
    pub(crate) async fn locked(&self, table: &str) -> Client {
        let client = connect(self.component.port()).await;
        client.batch_execute(&format!("BEGIN; LOCK TABLE {table}")).await.unwrap();
        client
    }

    /// Waits until so many statements of sinks wait for a lock.
    pub(crate) async fn until_blocked(&self, count: i64) {
        let blocked = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'eventrelay' AND wait_event_type = 'Lock'";
        self.until(blocked, count).await;
    }

    /// Waits until a count is what it should be.
    pub(crate) async fn until(&self, sql: &str, expected: i64) {
        let waiting = async { while self.count(sql).await != expected {} };
        tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{sql} is not {expected}"));
    }

    /// The first column of every row, as text.
    pub(crate) async fn texts(&self, sql: &str) -> Vec<String> {
        let sql = format!("SELECT value::text FROM ({sql}) AS found (value)");
        let rows = self.client.query(&sql, &[]).await.unwrap();
        rows.iter().map(|row| row.get::<_, Option<String>>(0).unwrap_or_default()).collect()
    }

    /// The offsets in the table `events`, in the order in which they were inserted.
    pub(crate) async fn offsets(&self) -> Vec<u64> {
        let rows = self.client.query("SELECT event_offset FROM events ORDER BY ctid", &[]).await.unwrap();
        rows.iter().map(|row| u64::try_from(row.get::<_, i64>(0)).unwrap()).collect()
    }

    pub(crate) async fn count(&self, sql: &str) -> i64 {
        self.client.query_one(sql, &[]).await.unwrap().get(0)
    }

    /// A sink into the table `events`, which it creates.
    pub(crate) fn sink(&self, extra: &Value) -> Arc<dyn Sink> {
        sink_at(self.component.port(), extra)
    }
}

/// Tries until the server takes logins: it listens a moment before.
async fn connect(port: u16) -> Client {
    let config = format!("host=127.0.0.1 port={port} user=eventrelay password=eventrelay dbname=postgres");
    let config: tokio_postgres::Config = config.parse().unwrap();
    let trying = async {
        loop {
            let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await;
            if let Ok(stream) = stream
                && let Ok((client, connection)) = config.connect_raw(stream, NoTls).await
            {
                tokio::spawn(connection);
                return client;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, trying).await.expect("the server takes logins")
}

pub(crate) fn settings(port: u16, extra: &Value) -> Value {
    let mut settings = json!({
        "host": "127.0.0.1", "port": port, "database": "postgres", "user": "eventrelay", "password": "eventrelay",
        "plaintext": true, "table": "events", "create_table": true,
    });
    settings.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    settings
}

pub(crate) fn sink_at(port: u16, extra: &Value) -> Arc<dyn Sink> {
    build("postgres", &settings(port, extra), &owner(), &loopback()).unwrap()
}

/// An event of the type `order.created` with JSON data.
pub(crate) fn event(json: &str) -> Event {
    Event {
        data: Some(Data::json(Bytes::from(json.to_owned()), &Limits::default()).unwrap()),
        ..Event::new(Tenant::default(), "order.created".to_owned(), "/shop".to_owned())
    }
}

pub(crate) fn delivery(offset: u64, event: &Event) -> Delivery {
    let mut record = Vec::new();
    StoredEvent::encode(event, &mut record);
    Delivery {
        event: StoredEvent::decode(offset, APPENDED_MICROS + offset, Bytes::from(record)).unwrap(),
        attempt: 1,
        purpose: Purpose::Live,
        span: None,
        keep_exchange: false,
    }
}

/// First tries of events at these offsets, whose data is `{"n": offset}`.
pub(crate) fn live(offsets: impl IntoIterator<Item = u64>) -> Vec<Delivery> {
    offsets.into_iter().map(|offset| delivery(offset, &event(&format!(r#"{{"n": {offset}}}"#)))).collect()
}

pub(crate) fn with_purpose(purpose: Purpose, offsets: impl IntoIterator<Item = u64>) -> Vec<Delivery> {
    live(offsets).into_iter().map(|delivery| Delivery { purpose, ..delivery }).collect()
}

/// Delivers a batch, which has an outcome for each event, in time.
pub(crate) async fn deliver(sink: &Arc<dyn Sink>, batch: &[Delivery]) -> Vec<Outcome> {
    let attempts = tokio::time::timeout(PATIENCE, sink.deliver(batch)).await.expect("a call has an end");
    assert_eq!(attempts.len(), batch.len());
    attempts.into_iter().map(|attempt| attempt.outcome).collect()
}

/// Delivers what is left of a batch again and again, as a dispatcher does with strict order, until all of it is settled.
pub(crate) async fn deliver_until_settled(sink: &Arc<dyn Sink>, batch: &[Delivery]) -> Vec<Outcome> {
    let mut settled = Vec::new();
    let trying = async {
        while settled.len() < batch.len() {
            let outcomes = deliver(sink, &batch[settled.len()..]).await;
            settled.extend(outcomes.into_iter().take_while(|it| !matches!(it, Outcome::Retry { .. })));
        }
    };
    tokio::time::timeout(PATIENCE, trying).await.expect("all is settled in the end");
    settled
}

pub(crate) fn all_delivered(outcomes: &[Outcome]) {
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Delivered), "{outcomes:?}");
}

/// The reason why all of a batch is to be tried again.
pub(crate) fn all_retried(outcomes: &[Outcome]) -> &str {
    match &outcomes[0] {
        Outcome::Retry { why, .. } => {
            assert!(outcomes.iter().all(|outcome| outcome == &outcomes[0]), "{outcomes:?}");
            why
        }
        other => panic!("not a retry: {other:?}"),
    }
}

pub(crate) fn rejected(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Reject { why } => why,
        other => panic!("not rejected: {other:?}"),
    }
}
