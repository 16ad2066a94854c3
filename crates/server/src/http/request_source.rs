//! Where a request comes from, for those who write down who did what.

use std::net::IpAddr;

use http::HeaderValue;

/// Travels with a request of the control plane.
#[derive(Debug, Clone)]
pub(crate) struct RequestSource {
    /// The other end of the connection.
    pub(crate) address: IpAddr,
    /// Whether it is encrypted from here on.
    pub(crate) is_tls: bool,
    /// The request's name in logs.
    pub(crate) request_id: HeaderValue,
}

impl RequestSource {
    /// The request's name, where it is text, as all are.
    pub(crate) fn request_id(&self) -> Option<String> {
        self.request_id.to_str().ok().map(str::to_owned)
    }
}
