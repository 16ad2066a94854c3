//! Requests that can be written more than once.

use bytes::Bytes;
use http::header::{HOST, HeaderMap};
use http::{Method, Request, Version};
use http_body_util::Full;

use super::Target;

/// A request's body: all of it is there.
pub(crate) type Body = Full<Bytes>;

/// A request that can be written more than once, for a connection may turn out to be stale.
pub(crate) trait WriteRequest: Sync {
    /// The request as the HTTP version writes it.
    fn request(&self, version: Version) -> Request<Body>;
}

/// A request of its own making. It has no `Debug`, for URL, headers and body may carry secrets.
#[derive(Clone)]
pub(crate) struct OutgoingRequest {
    pub(crate) method: Method,
    pub(crate) target: Target,
    /// All but `content-length`; and `host`, unless it is to be another than the target's.
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl WriteRequest for OutgoingRequest {
    fn request(&self, version: Version) -> Request<Body> {
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.target.uri(version);
        *request.version_mut() = version;
        *request.headers_mut() = self.headers.clone();
        if version != Version::HTTP_2 {
            request.headers_mut().entry(HOST).or_insert_with(|| self.target.host());
        }
        request
    }
}
