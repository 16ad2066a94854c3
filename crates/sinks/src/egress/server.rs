//! Where a server of a protocol of its own is: `scheme://host:port`, as settings have it.

use std::time::Duration;

use url::{Host, Url};

use super::{ClientTls, Connector, Endpoint};
use crate::{Environment, SinkError, settings};

/// A scheme that settings may use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scheme {
    pub(crate) name: &'static str,
    /// Where none is given.
    pub(crate) port: u16,
    /// Whether it asks for TLS.
    pub(crate) tls: bool,
}

/// A server that settings name.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    host: Host<String>,
    port: u16,
    /// Whether its scheme asks for TLS.
    pub(crate) tls: bool,
}

/// The servers of one cluster, which settings list.
#[derive(Debug)]
pub(crate) struct Servers {
    kind: &'static str,
    servers: Vec<Server>,
    /// Whether their schemes ask for TLS: all, or none.
    pub(crate) tls: bool,
}

impl Servers {
    /// Reads the field `servers`. `tls_fields` are those in use that mean something over TLS only.
    ///
    /// # Errors
    /// As [`Server::parse`]; also where only some ask for TLS, or none does and yet there are fields about it.
    pub(crate) fn parse(
        kind: &'static str,
        texts: &[String],
        schemes: &[Scheme],
        mut tls_fields: impl Iterator<Item = &'static str>,
        environment: &Environment,
    ) -> Result<Self, SinkError> {
        let mut servers = Vec::with_capacity(texts.len());
        for (index, text) in texts.iter().enumerate() {
            servers.push(Server::parse(kind, &format!("servers[{index}]"), text, schemes, environment)?);
        }
        let tls = servers.iter().any(|server| server.tls);
        let secure = schemes.iter().find(|scheme| scheme.tls).map_or("", |scheme| scheme.name);
        if servers.iter().any(|server| server.tls != tls) {
            return Err(settings::refused(
                kind,
                "servers",
                format!("must all begin with {secure}:// or none"),
            ));
        }
        if let Some(field) = tls_fields.next().filter(|_| !tls) {
            return Err(settings::refused(kind, field, format!("needs servers that begin with {secure}://")));
        }
        Ok(Self { kind, servers, tls })
    }

    /// A connector to each of them. With `tls`, each has a name that its certificate must carry.
    ///
    /// # Errors
    /// When the name of one is none that a certificate can carry.
    pub(crate) fn connectors(
        &self,
        tls: Option<&ClientTls>,
        timeout: Duration,
        environment: &Environment,
    ) -> Result<Vec<Connector>, SinkError> {
        let connector = |(index, server): (usize, &Server)| {
            let endpoint = server.endpoint(tls.is_some());
            let endpoint =
                endpoint.map_err(|why| settings::refused(self.kind, format!("servers[{index}]"), why))?;
            Ok(environment.connector(endpoint, tls.cloned(), timeout))
        };
        self.servers.iter().enumerate().map(connector).collect()
    }
}

impl Server {
    /// Reads a server, and refuses a port or address in it that may not be connected to.
    ///
    /// # Errors
    /// Names the field, and quotes of it no more than host and port: a password may have been put into it.
    pub(crate) fn parse(
        kind: &'static str,
        field: &str,
        text: &str,
        schemes: &[Scheme],
        environment: &Environment,
    ) -> Result<Self, SinkError> {
        let refused = |why: String| settings::refused(kind, field, why);
        let url = Url::parse(text).map_err(|error| refused(format!("not a URL: {error}")))?;
        let scheme = schemes.iter().find(|scheme| scheme.name == url.scheme()).ok_or_else(|| {
            let names: Vec<_> = schemes.iter().map(|scheme| scheme.name).collect();
            refused(format!("the scheme must be one of {}", names.join(", ")))
        })?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refused(
                "user and password do not belong in a URL; they have fields of their own".into(),
            ));
        }
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(refused("must be scheme://host:port and no more".into()));
        }
        // The `url` crate knows spellings of addresses only in the web's schemes, so the host is read once more.
        let host = Host::parse(url.host_str().unwrap_or_default());
        let host = host.map_err(|error| refused(format!("the host is none: {error}")))?;
        let server = Self { host, port: url.port().unwrap_or(scheme.port), tls: scheme.tls };
        let endpoint = server.endpoint(scheme.tls).map_err(|why| refused(why.into()))?;
        if !environment.allowed_ports.is_empty() && !environment.allowed_ports.contains(&server.port) {
            return Err(refused(format!("port {} is not among the allowed ports", server.port)));
        }
        if let Some(address) = endpoint.address() {
            let judged = environment.addresses.check(address);
            judged.map_err(|why| refused(format!("{endpoint} is {why}, which may not be connected to")))?;
        }
        Ok(server)
    }

    /// What a connection to it is made to. With `tls`, it has a name that its certificate must carry.
    ///
    /// # Errors
    /// When its name is none that a certificate can carry.
    pub(crate) fn endpoint(&self, tls: bool) -> Result<Endpoint, &'static str> {
        Endpoint::new(self.host.clone(), self.port, tls)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::egress::AddressPolicy;

    const SCHEMES: &[Scheme] =
        &[Scheme { name: "nats", port: 4222, tls: false }, Scheme { name: "tls", port: 4443, tls: true }];

    fn parse(text: &str, environment: &Environment) -> Result<(String, bool), String> {
        let server = Server::parse("nats", "servers[0]", text, SCHEMES, environment)
            .map_err(|error| error.to_string())?;
        Ok((server.endpoint(server.tls).unwrap().to_string(), server.tls))
    }

    #[test]
    fn the_scheme_says_port_and_tls() {
        let anywhere = Environment::default();
        assert_eq!(
            parse("nats://Broker.example.com", &anywhere),
            Ok(("broker.example.com:4222".into(), false))
        );
        assert_eq!(
            parse("tls://broker.example.com", &anywhere),
            Ok(("broker.example.com:4443".into(), true))
        );
        assert_eq!(parse("nats://[2606:4700::1]:99/", &anywhere), Ok(("[2606:4700::1]:99".into(), false)));
        assert_eq!(parse("nats://my_broker", &anywhere), Ok(("my_broker:4222".into(), false)));
    }

    #[test]
    fn what_is_more_than_a_server_is_refused_and_not_quoted() {
        for text in [
            "nats://user:canary@broker.example.com",
            "nats://canary@broker.example.com",
            "nats://broker.example.com/canary",
            "nats://broker.example.com?canary",
            "http://broker.example.com/canary",
            "broker.example.com",
            "nats://",
            "nats:///canary",
            "nats://broker.example.com:0",
            "nats://broker.example.com:99999",
            "nats://exa mple.com",
        ] {
            let error = parse(text, &Environment::default()).unwrap_err();
            assert!(error.contains("`servers[0]`") && !error.contains("canary"), "{text}: {error}");
        }
    }

    #[test]
    fn a_forbidden_address_is_refused_in_every_spelling() {
        for host in [
            "127.0.0.1",
            "2130706433",
            "0x7f.1",
            "0177.0.0.1",
            "127.1",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "169.254.169.254",
        ] {
            let error = parse(&format!("nats://{host}"), &Environment::default()).unwrap_err();
            assert!(error.contains("may not be connected to"), "{host}: {error}");
        }
        let private = Environment { addresses: AddressPolicy::private_allowed(), ..Environment::default() };
        assert_eq!(parse("nats://0x7f.1", &private), Ok(("127.0.0.1:4222".into(), false)));
        assert!(parse("nats://0xa9fea9fe", &private).is_err());
    }

    #[test]
    fn only_allowed_ports_are_taken() {
        let environment = Environment { allowed_ports: vec![4222], ..Environment::default() };
        assert!(parse("nats://broker.example.com", &environment).is_ok());
        assert!(parse("tls://broker.example.com", &environment).unwrap_err().contains("port 4443"));
    }
}
