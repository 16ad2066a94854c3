//! The front doors: opened together, one task each, and shut together.

use std::net::SocketAddr;
use std::sync::Arc;

use eventrelay_delivery::Engine;
use eventrelay_delivery::pull::Consumers;
use eventrelay_server::auth::{Accounts, ApiKeys};
use eventrelay_server::grpc::{GrpcMetrics, GrpcServer, GrpcServices};
use eventrelay_server::http::{HttpMetrics, HttpServer, Services};
use eventrelay_server::tcp::{TcpAddresses, TcpMetrics, TcpServer};
use eventrelay_server::tls::Certificates;
use eventrelay_server::{BindError, Configuration, Drained, SubscriptionsHealth};
use eventrelay_state::State;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Publisher;
use crate::Config;

/// Where the front doors listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// HTTP.
    pub http: SocketAddr,
    /// gRPC; none where it is switched off.
    pub grpc: Option<SocketAddr>,
    /// TCP, for frames and for lines.
    pub tcp: TcpAddresses,
}

/// What they count.
#[derive(Debug, Default)]
pub(super) struct FrontDoorMetrics {
    http: HttpMetrics,
    grpc: GrpcMetrics,
    tcp: TcpMetrics,
}

impl FrontDoorMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        self.http.register(registry);
        self.grpc.register(registry);
        self.tcp.register(registry);
    }
}

/// What they lead to.
pub(super) struct Parts {
    pub(super) publisher: Arc<Publisher>,
    pub(super) api_keys: Arc<ApiKeys>,
    pub(super) accounts: Arc<Accounts>,
    pub(super) log: eventrelay_log::Log,
    pub(super) state: State,
    pub(super) configuration: Arc<dyn Configuration>,
    pub(super) subscriptions: Arc<dyn SubscriptionsHealth>,
    pub(super) consumers: Consumers,
    pub(super) engine: Arc<Engine>,
    /// Complete: with the front doors' own metrics.
    pub(super) registry: Arc<Registry>,
}

/// Running front doors. Dropping them cuts off everything at once.
#[derive(Debug)]
pub(super) struct FrontDoors {
    addresses: Addresses,
    /// Of the doors that speak TLS.
    certificates: Vec<Certificates>,
    servers: JoinSet<Drained>,
    stop: watch::Sender<bool>,
}

/// How they were shut.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Shut {
    pub(super) cut_off_connections: usize,
    pub(super) failed: bool,
}

impl FrontDoors {
    /// Listens everywhere, and serves when that has succeeded. Blocking, where there are files of TLS to read.
    pub(super) fn open(config: &Config, parts: Parts, metrics: FrontDoorMetrics) -> Result<Self, BindError> {
        let (tcp_server, tcp) = TcpServer::bind(
            &config.tcp,
            Arc::clone(&parts.publisher),
            Arc::clone(&parts.api_keys),
            metrics.tcp,
        )?;
        let grpc_services = GrpcServices {
            publisher: Arc::clone(&parts.publisher),
            log: parts.log.clone(),
            api_keys: Arc::clone(&parts.api_keys),
            subscriptions: Arc::clone(&parts.subscriptions),
            consumers: parts.consumers.clone(),
            metrics: metrics.grpc,
        };
        let grpc = match config.grpc.enabled {
            true => Some(GrpcServer::bind(&config.grpc, grpc_services)?),
            false => None,
        };
        let services = Services {
            publisher: parts.publisher,
            api_keys: parts.api_keys,
            accounts: parts.accounts,
            log: parts.log,
            state: parts.state,
            configuration: parts.configuration,
            subscriptions: parts.subscriptions,
            consumers: parts.consumers,
            engine: parts.engine,
            compat: config.compat.clone(),
            registry: parts.registry,
            metrics: metrics.http,
        };
        let (http_server, http) = HttpServer::bind(&config.http, services)?;
        let of_grpc = grpc.as_ref().and_then(|(server, _)| server.certificates());
        let certificates =
            [http_server.certificates(), of_grpc, tcp_server.certificates()].into_iter().flatten().collect();
        let stop = watch::Sender::new(false);
        let stopped = || {
            let mut stop = stop.subscribe();
            async move {
                // An error means that the relay was dropped, which stops the servers too.
                let _ = stop.wait_for(|stop| *stop).await;
            }
        };
        let mut servers = JoinSet::new();
        servers.spawn(http_server.run(stopped()));
        servers.spawn(tcp_server.run(stopped()));
        let grpc = grpc.map(|(server, address)| {
            servers.spawn(server.run(stopped()));
            address
        });
        Ok(Self { addresses: Addresses { http, grpc, tcp }, certificates, servers, stop })
    }

    pub(super) fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Has the files of TLS read again, soon. False where there are none.
    pub(super) fn request_certificate_reload(&self) -> bool {
        self.certificates.iter().for_each(Certificates::request_reload);
        !self.certificates.is_empty()
    }

    /// Resolves when one has ended without being asked to, which only a fault in the program brings about.
    pub(super) async fn one_ended(&mut self) {
        if let Some(Err(error)) = self.servers.join_next().await {
            tracing::error!(%error, "a front door failed");
        }
    }

    /// Takes no more connections, and finishes what is in flight, at all doors at the same time.
    pub(super) async fn shut(mut self) -> Shut {
        self.stop.send_replace(true);
        let mut shut = Shut::default();
        while let Some(ended) = self.servers.join_next().await {
            match ended {
                Ok(drained) => shut.cut_off_connections += drained.cut_off,
                Err(error) => {
                    tracing::error!(%error, "a front door failed");
                    shut.failed = true;
                }
            }
        }
        shut
    }
}
