//! Who may speak to a server that asks for no key: nobody who got here through a web page.
//!
//! Any page that a browser on this machine opens can send requests to loopback, and by DNS rebinding even under a
//! name of its own. Two headers give it away: `Host` names what the page believes it talks to, and `Origin` names
//! the page. So `Host` must be a loopback name or one that the operator allows, and `Origin`, when there is one,
//! must be the server itself: by `https` where it speaks TLS; by either scheme where it does not, for a proxy in front of it
//! may. Programs send no `Origin`.

use std::net::{Ipv4Addr, Ipv6Addr};

use http::header::{HOST, ORIGIN};
use http::request::Parts;
use http::{StatusCode, Version};

use super::problem::Problem;

/// The names that this server answers to.
#[derive(Debug)]
pub(crate) struct HostGuard {
    allowed: Vec<String>,
}

impl HostGuard {
    pub(crate) fn new(allowed: &[String]) -> Self {
        Self { allowed: allowed.iter().map(|name| name.trim_matches(['[', ']']).to_owned()).collect() }
    }

    /// Checks where a request believes it goes and where it comes from. `is_tls`: whether it came by TLS.
    ///
    /// # Errors
    /// 403 `forbidden_host`, 403 `forbidden_origin`; 400 `invalid_host` when the request names two hosts.
    pub(crate) fn check(&self, parts: &Parts, is_tls: bool) -> Result<(), Problem> {
        let authority = authority(parts)?;
        if !split_port(authority).is_some_and(|host| self.is_own_name(host)) {
            return Err(Problem::new(
                StatusCode::FORBIDDEN,
                "forbidden_host",
                "This server does not answer to that name",
            )
            .detail("Without API keys, Host must be a loopback name or one of http.allowed_hosts"));
        }
        let mut origins = parts.headers.get_all(ORIGIN).iter();
        if origins.all(|origin| is_this_server(origin.as_bytes(), authority, is_tls)) {
            return Ok(());
        }
        Err(Problem::new(
            StatusCode::FORBIDDEN,
            "forbidden_origin",
            "Web pages of other origins are not served",
        )
        .detail("Without API keys, Origin must be this server itself"))
    }

    fn is_own_name(&self, host: &str) -> bool {
        if host.eq_ignore_ascii_case("localhost") {
            return true;
        }
        // Only the one canonical spelling: others (`127.1`, `0x7f.1`) are no address here.
        if host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
            || host.parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback())
        {
            return true;
        }
        self.allowed.iter().any(|name| name.eq_ignore_ascii_case(host))
    }
}

/// Where a request believes it goes.
///
/// # Errors
/// 400 `invalid_host` when it names two hosts.
pub(super) fn authority(parts: &Parts) -> Result<&[u8], Problem> {
    let header = parts.headers.get(HOST).map(http::HeaderValue::as_bytes);
    let target = parts.uri.authority().map(|authority| authority.as_str().as_bytes());
    match (target, header) {
        (Some(target), Some(header)) if !target.eq_ignore_ascii_case(header) => {
            Err(Problem::new(StatusCode::BAD_REQUEST, "invalid_host", "The request names two hosts")
                .detail("The request's target and its Host header differ"))
        }
        (Some(authority), _) | (None, Some(authority)) => Ok(authority),
        // Only clients older than HTTP/1.1 leave it out, and no browser is.
        (None, None) if parts.version <= Version::HTTP_10 => Ok(b"localhost"),
        (None, None) => Ok(b""),
    }
}

/// The host of `host[:port]`, without an IPv6 literal's brackets.
fn split_port(authority: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(authority).ok()?;
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (literal, rest) = rest.split_once(']')?;
        literal.parse::<Ipv6Addr>().ok()?;
        (literal, rest)
    } else {
        let end = text.find(':').unwrap_or(text.len());
        let (host, port) = text.split_at(end);
        (host, port)
    };
    let port_is_legal = match port.strip_prefix(':') {
        None => port.is_empty(),
        Some(digits) => digits.bytes().all(|b| b.is_ascii_digit()) && digits.parse::<u16>().is_ok(),
    };
    port_is_legal.then_some(host)
}

/// Whether an `Origin` is the authority that the request was sent to, by a scheme that leads there.
pub(super) fn is_this_server(origin: &[u8], authority: &[u8], is_tls: bool) -> bool {
    let in_the_clear = origin.strip_prefix(b"http://").filter(|_| !is_tls);
    let rest = origin.strip_prefix(b"https://").or(in_the_clear);
    rest.is_some_and(|rest| rest.eq_ignore_ascii_case(authority))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn check(target: &str, host: Option<&str>, origin: Option<&str>) -> Result<(), &'static str> {
        check_by(target, host, origin, false)
    }

    fn check_by(
        target: &str,
        host: Option<&str>,
        origin: Option<&str>,
        is_tls: bool,
    ) -> Result<(), &'static str> {
        let mut request = Request::builder().uri(target);
        if let Some(host) = host {
            request = request.header(HOST, host);
        }
        if let Some(origin) = origin {
            request = request.header(ORIGIN, origin);
        }
        let guard = HostGuard::new(&["relay.internal".to_owned()]);
        guard.check(&request.body(()).unwrap().into_parts().0, is_tls).map_err(|problem| problem.code())
    }

    #[test]
    fn loopback_and_allowed_names_pass() {
        for host in [
            "localhost",
            "LocalHost:8080",
            "127.0.0.1:8080",
            "127.9.9.9",
            "[::1]",
            "[::1]:80",
            "relay.internal:1",
        ] {
            assert_eq!(check("/", Some(host), None), Ok(()), "{host}");
        }
    }

    #[test]
    fn foreign_names_are_refused_in_every_spelling() {
        for host in [
            "evil.example",
            "localhost.evil.example",
            "evil.example:8080",
            "127.0.0.1.evil.example",
            "127.1",
            "0x7f.0.0.1",
            "2130706433",
            "localhost:x",
            "localhost:99999",
            "user@localhost",
            "[::1",
            "[localhost]",
            "::1",
            "localhost@evil.example",
            "10.0.0.1",
            "[::ffff:127.0.0.1]",
            "localhost:80:80",
        ] {
            assert_eq!(check("/", Some(host), None), Err("forbidden_host"), "{host}");
        }
        assert_eq!(check("/", None, None), Err("forbidden_host"));
    }

    #[test]
    fn a_page_of_another_origin_is_refused() {
        let host = Some("localhost:8080");
        assert_eq!(check("/", host, Some("http://localhost:8080")), Ok(()));
        for origin in
            ["http://evil.example", "null", "http://localhost:3000", "http://localhost:8080.evil.example", ""]
        {
            assert_eq!(check("/", host, Some(origin)), Err("forbidden_origin"), "{origin}");
        }
    }

    #[test]
    fn over_tls_only_a_page_that_came_by_tls_is_of_this_origin() {
        let host = Some("localhost:8443");
        for (origin, plain, tls) in [
            ("https://localhost:8443", Ok(()), Ok(())),
            ("http://localhost:8443", Ok(()), Err("forbidden_origin")),
            ("https://evil.example", Err("forbidden_origin"), Err("forbidden_origin")),
        ] {
            assert_eq!(check_by("/", host, Some(origin), false), plain, "{origin}");
            assert_eq!(check_by("/", host, Some(origin), true), tls, "{origin}");
        }
    }

    #[test]
    fn an_absolute_target_must_agree_with_the_host_header() {
        assert_eq!(check("http://localhost:1/", Some("localhost:1"), None), Ok(()));
        assert_eq!(check("http://evil.example/", Some("localhost:1"), None), Err("invalid_host"));
        assert_eq!(check("http://localhost/", Some("evil.example"), None), Err("invalid_host"));
        assert_eq!(check("http://evil.example/", Some("evil.example"), None), Err("forbidden_host"));
    }
}
