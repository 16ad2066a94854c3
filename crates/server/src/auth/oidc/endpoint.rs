//! The URLs of a provider: `https`, or `http` to this very machine.

use url::{Host, Url};

const MAX_BYTES: usize = 2048;

/// Takes a text as the URL of a provider, or of this server as the provider is told it.
///
/// # Errors
/// What it must be.
pub(super) fn parse(text: &str) -> Result<Url, &'static str> {
    let url = Url::parse(text).map_err(|_| "a URL such as https://login.example.com")?;
    let is_loopback = match url.host() {
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => return Err("a URL with a host"),
    };
    match url.scheme() {
        "https" => {}
        "http" if is_loopback => {}
        "http" => return Err("an https URL; http is for loopback addresses only"),
        _ => return Err("an https URL"),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a URL without user and password");
    }
    if url.fragment().is_some() || text.len() > MAX_BYTES {
        return Err("a URL of at most 2,048 bytes, without a fragment");
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_the_clear_only_this_machine_is_asked() {
        for good in [
            "https://login.example.com/a?b=c",
            "http://127.0.0.1:8080/x",
            "http://localhost",
            "http://[::1]:1/",
        ] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in [
            "http://login.example.com",
            "http://10.0.0.1",
            "http://localhost.evil.example",
            "https://user:canary@login.example.com",
            "https://login.example.com/#x",
            "ftp://localhost/",
            "file:///etc/passwd",
            "login.example.com",
            "",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
