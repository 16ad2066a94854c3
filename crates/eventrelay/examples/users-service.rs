//! A service that embeds the relay: it makes users, publishes `user.created` after that, and has the events batched into
//! PostgreSQL behind its back.
//!
//! ```sh
//! DB_CONN_STRING='postgres://eventrelay:eventrelay@127.0.0.1:15432/postgres?sslmode=disable' EVENT_CONSUMER_TYPE=wal \
//!     cargo run --example users-service
//! curl -i http://127.0.0.1:8081/users -d '{"name":"Ada","email":"ada@example.com"}'
//! ```
//!
//! | variable | default | |
//! |---|---|---|
//! | `PORT` | `8081` | where it listens, on loopback |
//! | `DB_CONN_STRING` | none: nothing is delivered | where the table `user_events` is, made when missing |
//! | `EVENT_CONSUMER_TYPE` | `wal` | `wal`: a user is answered once its event is on the disk; `gochannel`: once it is in memory |
//! | `DATA_DIRECTORY` | `./data/users-service` | where the log is |

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use eventrelay::{Config, LogSync, Relay, StartOptions};
use eventrelay_event::{Data, Event, Tenant, json};
use eventrelay_ingest::Publisher;
use eventrelay_sinks::postgres;
use eventrelay_state::Subscription;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

type AnyError = Box<dyn Error + Send + Sync>;

const MAX_BODY_BYTES: usize = 64 * 1024;
const MAX_CONNECTIONS: usize = 1024;

#[derive(Deserialize)]
struct NewUser {
    name: String,
    email: String,
}

#[derive(Serialize)]
struct User {
    id: u64,
    name: String,
    email: String,
}

/// What requests share.
struct Users {
    publisher: Arc<Publisher>,
    next_id: AtomicU64,
}

#[tokio::main]
async fn main() -> Result<(), AnyError> {
    // TLS wants one cryptography provider for the process.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let relay = Relay::start(configuration()?, StartOptions::default()).await?;
    let users = Arc::new(Users { publisher: Arc::clone(relay.publisher()), next_id: AtomicU64::new(1) });
    let port = variable("PORT").map_or(Ok(8081), |port| port.parse())?;
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
    println!("Listening on http://{}", listener.local_addr()?);
    serve(listener, users).await?;
    // What is published is delivered, or kept for the next start.
    relay.shutdown().await;
    Ok(())
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}

/// A relay without front doors of its own that anybody would find, and one subscription.
fn configuration() -> Result<Config, AnyError> {
    let data_directory = variable("DATA_DIRECTORY").unwrap_or_else(|| "./data/users-service".to_owned());
    let mut config = Config { data_directory: data_directory.into(), ..Config::default() };
    config.http.listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    config.tcp.frames_listen = "off".parse()?;
    config.grpc.enabled = false;
    config.log.sync = match variable("EVENT_CONSUMER_TYPE").as_deref() {
        None | Some("wal") => LogSync::Commit,
        Some("gochannel") => LogSync::Never,
        Some(other) => return Err(format!("EVENT_CONSUMER_TYPE is gochannel or wal, not {other}").into()),
    };
    if let Some(dsn) = variable("DB_CONN_STRING") {
        // The database is the operator's own.
        config.egress.allow_private_addresses = true;
        config.subscriptions = vec![to_postgres(&dsn)?];
    }
    Ok(config)
}

fn to_postgres(dsn: &str) -> Result<Subscription, AnyError> {
    let mut sink = Value::Object(postgres::settings_of_dsn(dsn)?);
    sink["kind"] = json!("postgres");
    sink["table"] = json!("user_events");
    sink["create_table"] = json!(true);
    sink["on_conflict"] = json!(["event_id"]);
    Ok(serde_json::from_value(json!({"name": "users-to-postgres", "start": "earliest", "sink": sink}))?)
}

/// Answers until Ctrl-C, and then what is in flight.
async fn serve(listener: TcpListener, users: Arc<Users>) -> Result<(), AnyError> {
    let (connections, places) = (TaskTracker::new(), Arc::new(Semaphore::new(MAX_CONNECTIONS)));
    loop {
        let place = Arc::clone(&places).acquire_owned().await?;
        let (stream, _) = tokio::select! {
            accepted = listener.accept() => accepted?,
            _ = tokio::signal::ctrl_c() => break,
        };
        let users = Arc::clone(&users);
        connections.spawn(async move {
            let _place = place;
            let service = service_fn(move |request| answer(Arc::clone(&users), request));
            let mut http = hyper::server::conn::http1::Builder::new();
            http.timer(TokioTimer::new()).keep_alive(false);
            if let Err(error) = http.serve_connection(TokioIo::new(stream), service).await {
                eprintln!("a connection ended early: {error}");
            }
        });
    }
    connections.close();
    connections.wait().await;
    Ok(())
}

async fn answer(users: Arc<Users>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, AnyError> {
    let (status, body) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/healthz") => (StatusCode::OK, json!({"status": "ok"})),
        (&Method::POST, "/users") => create(&users, request).await,
        _ => (StatusCode::NOT_FOUND, json!({"error": "there is no such thing"})),
    };
    let mut response = Response::new(Full::from(body.to_string()));
    *response.status_mut() = status;
    Ok(response)
}

/// The business logic, and behind it the event.
async fn create(users: &Users, request: Request<Incoming>) -> (StatusCode, Value) {
    let failed = |status, why: String| (status, json!({"error": why}));
    let body = match Limited::new(request.into_body(), MAX_BODY_BYTES).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return failed(StatusCode::BAD_REQUEST, error.to_string()),
    };
    let new: NewUser = match serde_json::from_slice(&body) {
        Ok(new) => new,
        Err(error) => return failed(StatusCode::BAD_REQUEST, error.to_string()),
    };
    let id = users.next_id.fetch_add(1, Ordering::Relaxed);
    let user = json!(User { id, name: new.name, email: new.email });
    let mut event = Event::new(Tenant::default(), "user.created".to_owned(), "/users-service".to_owned());
    event.data = match Data::json(user.to_string().into(), &json::Limits::default()) {
        Ok(data) => Some(data),
        Err(error) => return failed(StatusCode::BAD_REQUEST, error.to_string()),
    };
    match users.publisher.publish(vec![event]).await {
        Ok(_) => (StatusCode::CREATED, user),
        Err(error) => failed(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
    }
}
