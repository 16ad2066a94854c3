//! Cookies of this server alone: out of reach of pages, and of other hosts.
//!
//! ```text
//! over TLS      __Host-<name>=<value>; Path=/; Max-Age=<seconds>; HttpOnly; SameSite=<when>; Secure
//! in the clear  <name>=<value>; Path=/; Max-Age=<seconds>; HttpOnly; SameSite=<when>
//! ```
//!
//! One with the prefix `__Host-` was set by this very host over TLS, or the browser would not have taken it. So where TLS is spoken, no
//! other is believed.

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

/// One kind of cookie.
#[derive(Debug)]
pub(crate) struct Cookie {
    /// In the clear.
    pub(crate) name: &'static str,
    /// Over TLS.
    pub(crate) secure_name: &'static str,
    /// Which requests it comes with that other sites have had sent: `Strict`, or `Lax`.
    pub(crate) same_site: &'static str,
}

impl Cookie {
    /// The value in a request, if there is one and one only: somebody who could plant a second must not choose.
    pub(crate) fn value<'a>(&self, headers: &'a HeaderMap, is_secure: bool) -> Option<&'a str> {
        let name = if is_secure { self.secure_name } else { self.name };
        let texts = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        let pairs = texts.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let mut values = pairs.filter(|(found, _)| *found == name).map(|(_, value)| value);
        values.next().filter(|_| values.next().is_none())
    }

    /// `Set-Cookie`.
    pub(crate) fn set(&self, value: &str, max_age_seconds: u64, is_secure: bool) -> Option<HeaderValue> {
        let (name, secure) = if is_secure { (self.secure_name, "; Secure") } else { (self.name, "") };
        let same_site = self.same_site;
        let attributes = format!("Path=/; Max-Age={max_age_seconds}; HttpOnly; SameSite={same_site}{secure}");
        let mut header = HeaderValue::try_from(format!("{name}={value}; {attributes}")).ok()?;
        header.set_sensitive(true);
        Some(header)
    }
}
