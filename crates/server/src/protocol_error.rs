//! Whether a client was shown out because it broke HTTP/2.

use std::error::Error;

/// Whether a connection ended because its client broke the rules of HTTP/2, as garbage, calls that are reset at once and
/// headers without an end do. It was told so by a GOAWAY. Who only left broke none.
pub(crate) fn is_protocol_error(ended: &hyper::Error) -> bool {
    ended.source().and_then(|source| source.downcast_ref::<h2::Error>()).is_some_and(h2::Error::is_library)
}
