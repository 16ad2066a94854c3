//! The front doors: opened together, since a relay with half of its doors helps nobody, and shut together.

use std::net::SocketAddr;

use eventrelay_server::grpc::{GrpcServer, GrpcServices};
use eventrelay_server::http::{Drained, HttpServer, Services};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

use super::StartError;
use crate::Config;

/// Doors that listen, and take nothing in yet.
pub(super) struct Listening {
    http: (HttpServer, SocketAddr),
    grpc: Option<(GrpcServer, SocketAddr)>,
}

/// Doors that are open.
#[derive(Debug)]
pub(super) struct FrontDoors {
    /// A task each; its end is the door's.
    running: JoinSet<Drained>,
    stop: watch::Sender<bool>,
    http_address: SocketAddr,
    grpc_address: Option<SocketAddr>,
}

impl Listening {
    /// Takes the addresses of all doors, or of none.
    pub(super) fn bind(config: &Config, http: Services, grpc: GrpcServices) -> Result<Self, StartError> {
        let http = HttpServer::bind(&config.http, http)?;
        let grpc = if config.grpc.enabled { Some(GrpcServer::bind(&config.grpc, grpc)?) } else { None };
        Ok(Self { http, grpc })
    }

    /// Lets clients in.
    pub(super) fn open(self) -> FrontDoors {
        let (http_server, http_address) = self.http;
        let (stop, stopping) = watch::channel(false);
        let mut running = JoinSet::new();
        running.spawn(http_server.run(told(stopping.clone())));
        let grpc_address = self.grpc.map(|(server, address)| {
            running.spawn(server.run(told(stopping)));
            address
        });
        FrontDoors { running, stop, http_address, grpc_address }
    }
}

impl FrontDoors {
    pub(super) fn http_address(&self) -> SocketAddr {
        self.http_address
    }

    pub(super) fn grpc_address(&self) -> Option<SocketAddr> {
        self.grpc_address
    }

    /// Resolves when a door has ended.
    pub(super) async fn one_ended(&mut self) {
        if let Some(Err(error)) = self.running.join_next().await {
            report(&error);
        }
    }

    /// Lets nobody in any more, and waits until the requests in flight are finished, or cut off. Gives the connections cut
    /// off, and whether a door had failed.
    pub(super) async fn shut(mut self) -> (usize, bool) {
        let all = 1 + usize::from(self.grpc_address.is_some());
        self.stop.send_replace(true);
        let (mut ended, mut cut_off) = (0, 0);
        while let Some(door) = self.running.join_next().await {
            match door {
                Ok(drained) => {
                    ended += 1;
                    cut_off += drained.cut_off;
                }
                Err(error) => report(&error),
            }
        }
        (cut_off, ended < all)
    }
}

/// Resolves when the doors are to be shut.
async fn told(mut stopping: watch::Receiver<bool>) {
    // An error means that the relay was dropped, which shuts them too.
    let _ = stopping.wait_for(|stop| *stop).await;
}

fn report(error: &JoinError) {
    tracing::error!(%error, "a front door failed");
}
