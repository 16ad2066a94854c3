//! Which HTTP version is spoken.

use serde::Deserialize;

use crate::egress::Protocols;

/// Which HTTP version to speak.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Http2 {
    /// Over TLS what the receiver prefers, else HTTP/1.1.
    #[default]
    Auto,
    /// HTTP/1.1.
    Never,
    /// HTTP/2, without TLS too.
    PriorKnowledge,
}

impl Http2 {
    /// What is offered in the TLS handshake.
    pub(crate) fn protocols(self) -> Protocols {
        match self {
            Self::Auto => Protocols::Http1OrHttp2,
            Self::Never => Protocols::Http1,
            Self::PriorKnowledge => Protocols::Http2,
        }
    }
}
