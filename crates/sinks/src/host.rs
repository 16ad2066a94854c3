//! Targets that settings name by a host and a port instead of a URL.

use std::net::IpAddr;

use url::Host;

use crate::egress::Endpoint;
use crate::{Environment, SinkError, settings};

/// Takes a host and a port as an endpoint. A port that is not allowed is refused here already, and so is an address in the
/// settings that may not be connected to; what a name resolves to is judged at each connection.
///
/// # Errors
/// Names `field`, which the host stands in.
pub(crate) fn endpoint(
    kind: &'static str,
    field: &str,
    host: &str,
    port: u16,
    tls: bool,
    environment: &Environment,
) -> Result<Endpoint, SinkError> {
    let refused = |why: String| settings::refused(kind, field, why);
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let parsed = match bare.parse() {
        Ok(IpAddr::V4(address)) => Host::Ipv4(address),
        Ok(IpAddr::V6(address)) => Host::Ipv6(address),
        Err(_) => {
            Host::parse(host).map_err(|_| refused("is neither a host's name nor an IP address".into()))?
        }
    };
    let endpoint = Endpoint::new(parsed, port, tls).map_err(|why| refused(why.into()))?;
    if !environment.allowed_ports.is_empty() && !environment.allowed_ports.contains(&port) {
        return Err(refused(format!("port {port} is not among the allowed ports")));
    }
    if let Some(address) = endpoint.address() {
        let judged = environment.addresses.check(address);
        judged.map_err(|why| refused(format!("{endpoint} is {why}, which may not be connected to")))?;
    }
    Ok(endpoint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::egress::AddressPolicy;

    fn shown(host: &str, environment: &Environment) -> Result<String, String> {
        endpoint("k", "host", host, 5432, true, environment)
            .map(|endpoint| endpoint.to_string())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_host_is_a_name_or_an_address_in_any_spelling() {
        let environment =
            Environment { addresses: AddressPolicy::private_allowed(), ..Environment::default() };
        for (host, expected) in [
            ("DB.example.com", "db.example.com:5432"),
            ("127.0.0.1", "127.0.0.1:5432"),
            ("2130706433", "127.0.0.1:5432"),
            ("::1", "[::1]:5432"),
            ("[::1]", "[::1]:5432"),
        ] {
            assert_eq!(shown(host, &environment).unwrap(), expected);
        }
        for host in ["", "/var/run/postgresql", "db.example.com:5432", "user@db", "a b"] {
            assert!(shown(host, &environment).unwrap_err().contains("`host`"), "{host}");
        }
    }

    #[test]
    fn what_may_not_be_connected_to_is_refused_at_once() {
        for host in ["127.0.0.1", "0x7f.1", "::ffff:10.0.0.1", "169.254.169.254"] {
            assert!(
                shown(host, &Environment::default()).unwrap_err().contains("may not be connected to"),
                "{host}"
            );
        }
        let environment = Environment { allowed_ports: vec![443], ..Environment::default() };
        assert!(shown("db.example.com", &environment).unwrap_err().contains("port 5432"));
    }
}
