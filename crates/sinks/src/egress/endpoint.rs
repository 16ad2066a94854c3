//! What a URL says to connect to.

use std::fmt;
use std::net::IpAddr;

use rustls::pki_types::ServerName;
use url::{Host, Url};

/// Host, port and whether TLS is spoken: what a connection is made to.
#[derive(Clone)]
pub(crate) struct Endpoint {
    host: EndpointHost,
    port: u16,
    tls_name: Option<ServerName<'static>>,
}

/// Where the address comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EndpointHost {
    /// To be resolved at each connection.
    Name(String),
    /// Written in the URL.
    Address(IpAddr),
}

impl Endpoint {
    /// Takes the endpoint of an `http` or `https` URL. The error says what is wrong and quotes nothing of the
    /// URL.
    pub(crate) fn of(url: &Url) -> Result<Self, &'static str> {
        let tls = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return Err("the scheme must be http or https"),
        };
        let host = url.host().ok_or("the URL names no host")?.to_owned();
        let port = url.port_or_known_default().ok_or("the URL names no port")?;
        Self::new(host, port, tls)
    }

    /// An endpoint of any protocol, by its host as the `url` crate has read it, which takes every spelling of an address
    /// for the address.
    pub(crate) fn new(host: Host<String>, port: u16, tls: bool) -> Result<Self, &'static str> {
        let host = match host {
            Host::Domain(name) => EndpointHost::Name(name),
            Host::Ipv4(address) => EndpointHost::Address(IpAddr::V4(address)),
            Host::Ipv6(address) => EndpointHost::Address(IpAddr::V6(address)),
        };
        if port == 0 {
            return Err("port 0 cannot be connected to");
        }
        let tls_name = if tls { Some(host.tls_name()?) } else { None };
        Ok(Self { host, port, tls_name })
    }

    pub(crate) fn host(&self) -> &EndpointHost {
        &self.host
    }

    /// The address, where the URL holds one instead of a name.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        match self.host {
            EndpointHost::Address(address) => Some(address),
            EndpointHost::Name(_) => None,
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The name that the certificate must carry; none without TLS.
    pub(crate) fn tls_name(&self) -> Option<&ServerName<'static>> {
        self.tls_name.as_ref()
    }
}

impl EndpointHost {
    fn tls_name(&self) -> Result<ServerName<'static>, &'static str> {
        match self {
            // A trailing dot makes a name absolute for DNS; certificates do not have it.
            Self::Name(name) => ServerName::try_from(name.trim_end_matches('.').to_owned())
                .map_err(|_| "the host is not a name that a certificate can carry"),
            Self::Address(address) => Ok(ServerName::IpAddress((*address).into())),
        }
    }
}

/// `host:port`: all of a URL that may be shown, for paths and queries carry tokens.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            EndpointHost::Name(name) => write!(f, "{name}:{}", self.port),
            EndpointHost::Address(IpAddr::V6(address)) => write!(f, "[{address}]:{}", self.port),
            EndpointHost::Address(address) => write!(f, "{address}:{}", self.port),
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(url: &str) -> Endpoint {
        Endpoint::of(&Url::parse(url).unwrap()).unwrap()
    }

    #[test]
    fn every_spelling_of_an_ipv4_address_is_the_address() {
        for spelling in [
            "127.0.0.1",
            "2130706433",
            "0x7f000001",
            "0x7f.1",
            "0177.0.0.1",
            "017700000001",
            "127.1",
            "127.0.1",
            "0x7f.0x0.0x0.0x1",
            "127.0.0.1.",
            "%31%32%37.0.0.1",
            "①②⑦.0.0.1",
            "127。0。0。1",
        ] {
            let endpoint = endpoint(&format!("http://{spelling}/"));
            assert_eq!(endpoint.host(), &EndpointHost::Address("127.0.0.1".parse().unwrap()), "{spelling}");
        }
    }

    #[test]
    fn ipv6_literals_are_addresses() {
        for spelling in ["[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:7f00:0001]"] {
            let endpoint = endpoint(&format!("https://{spelling}:8443/"));
            assert_eq!(
                endpoint.host(),
                &EndpointHost::Address("::ffff:7f00:1".parse().unwrap()),
                "{spelling}"
            );
        }
    }

    #[test]
    fn ports_default_by_scheme_and_show_no_path() {
        assert_eq!(endpoint("https://example.com/token").to_string(), "example.com:443");
        assert_eq!(endpoint("http://[2606:4700::1]/token").to_string(), "[2606:4700::1]:80");
    }

    #[test]
    fn what_cannot_be_connected_to_is_refused() {
        for url in ["ftp://example.com/", "file:///etc/passwd", "http://example.com:0/", "data:text/plain,x"]
        {
            assert!(Endpoint::of(&Url::parse(url).unwrap()).is_err(), "{url}");
        }
    }
}
