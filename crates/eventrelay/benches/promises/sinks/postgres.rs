//! PostgreSQL, exactly once: a statement of a thousand rows after the other on one connection.

use std::net::SocketAddr;

use tokio_postgres::NoTls;
use tokio_postgres::types::ToSql;

use super::{BATCH, Target, data, once_ready};
use crate::components::Component;

pub(super) struct Postgres;

const CREATE: &str = "CREATE TABLE bare (event_id uuid NOT NULL, event_offset bigint NOT NULL, tenant text NOT NULL, \
    type text NOT NULL, source text NOT NULL, subject text, key text, time timestamptz NOT NULL, received_at timestamptz \
    NOT NULL, content_type text, headers jsonb, data jsonb)";

const INSERT: &str = "INSERT INTO bare SELECT unnest($1::text[])::uuid, unnest($2::bigint[]), unnest($3::text[]), \
    unnest($4::text[]), unnest($5::text[]), unnest($6::text[]), unnest($7::text[]), unnest($8::text[])::timestamptz, \
    unnest($8::text[])::timestamptz, unnest($9::text[]), unnest($10::text[])::jsonb, unnest($11::text[])::jsonb";

impl Target for Postgres {
    const NAME: &'static str = "postgres";

    async fn prepare(component: &Component) {
        connect(component.address()).await.batch_execute(CREATE).await.unwrap();
    }

    fn subscription(address: SocketAddr) -> String {
        let port = address.port();
        format!(
            "order = \"strict\"\n[subscriptions.sink]\nkind = \"postgres\"\nhost = \"127.0.0.1\"\nport = {port}\n\
             database = \"postgres\"\nuser = \"eventrelay\"\npassword = \"eventrelay\"\nplaintext = true\ntable = \"events\"\n\
             create_table = true\nexactly_once = true\nbatch_events = {BATCH}\n"
        )
    }

    async fn bare(address: SocketAddr, events: u64) {
        let client = connect(address).await;
        let statement = client.prepare(INSERT).await.unwrap();
        let times = vec!["2026-01-31T12:00:00Z"; BATCH];
        let same = |text: &'static str| vec![text; BATCH];
        let (tenants, types, sources) = (same("default"), same("order.created"), same("/shop"));
        let (nothing, content_types) = (vec![None::<&str>; BATCH], same("application/json"));
        let data = vec![data(); BATCH];
        for first in (0..events).step_by(BATCH) {
            let offsets: Vec<i64> = (first..).take(BATCH).map(u64::cast_signed).collect();
            let ids: Vec<String> =
                offsets.iter().map(|offset| format!("019c12f0-0000-7000-8000-{offset:012x}")).collect();
            let columns: [&(dyn ToSql + Sync); 11] = [
                &ids,
                &offsets,
                &tenants,
                &types,
                &sources,
                &nothing,
                &nothing,
                &times,
                &content_types,
                &nothing,
                &data,
            ];
            assert_eq!(client.execute(&statement, &columns).await.unwrap(), BATCH as u64);
        }
    }
}

async fn connect(address: SocketAddr) -> tokio_postgres::Client {
    let settings =
        format!("host=127.0.0.1 port={} dbname=postgres user=eventrelay password=eventrelay", address.port());
    let (client, connection) = once_ready(async || tokio_postgres::connect(&settings, NoTls).await).await;
    tokio::spawn(connection);
    client
}
