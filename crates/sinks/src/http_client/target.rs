//! Where requests go.

use http::uri::{PathAndQuery, Uri};
use http::{HeaderValue, Version};
use url::Url;

use crate::egress::Endpoint;
use crate::{Environment, SinkError, settings};

/// A URL in the forms that requests need. It has no `Debug`, for a path or query may carry a token.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// Path and query: the request target of HTTP/1.1.
    path: Uri,
    /// The whole URL: what HTTP/2 takes `:scheme`, `:authority` and `:path` from.
    whole: Uri,
    /// The value of `host`.
    host: HeaderValue,
}

impl Target {
    /// Parses and judges the URL in a field of a kind's settings; an address in it that may not be connected to is refused
    /// here already.
    pub(crate) fn parse(
        kind: &'static str,
        field: &str,
        url: &str,
        environment: &Environment,
    ) -> Result<(Self, Endpoint), SinkError> {
        let refused = |why: String| settings::refused(kind, field, why);
        let mut url = Url::parse(url).map_err(|error| refused(format!("not a URL: {error}")))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refused(
                "a user and password do not belong in the URL; set the `authorization` header".into(),
            ));
        }
        url.set_fragment(None);
        let endpoint = Endpoint::of(&url).map_err(|why| refused(why.into()))?;
        if !environment.allowed_ports.is_empty() && !environment.allowed_ports.contains(&endpoint.port()) {
            return Err(refused(format!("port {} is not among the allowed ports", endpoint.port())));
        }
        if let Some(address) = endpoint.address() {
            let judged = environment.addresses.check(address);
            judged.map_err(|why| refused(format!("{endpoint} is {why}, which may not be connected to")))?;
        }
        let unusable = |_| refused("the URL cannot be written as a request target".into());
        let whole: Uri = url.as_str().parse().map_err(unusable)?;
        let path = whole.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        let host = whole.authority().map_or("", http::uri::Authority::as_str);
        let host = HeaderValue::from_str(host)
            .map_err(|_| refused("the host cannot be written as a header".into()))?;
        Ok((Self { path: Uri::from(path), whole, host }, endpoint))
    }

    /// The same server with another path and query.
    ///
    /// # Errors
    /// When they cannot be written as a request target.
    pub(crate) fn at(&self, path_and_query: &str) -> Result<Self, http::Error> {
        let path: PathAndQuery = path_and_query.parse()?;
        let mut parts = self.whole.clone().into_parts();
        parts.path_and_query = Some(path.clone());
        Ok(Self { path: Uri::from(path), whole: Uri::from_parts(parts)?, host: self.host.clone() })
    }

    /// The request target as the HTTP version writes it.
    pub(crate) fn uri(&self, version: Version) -> Uri {
        if version == Version::HTTP_2 { self.whole.clone() } else { self.path.clone() }
    }

    /// Scheme, host and port, and no more: a path or query may carry a token.
    pub(crate) fn origin(&self) -> String {
        let scheme = self.whole.scheme_str().unwrap_or_default();
        let authority = self.whole.authority().map_or("", http::uri::Authority::as_str);
        let rest = if self.path.path() == "/" && self.path.query().is_none() { "/" } else { "/…" };
        format!("{scheme}://{authority}{rest}")
    }

    /// The value of `host`.
    pub(crate) fn host(&self) -> HeaderValue {
        self.host.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::egress::AddressPolicy;

    fn parse(url: &str) -> Result<(Target, Endpoint), String> {
        Target::parse("webhook", "url", url, &Environment::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn each_http_version_has_its_form() {
        let (target, endpoint) = parse("https://EXAMPLE.com:8443/hook?key=ü#fragment").unwrap();
        assert_eq!(target.uri(Version::HTTP_11), "/hook?key=%C3%BC");
        assert_eq!(target.uri(Version::HTTP_2), "https://example.com:8443/hook?key=%C3%BC");
        assert_eq!(target.host(), "example.com:8443");
        assert_eq!(endpoint.to_string(), "example.com:8443");
        assert_eq!(parse("https://example.com").unwrap().0.uri(Version::HTTP_11), "/");
        assert_eq!(parse("https://example.com:443/").unwrap().0.host(), "example.com");
    }

    #[test]
    fn the_origin_keeps_paths_and_queries_to_itself() {
        assert_eq!(
            parse("https://example.com:8443/canary?canary").unwrap().0.origin(),
            "https://example.com:8443/…"
        );
        assert_eq!(parse("http://93.184.216.34").unwrap().0.origin(), "http://93.184.216.34/");
    }

    #[test]
    fn another_path_is_at_the_same_server() {
        let target = parse("https://example.com:8443/hook?key=1").unwrap().0.at("/a%2Fb?c=d").unwrap();
        assert_eq!(target.uri(Version::HTTP_11), "/a%2Fb?c=d");
        assert_eq!(target.uri(Version::HTTP_2), "https://example.com:8443/a%2Fb?c=d");
        assert_eq!(target.host(), "example.com:8443");
        assert!(target.at("/a b").is_err());
    }

    #[test]
    fn credentials_in_the_url_are_refused_and_not_quoted() {
        for url in [
            "https://user:canary@example.com/",
            "https://canary@example.com/",
            "https://:canary@example.com/",
        ] {
            let Err(error) = parse(url) else { panic!("{url} was taken") };
            assert!(
                error.contains("`url`") && error.contains("authorization") && !error.contains("canary"),
                "{error}"
            );
        }
        for url in
            ["canary", "https://exa mple.com/canary", "ftp://example.com/canary", "https://canary:99999/"]
        {
            let Err(error) = parse(url) else { panic!("{url} was taken") };
            assert!(!error.contains("canary"), "{error}");
        }
    }

    #[test]
    fn a_forbidden_address_is_refused_in_every_spelling() {
        for host in [
            "127.0.0.1",
            "2130706433",
            "0x7f000001",
            "0x7f.1",
            "0177.0.0.1",
            "127.1",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[64:ff9b::7f00:1]",
            "[2002:7f00:1::]",
            "0.0.0.0",
            "0",
            "10.0.0.1",
            "169.254.169.254",
            "2852039166",
            "0xa9fea9fe",
            "0251.0376.0251.0376",
            "[fd00:ec2::254]",
            "[::ffff:169.254.169.254]",
            "[64:ff9b::a9fe:a9fe]",
            "[2002:a9fe:a9fe::]",
            "100.100.100.200",
            "[::]",
            "①②⑦.0.0.1",
        ] {
            let Err(error) = parse(&format!("http://{host}/")) else { panic!("{host} was taken") };
            assert!(error.contains("may not be connected to"), "{host}: {error}");
        }
    }

    #[test]
    fn metadata_addresses_are_refused_even_where_private_ones_are_allowed() {
        let environment =
            Environment { addresses: AddressPolicy::private_allowed(), ..Environment::default() };
        assert!(Target::parse("webhook", "url", "http://127.0.0.1/", &environment).is_ok());
        for host in
            ["169.254.169.254", "2852039166", "[fd00:ec2::254]", "100.100.100.200", "[::ffff:a9fe:a9fe]"]
        {
            assert!(
                Target::parse("webhook", "url", &format!("http://{host}/"), &environment).is_err(),
                "{host}"
            );
        }
    }

    #[test]
    fn only_allowed_ports_are_taken() {
        let environment = Environment { allowed_ports: vec![443, 8443], ..Environment::default() };
        assert!(Target::parse("webhook", "url", "https://example.com/", &environment).is_ok());
        let Err(error) = Target::parse("webhook", "url", "http://example.com/", &environment) else {
            panic!("port 80 was taken")
        };
        assert!(error.to_string().contains("port 80"), "{error}");
    }
}
