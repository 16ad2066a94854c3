//! Which Redis the settings mean: one server, a cluster, or the master that sentinels know.
//!
//! ```text
//! redis://host:6379      redis+cluster://node:6379      redis+sentinel://sentinel:26379/master-name
//! rediss://host:6379     rediss+cluster://node:6379     rediss+sentinel://sentinel:26379/master-name
//! ```

use super::settings::{KIND, Settings};
use crate::egress::{Scheme, Server};
use crate::{Environment, SinkError, settings};

const REDIS_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26_379;
const MAX_MASTER_NAME_BYTES: usize = 255;

const ONE: &[Scheme] = &[
    Scheme { name: "redis", port: REDIS_PORT, tls: false },
    Scheme { name: "rediss", port: REDIS_PORT, tls: true },
];
const CLUSTER: &[Scheme] = &[
    Scheme { name: "redis+cluster", port: REDIS_PORT, tls: false },
    Scheme { name: "rediss+cluster", port: REDIS_PORT, tls: true },
];
const SENTINEL: &[Scheme] = &[
    Scheme { name: "redis+sentinel", port: SENTINEL_PORT, tls: false },
    Scheme { name: "rediss+sentinel", port: SENTINEL_PORT, tls: true },
];

/// What the settings name.
#[derive(Debug)]
pub(super) struct Address {
    /// One server; some nodes of the cluster; or sentinels.
    pub(super) servers: Vec<Server>,
    pub(super) kind: AddressKind,
    pub(super) tls: bool,
}

/// What the servers are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum AddressKind {
    One,
    Cluster,
    /// Sentinels, and the name that they know the master by.
    Sentinel(String),
}

impl Address {
    /// Reads the servers, and refuses ports and addresses that may not be connected to.
    ///
    /// # Errors
    /// Names the field, and quotes nothing that may be a password.
    pub(super) fn of(settings: &Settings, environment: &Environment) -> Result<Self, SinkError> {
        let refused = |why: &str| settings::refused(KIND, "servers", why);
        let mut servers = Vec::with_capacity(settings.servers.len());
        let mut kind = None;
        for (index, text) in settings.servers.iter().enumerate() {
            let (its_kind, schemes, text) =
                split(text).map_err(|why| settings::refused(KIND, format!("servers[{index}]"), why))?;
            servers.push(Server::parse(KIND, &format!("servers[{index}]"), text, schemes, environment)?);
            if *kind.get_or_insert_with(|| its_kind.clone()) != its_kind {
                return Err(refused("must all be of one kind, and sentinels name one master"));
            }
        }
        let tls = servers.iter().any(|server| server.tls);
        if servers.iter().any(|server| server.tls != tls) {
            return Err(refused("must all begin with rediss or none"));
        }
        let kind = kind.ok_or_else(|| refused("must be given"))?;
        if kind == AddressKind::One && servers.len() > 1 {
            return Err(refused("must be one, but for redis+cluster:// and redis+sentinel://"));
        }
        if kind == AddressKind::Cluster && settings.database != 0 {
            return Err(settings::refused(KIND, "database", "a cluster has only 0"));
        }
        if !tls && let Some(field) = settings.tls.fields().next() {
            return Err(settings::refused(KIND, field, "needs servers that begin with rediss"));
        }
        Ok(Self { servers, kind, tls })
    }
}

/// What a server is by its scheme, and it without the master's name, which is no part of where it is.
fn split(text: &str) -> Result<(AddressKind, &'static [Scheme], &str), &'static str> {
    let scheme = text.split_once("://").map_or("", |(scheme, _)| scheme);
    if scheme.ends_with("+cluster") {
        return Ok((AddressKind::Cluster, CLUSTER, text));
    }
    if !scheme.ends_with("+sentinel") {
        return Ok((AddressKind::One, ONE, text));
    }
    let (server, name) = text
        .rsplit_once('/')
        .filter(|(server, _)| server.len() > scheme.len() + "://".len())
        .ok_or("must end with the master's name: redis+sentinel://host:port/master-name")?;
    let is_name = (1..=MAX_MASTER_NAME_BYTES).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
    if !is_name {
        return Err("the master's name must be 1 to 255 of a-z, A-Z, 0-9, '.', '-' and '_'");
    }
    Ok((AddressKind::Sentinel(name.to_owned()), SENTINEL, server))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn address(extra: &Value) -> Result<Address, String> {
        let mut value = json!({"servers": [], "stream": "s"});
        value.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let settings: Settings = serde_json::from_value(value).unwrap();
        Address::of(&settings, &Environment::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_scheme_says_what_the_servers_are() {
        for (servers, kind, tls, first) in [
            (json!(["redis://a.example.com"]), AddressKind::One, false, "a.example.com:6379"),
            (json!(["rediss://a.example.com:7"]), AddressKind::One, true, "a.example.com:7"),
            (
                json!(["redis+cluster://a.example.com", "redis+cluster://b"]),
                AddressKind::Cluster,
                false,
                "a.example.com:6379",
            ),
            (
                json!(["rediss+sentinel://a.example.com/my-master", "rediss+sentinel://b:1/my-master"]),
                AddressKind::Sentinel("my-master".to_owned()),
                true,
                "a.example.com:26379",
            ),
        ] {
            let address = address(&json!({"servers": servers})).unwrap();
            assert_eq!((address.kind, address.tls), (kind, tls));
            assert_eq!(address.servers[0].endpoint(tls).unwrap().to_string(), first);
        }
    }

    #[test]
    fn what_does_not_belong_together_is_refused_and_no_password_is_quoted() {
        for (extra, why) in [
            (json!({"servers": ["redis://a", "redis://b"]}), "must be one"),
            (json!({"servers": ["redis+cluster://a", "redis://b"]}), "of one kind"),
            (json!({"servers": ["redis+cluster://a", "rediss+cluster://b"]}), "rediss or none"),
            (json!({"servers": ["redis+sentinel://a/m", "redis+sentinel://b/n"]}), "one master"),
            (json!({"servers": ["redis+sentinel://a"]}), "master's name"),
            (json!({"servers": ["redis+sentinel://a/"]}), "master's name"),
            (json!({"servers": ["redis+sentinel://a/canary canary"]}), "master's name"),
            (json!({"servers": ["redis://user:canary@a"]}), "fields of their own"),
            (json!({"servers": ["redis://a/0"]}), "no more"),
            (json!({"servers": ["unix:///canary"]}), "scheme"),
            (json!({"servers": ["redis+cluster://a"], "database": 1}), "`database`"),
            (
                json!({"servers": ["redis://a"], "tls": {"insecure_skip_verify": true}}),
                "`tls.insecure_skip_verify`",
            ),
            (json!({"servers": ["redis://127.0.0.1"]}), "may not be connected to"),
        ] {
            let error = address(&extra).unwrap_err();
            assert!(error.contains(why) && !error.contains("canary"), "{extra}: {error}");
        }
    }
}
