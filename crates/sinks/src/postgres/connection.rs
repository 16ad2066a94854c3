//! One connection to the server: vetted, encrypted unless told otherwise, logged in, and set up the same whatever the
//! role's or database's own defaults are.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::{ChannelBinding, NoTls, TlsConnect};
use tokio_postgres::{Client, Config};
use tokio_util::task::AbortOnDropHandle;

use super::failure::Failure;
use super::settings::{KIND, Settings};
use crate::egress::{ClientTls, Connector, Endpoint, Protocols, Stream};
use crate::setting_files::SecretSource;
use crate::{BoxFuture, Environment, SinkError, host};

/// The lock under which tables are created: `eventrel` in ASCII.
const CREATION_LOCK: i64 = 0x6576_656e_7472_656c;

/// How long a closing connection may take to say so to the server.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Makes connections to one server.
pub(super) struct Dialler {
    connector: Connector,
    /// TLS begins in the middle of PostgreSQL's own handshake, so the connector knows nothing of it.
    tls: Option<(ClientTls, ServerName<'static>)>,
    config: Config,
    timeout: Duration,
    session: String,
}

/// A connection that is logged in.
pub(super) struct Connection {
    pub(super) client: Client,
    driver: AbortOnDropHandle<()>,
    used: Instant,
}

impl Dialler {
    /// Reads the files that the settings name; connects to nothing.
    ///
    /// # Errors
    /// Names the field that is wrong. Shows no secret.
    pub(super) fn new(settings: &Settings, environment: &Environment) -> Result<Self, SinkError> {
        let endpoint = |tls| host::endpoint(KIND, "host", &settings.host, settings.port, tls, environment);
        let tls = if settings.plaintext {
            None
        } else {
            let target: Endpoint = endpoint(true)?;
            let defaults = crate::TlsFiles::default();
            let files = settings.tls.as_ref().unwrap_or(&defaults);
            let tls = files.client_tls(KIND, Protocols::None, &target, environment)?;
            target.tls_name().cloned().map(|name| (tls, name))
        };
        let timeout = Duration::from_millis(settings.connect_timeout_ms);
        let connector = environment.connector(endpoint(false)?, None, timeout);
        let password = SecretSource {
            field: "password",
            value: settings.password.as_ref(),
            file: settings.password_file.as_deref(),
            env: settings.password_env.as_deref(),
        }
        .read(KIND, environment)?;
        let mut config = Config::new();
        config.user(&settings.user).dbname(&settings.database).application_name("eventrelay");
        config.ssl_mode(if tls.is_some() { SslMode::Require } else { SslMode::Disable });
        if let Some(password) = password {
            config.password(password.expose());
        }
        Ok(Self { connector, tls, config, timeout, session: session_settings(settings.timeout_ms) })
    }

    /// `host:port`.
    pub(super) fn endpoint(&self) -> &Endpoint {
        self.connector.endpoint()
    }

    /// Makes a connection. Safe to drop at any await.
    pub(super) async fn connect(&self, deadline: Instant) -> Result<Connection, Failure> {
        let deadline = deadline.min(Instant::now() + self.timeout);
        let logging_in = async {
            let stream = match self.connector.connect().await.map_err(Failure::Connect)?.stream {
                Stream::Plain(stream) => stream,
                Stream::Tls(_) => return Err(Failure::lost("TLS began before PostgreSQL asked for it")),
            };
            let connection = match &self.tls {
                None => Connection::begin(self.config.connect_raw(stream, NoTls).await),
                Some((tls, name)) => {
                    let tls = Tls { tls: tls.clone(), name: name.clone() };
                    Connection::begin(self.config.connect_raw(stream, tls).await)
                }
            }?;
            connection.client.batch_execute(&self.session).await.map_err(Failure::from)?;
            Ok(connection)
        };
        timeout_at(deadline, logging_in)
            .await
            .map_err(|_| Failure::lost(format!("{} did not let us log in in time", self.endpoint())))?
    }
}

/// What every connection begins with. What runs longer than a call may take has nobody who waits for it, so the server
/// ends it too; and a commit that is answered must be durable, whatever the role's default is.
fn session_settings(timeout_ms: u64) -> String {
    format!(
        "SET statement_timeout = {timeout_ms}; SET idle_in_transaction_session_timeout = {timeout_ms}; \
         SET client_min_messages = error; SET timezone = 'UTC'; \
         SET default_transaction_isolation = 'read committed'; SET default_transaction_deferrable = off; \
         SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
    )
}

impl Connection {
    fn begin<S>(
        connected: Result<(Client, tokio_postgres::Connection<TcpStream, S>), tokio_postgres::Error>,
    ) -> Result<Self, Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (client, mut connection) = connected?;
        // Notices are dropped: a trigger may put an event's data in them.
        let driver = tokio::spawn(async move {
            while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
                if let Err(error) = message {
                    tracing::debug!(%error, "a connection to PostgreSQL has ended");
                    break;
                }
            }
        });
        Ok(Self { client, driver: AbortOnDropHandle::new(driver), used: Instant::now() })
    }

    /// Runs what needs the connection, within the deadline.
    pub(super) async fn run<T>(
        &self,
        deadline: Instant,
        work: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Failure> {
        match timeout_at(deadline, work).await {
            Ok(result) => result.map_err(Failure::from),
            Err(_elapsed) => Err(Failure::lost("PostgreSQL did not answer in time")),
        }
    }

    /// Creates what is not there, by a statement with `IF NOT EXISTS`, and in no transaction.
    ///
    /// Of several who create it at the same moment PostgreSQL fails some all the same, so one is let in at a time.
    pub(super) async fn create(&self, deadline: Instant, sql: &str) -> Result<(), Failure> {
        // Sent together, both are one transaction, whose end gives the lock back.
        let sql = format!("SELECT pg_catalog.pg_advisory_xact_lock({CREATION_LOCK}); {sql}");
        self.run(deadline, self.client.batch_execute(&sql)).await
    }

    /// Says in the log when the server does not keep what it has acknowledged.
    pub(super) async fn warn_unless_durable(&self, deadline: Instant) -> Result<(), Failure> {
        const UNSAFE: &str = "SELECT name FROM pg_catalog.pg_settings \
                              WHERE name IN ('fsync', 'full_page_writes') AND setting = 'off'";
        for row in self.run(deadline, self.client.query(UNSAFE, &[])).await? {
            let setting: String = row.get(0);
            tracing::warn!(
                setting,
                "is off in PostgreSQL: a power cut there loses rows that count as delivered"
            );
        }
        Ok(())
    }

    /// Whether it can still be used, as far as is known. One that was idle for long may have been dropped on the way by
    /// somebody who told neither side.
    pub(super) fn is_usable(&self) -> bool {
        const TRUSTED_IDLE: Duration = Duration::from_secs(60);
        !self.client.is_closed() && self.used.elapsed() < TRUSTED_IDLE
    }

    /// Notes that it has just been used.
    pub(super) fn touch(&mut self) {
        self.used = Instant::now();
    }

    /// Says goodbye to the server.
    pub(super) async fn close(self) {
        let Self { client, driver, .. } = self;
        drop(client);
        if tokio::time::timeout(CLOSE_TIMEOUT, driver).await.is_err() {
            tracing::debug!("a connection to PostgreSQL was cut instead of closed");
        }
    }
}

/// Shakes hands once the server has agreed to TLS.
struct Tls {
    tls: ClientTls,
    name: ServerName<'static>,
}

impl TlsConnect<TcpStream> for Tls {
    type Stream = TlsStream;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<TlsStream>>;

    fn connect(self, stream: TcpStream) -> Self::Future {
        Box::pin(async move {
            let stream = self.tls.handshake(self.name, stream).await?;
            Ok(TlsStream(Stream::Tls(stream)))
        })
    }
}

/// An encrypted connection's bytes.
struct TlsStream(Stream);

impl tokio_postgres::tls::TlsStream for TlsStream {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
