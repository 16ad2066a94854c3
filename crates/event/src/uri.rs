//! Whether a text is a URI or a URI reference (RFC 3986).

/// What a text is, as a URI reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UriReference {
    /// It begins with a scheme.
    Uri,
    /// It is meant to be resolved against another.
    Relative,
}

/// Parses a URI reference, far enough to know that it is one. `None` when it is not.
pub(crate) fn parse(text: &str) -> Option<UriReference> {
    let (rest, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (hierarchy, query) = rest.split_once('?').unwrap_or((rest, ""));
    let first_segment = hierarchy.split('/').next().unwrap_or_default();
    let (kind, hierarchy) = match first_segment.split_once(':') {
        // A relative reference may not have a colon in its first segment.
        Some((scheme, _)) if is_scheme(scheme) => (UriReference::Uri, &hierarchy[scheme.len() + 1..]),
        Some(_) => return None,
        None => (UriReference::Relative, hierarchy),
    };
    let path = match hierarchy.strip_prefix("//") {
        Some(rest) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            is_authority(authority).then_some(path)?
        }
        None => hierarchy,
    };
    let legal = has_only(path, b":@/") && has_only(query, b":@/?") && has_only(fragment, b":@/?");
    legal.then_some(kind)
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// `[userinfo@]host[:port]`, the host a name, an IPv4 address, or an IPv6 address in brackets.
fn is_authority(text: &str) -> bool {
    let (user_info, host_port) = text.rsplit_once('@').unwrap_or(("", text));
    let (host_fits, port) = match host_port.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(Some((address, port))) => (is_ip_literal(address), port),
        Some(None) => return false,
        None => {
            let (host, port) = host_port.split_at(host_port.rfind(':').unwrap_or(host_port.len()));
            (has_only(host, b""), port)
        }
    };
    let port_fits = port.is_empty()
        || port.strip_prefix(':').is_some_and(|port| port.bytes().all(|b| b.is_ascii_digit()));
    host_fits && port_fits && has_only(user_info, b":")
}

fn is_ip_literal(address: &str) -> bool {
    address.parse::<std::net::Ipv6Addr>().is_ok()
        || (address.starts_with(['v', 'V']) && address.contains('.') && has_only(address, b":"))
}

/// Whether a part has only unreserved characters, sub-delimiters, percent escapes, and those in `others`.
fn has_only(part: &str, others: &[u8]) -> bool {
    let mut bytes = part.bytes();
    while let Some(byte) = bytes.next() {
        let legal = match byte {
            b'%' => {
                let mut is_hex_digit = || bytes.next().is_some_and(|digit| digit.is_ascii_hexdigit());
                is_hex_digit() && is_hex_digit()
            }
            _ => byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte) || others.contains(&byte),
        };
        if !legal {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_of_every_form_are_known() {
        let uris = [
            "https://example.com:8080/a/b?c=d#e",
            "urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66",
            "mailto:cncf-wg-serverless@lists.cncf.io",
            "http://[2001:db8::1]:80/",
            "ftp://user:pass@host/%20",
            "tag:example.com,2026:x",
            "file:///etc/hosts",
            "a:",
        ];
        for uri in uris {
            assert_eq!(parse(uri), Some(UriReference::Uri), "{uri}");
        }
        for relative in ["/cloudevents/spec/pull/123", "shop", "../a", "//host/path", "?q", "#f", "a/b:c", ""]
        {
            assert_eq!(parse(relative), Some(UriReference::Relative), "{relative}");
        }
    }

    #[test]
    fn what_is_not_a_reference_is_refused() {
        let bad = [
            "a b",
            "a\u{0}",
            "ä",
            "a%2",
            "a%zz",
            "1a:b",
            ":a",
            "a#b#c",
            "http://[::1",
            "http://[zz]/",
            "http://a:b/",
            "a[b]",
            "<a>",
            "a\\b",
            "a\"",
            "{a}",
            "a|b",
            "^",
            "`",
        ];
        for text in bad {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
