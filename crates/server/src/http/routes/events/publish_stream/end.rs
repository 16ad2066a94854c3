//! Why a publish stream ended.

/// Why a publish stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The client has sent all that it had.
    ByClient,
    /// For this reason, which the client was told in the last line.
    Refused(&'static str),
    /// The client did not take its answers in time.
    WriteTimeout,
    /// The client has left.
    Abandoned,
}

impl End {
    /// Its name in metrics.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::ByClient => "client",
            Self::Refused(code) => code,
            Self::WriteTimeout => "write_timeout",
            Self::Abandoned => "abandoned",
        }
    }

    /// Whether everything that was due was told, so that the answer may end as a whole one does.
    pub(super) fn is_told(self) -> bool {
        matches!(self, Self::ByClient | Self::Refused(_))
    }
}
