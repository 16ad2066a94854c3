//! Where to write: the one server, the master that sentinels name, or the node of a cluster that has a slot.
//!
//! All connections are made here, to addresses that the egress guard has judged: those in the settings, and those that sentinels
//! and nodes tell of each other. The latter are judged when they are heard and again when they are connected to.
//!
//! Nothing is watched in the background. A connection that breaks, hangs or leads to a server that takes no writes is not used
//! again, and with it goes what was known: the next call asks the sentinels, or the cluster for its slots.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::Value;
use tokio::time::Instant;

use super::address::{Address, AddressKind};
use super::connection::Connection;
use super::login::Login;
use super::reply;
use super::settings::{KIND, Settings};
use super::slot::SLOTS;
use crate::connect_failure::ConnectFailure;
use crate::egress::{ClientTls, Connector, Endpoint, Protocols};
use crate::shared_connection::{SharedConnection, Suspect};
use crate::{Environment, Owner, SinkError, host, settings};

/// No cluster has more.
const MAX_NODES: usize = 1000;

/// All servers of one Redis.
pub(super) struct Nodes {
    dialler: Dialler,
    topology: Topology,
}

enum Topology {
    /// One server, or the master of the sentinels.
    One(Arc<Node>),
    Cluster(Cluster),
}

struct Cluster {
    seeds: Vec<Arc<Node>>,
    slots: SharedConnection<SlotMap, ConnectFailure>,
    nodes: Mutex<HashMap<String, Arc<Node>>>,
}

/// A server that is written to, and the connection to it.
pub(super) struct Node {
    place: Place,
    connection: SharedConnection<Connection, ConnectFailure>,
}

/// Where a server is.
enum Place {
    At(Box<Connector>),
    /// Wherever sentinels say.
    Master {
        sentinels: Vec<Connector>,
        name: String,
    },
}

/// Which node has which slots: the first slot of each range, its last, and the node's address.
#[derive(Debug, Default, PartialEq, Eq)]
struct SlotMap(Vec<(u16, u16, String)>);

/// Makes connections.
struct Dialler {
    environment: Environment,
    tls: Option<ClientTls>,
    login: Login,
    sentinel_login: Login,
    database: u16,
    timeout: Duration,
    /// What the server calls the connection.
    name: String,
    /// How many connections there have been.
    made: AtomicU64,
}

impl Nodes {
    /// Reads the files that the settings name; connects to nothing.
    ///
    /// # Errors
    /// Names the field that is wrong. Shows no secret.
    pub(super) fn new(
        settings: &Settings,
        owner: &Owner,
        environment: &Environment,
    ) -> Result<Self, SinkError> {
        let Address { servers, kind, tls: uses_tls } = Address::of(settings, environment)?;
        let tls = if uses_tls {
            let target = settings.servers.join(", ");
            Some(settings.tls.client_tls(KIND, Protocols::None, &target, environment)?)
        } else {
            None
        };
        let dialler = Dialler {
            environment: environment.clone(),
            tls,
            login: Login::of(settings, environment)?,
            sentinel_login: Login::of_sentinel(settings, environment)?,
            database: settings.database,
            timeout: Duration::from_millis(settings.connect_timeout_ms),
            name: connection_name(owner),
            made: AtomicU64::new(0),
        };
        let mut connectors = Vec::with_capacity(servers.len());
        for (index, server) in servers.iter().enumerate() {
            let endpoint = server.endpoint(uses_tls);
            let field = format!("servers[{index}]");
            connectors.push(dialler.connector(endpoint.map_err(|why| settings::refused(KIND, field, why))?));
        }
        let topology = match kind {
            AddressKind::One => {
                let one =
                    connectors.pop().ok_or_else(|| settings::refused(KIND, "servers", "must be given"))?;
                Topology::One(Node::new(Place::At(Box::new(one))))
            }
            AddressKind::Sentinel(name) => {
                Topology::One(Node::new(Place::Master { sentinels: connectors, name }))
            }
            AddressKind::Cluster => Topology::Cluster(Cluster {
                seeds: connectors.into_iter().map(|seed| Node::new(Place::At(Box::new(seed)))).collect(),
                slots: SharedConnection::new(),
                nodes: Mutex::default(),
            }),
        };
        Ok(Self { dialler, topology })
    }

    /// Whether keys are spread over slots, of which a transaction may have one only.
    pub(super) fn has_slots(&self) -> bool {
        matches!(self.topology, Topology::Cluster(_))
    }

    /// How many connections there have been: what was seen when there were fewer may not be so any more.
    pub(super) fn connections_made(&self) -> u64 {
        self.dialler.made.load(Ordering::Relaxed)
    }

    /// The servers of the settings, for people.
    pub(super) fn target(&self) -> String {
        match &self.topology {
            Topology::One(node) => node.target(),
            Topology::Cluster(cluster) => {
                cluster.seeds.iter().map(|seed| seed.target()).collect::<Vec<_>>().join(", ")
            }
        }
    }

    /// The node that has a slot, as far as is known.
    pub(super) async fn node_of(&self, slot: u16, deadline: Instant) -> Result<Arc<Node>, ConnectFailure> {
        let cluster = match &self.topology {
            Topology::One(node) => return Ok(Arc::clone(node)),
            Topology::Cluster(cluster) => cluster,
        };
        let map = cluster
            .slots
            .get(|_| true, async || cluster.ask_for_slots(&self.dialler, deadline).await)
            .await?;
        match map.node_of(slot) {
            Some(address) => self.node_at(address),
            None => {
                // Perhaps it will be given to one.
                self.forget_slots(&map);
                Err(ConnectFailure::Missing(format!("no node of the cluster has slot {slot}")))
            }
        }
    }

    /// A node that another has named.
    pub(super) fn node_at(&self, address: &str) -> Result<Arc<Node>, ConnectFailure> {
        let Topology::Cluster(cluster) = &self.topology else {
            let why = format!(
                "it is a node of a cluster, which the settings do not say (redis+cluster://): {address}"
            );
            return Err(ConnectFailure::Missing(why));
        };
        let mut nodes = cluster.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(node) = nodes.get(address) {
            return Ok(Arc::clone(node));
        }
        let endpoint = self.dialler.advertised(address)?;
        if nodes.len() >= MAX_NODES {
            // Those that have gone are among them; the others come back.
            nodes.clear();
        }
        let node = Node::new(Place::At(Box::new(self.dialler.connector(endpoint))));
        nodes.insert(address.to_owned(), Arc::clone(&node));
        Ok(node)
    }

    /// What is known of the cluster's slots is out of date.
    pub(super) fn slots_have_moved(&self) {
        if let Topology::Cluster(cluster) = &self.topology {
            drop(cluster.slots.take());
        }
    }

    fn forget_slots(&self, map: &Arc<SlotMap>) {
        if let Topology::Cluster(cluster) = &self.topology {
            drop(cluster.slots.suspect(map));
        }
    }

    /// The connection to a node, or a new one.
    pub(super) async fn connection(&self, node: &Node) -> Result<Arc<Connection>, ConnectFailure> {
        let connected =
            node.connection.get(Connection::is_usable, async || node.connect(&self.dialler).await).await;
        if connected.is_err() {
            self.slots_have_moved();
        }
        connected
    }

    /// A connection of its own, to ask what others must not hear of.
    pub(super) async fn fresh_connection(&self, node: &Node) -> Result<Connection, ConnectFailure> {
        node.connect(&self.dialler).await
    }

    /// Ends all connections.
    pub(super) fn close(&self) {
        let mut all = Vec::new();
        match &self.topology {
            Topology::One(node) => all.push(Arc::clone(node)),
            Topology::Cluster(cluster) => {
                all.extend(cluster.seeds.iter().map(Arc::clone));
                all.extend(
                    cluster.nodes.lock().unwrap_or_else(PoisonError::into_inner).drain().map(|(_, it)| it),
                );
            }
        }
        all.iter().for_each(|node| drop(node.connection.take()));
    }
}

impl Cluster {
    /// Asks the nodes of the settings, one after the other.
    async fn ask_for_slots(&self, dialler: &Dialler, deadline: Instant) -> Result<SlotMap, ConnectFailure> {
        let mut failure = ConnectFailure::Unreachable("there is no node to ask".to_owned());
        for seed in &self.seeds {
            let connected =
                seed.connection.get(Connection::is_usable, async || seed.connect(dialler).await).await;
            let connection = match connected {
                Ok(connection) => connection,
                Err(error) => {
                    failure = error;
                    continue;
                }
            };
            let suspect = seed.suspect(&connection);
            let mut command = redis::cmd("CLUSTER");
            command.arg("SLOTS");
            match connection.ask_one(command, deadline.min(Instant::now() + dialler.timeout)).await {
                Ok(Ok(answer)) => {
                    suspect.acquit();
                    return Ok(SlotMap::read(&answer, &seed.host()));
                }
                Ok(Err(word)) => failure = ConnectFailure::Missing(format!("{}: {word}", seed.target())),
                Err(unanswered) => failure = ConnectFailure::Unreachable(unanswered.to_string()),
            }
        }
        Err(failure)
    }
}

impl Node {
    fn new(place: Place) -> Arc<Self> {
        Arc::new(Self { place, connection: SharedConnection::new() })
    }

    /// To be asked for before a connection is used.
    pub(super) fn suspect(&self, connection: &Arc<Connection>) -> Suspect<'_, Connection, ConnectFailure> {
        self.connection.suspect(connection)
    }

    /// Where it is, for people.
    pub(super) fn target(&self) -> String {
        match &self.place {
            Place::At(connector) => connector.endpoint().to_string(),
            Place::Master { sentinels, name } => {
                let sentinels: Vec<_> = sentinels.iter().map(|it| it.endpoint().to_string()).collect();
                format!("{name} at {}", sentinels.join(", "))
            }
        }
    }

    /// The host, without the port.
    fn host(&self) -> String {
        match &self.place {
            Place::At(connector) => {
                let shown = connector.endpoint().to_string();
                shown.rsplit_once(':').map_or_else(String::new, |(host, _)| host.to_owned())
            }
            Place::Master { .. } => String::new(),
        }
    }

    async fn connect(&self, dialler: &Dialler) -> Result<Connection, ConnectFailure> {
        match &self.place {
            Place::At(connector) => dialler.open(connector).await,
            Place::Master { sentinels, name } => {
                let endpoint = dialler.master(sentinels, name).await?;
                dialler.open(&dialler.connector(endpoint)).await
            }
        }
    }
}

impl Dialler {
    fn connector(&self, endpoint: Endpoint) -> Connector {
        let (policy, resolver) = (self.environment.addresses.clone(), Arc::clone(&self.environment.resolver));
        Connector::new(endpoint, policy, resolver, self.tls.clone(), self.timeout)
    }

    async fn open(&self, connector: &Connector) -> Result<Connection, ConnectFailure> {
        self.made.fetch_add(1, Ordering::Relaxed);
        Connection::open(connector, &self.login, self.database, &self.name, self.timeout).await
    }

    /// Judges an address that a server has told: `host:port`.
    fn advertised(&self, address: &str) -> Result<Endpoint, ConnectFailure> {
        let refused = |why: String| ConnectFailure::Refused(format!("the server named {address:?}: {why}"));
        let (host, port) = address.rsplit_once(':').ok_or_else(|| refused("no port".to_owned()))?;
        let port = port.parse().map_err(|_| refused("no port".to_owned()))?;
        host::endpoint(KIND, "servers", host, port, self.tls.is_some(), &self.environment)
            .map_err(|error| refused(error.to_string()))
    }

    /// Asks the sentinels, one after the other, where the master is.
    async fn master(&self, sentinels: &[Connector], name: &str) -> Result<Endpoint, ConnectFailure> {
        let mut failure = ConnectFailure::Unreachable("there is no sentinel to ask".to_owned());
        let share = self.timeout / u32::try_from(sentinels.len().max(1)).unwrap_or(u32::MAX);
        for sentinel in sentinels {
            match self.ask_sentinel(sentinel, name, share).await {
                Ok(endpoint) => return Ok(endpoint),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    async fn ask_sentinel(
        &self,
        sentinel: &Connector,
        name: &str,
        limit: Duration,
    ) -> Result<Endpoint, ConnectFailure> {
        let deadline = Instant::now() + limit;
        let connection = Connection::open(sentinel, &self.sentinel_login, 0, &self.name, limit).await?;
        let mut command = redis::cmd("SENTINEL");
        command.arg("GET-MASTER-ADDR-BY-NAME").arg(name);
        let endpoint = sentinel.endpoint();
        let answer = connection.ask_one(command, deadline).await;
        let answer = answer.map_err(|error| ConnectFailure::Unreachable(format!("{endpoint}: {error}")))?;
        let answer = answer.map_err(|word| ConnectFailure::Refused(format!("{endpoint}: {word}")))?;
        match reply::items(&answer) {
            [host, port] => {
                let (host, port) = (reply::text(host), reply::text(port));
                self.advertised(&format!("{}:{}", host.unwrap_or_default(), port.unwrap_or_default()))
            }
            _ => Err(ConnectFailure::Missing(format!("{endpoint} knows no master {name:?}"))),
        }
    }
}

impl SlotMap {
    /// Reads the answer to `CLUSTER SLOTS`. A node that does not know its own host is where it was asked.
    fn read(answer: &Value, asked_host: &str) -> Self {
        let range = |range: &Value| {
            let [first, last, master, ..] = reply::items(range) else { return None };
            let [host, port, ..] = reply::items(master) else { return None };
            let host = reply::text(host).filter(|host| !matches!(*host, "" | "?")).unwrap_or(asked_host);
            let slot =
                |value| reply::number(value).and_then(|it| u16::try_from(it).ok()).filter(|it| *it < SLOTS);
            Some((slot(first)?, slot(last)?, format!("{host}:{}", reply::number(port)?)))
        };
        let mut ranges: Vec<_> = reply::items(answer).iter().filter_map(range).collect();
        ranges.sort_unstable();
        Self(ranges)
    }

    fn node_of(&self, slot: u16) -> Option<&str> {
        let behind = self.0.partition_point(|(first, _, _)| *first <= slot);
        let (_, last, address) = self.0.get(behind.checked_sub(1)?)?;
        (slot <= *last).then_some(address)
    }
}

/// What the server shows in its list of clients, where white space is not allowed.
fn connection_name(owner: &Owner) -> String {
    let name = format!("eventrelay/{}/{}", owner.tenant, owner.subscription);
    name.chars().map(|it| if it.is_ascii_graphic() { it } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn range(first: i64, last: i64, host: Value, port: i64) -> Value {
        let master = Value::Array(vec![host, Value::Int(port), bulk("id")]);
        Value::Array(vec![Value::Int(first), Value::Int(last), master])
    }

    #[test]
    fn slots_are_found_in_ranges_in_any_order() {
        let answer = Value::Array(vec![
            range(8000, 16_383, bulk("10.0.0.2"), 7001),
            range(0, 7000, bulk("10.0.0.1"), 7000),
            range(7500, 7500, Value::Nil, 7002),
            Value::Int(1),
        ]);
        let map = SlotMap::read(&answer, "[::1]");
        assert_eq!(map.node_of(0), Some("10.0.0.1:7000"));
        assert_eq!(map.node_of(7000), Some("10.0.0.1:7000"));
        assert_eq!(map.node_of(7001), None);
        assert_eq!(map.node_of(7500), Some("[::1]:7002"));
        assert_eq!(map.node_of(16_383), Some("10.0.0.2:7001"));
        assert_eq!(SlotMap::read(&Value::Nil, "h").node_of(0), None);
    }
}
