//! What a quota refuses, and when to come again.

use std::time::Duration;

/// Over a quota. Nothing was stored or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{} of {} {} than {} allowed", self.limit.what(), self.whose.name(), self.limit.comparison(), self.limit.are())]
pub(crate) struct Exceeded {
    pub(crate) limit: Limit,
    pub(crate) whose: Whose,
    /// When the same can be tried again.
    pub(crate) retry_after: Duration,
}

/// What there is too much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Limit {
    Requests,
    Events,
    InFlightBytes,
    OpenStreams,
}

/// Whose quota it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Whose {
    /// The tenant's own.
    Tenant,
    /// That of all tenants together.
    Total,
}

impl Exceeded {
    /// The stable code.
    pub(crate) fn code(&self) -> &'static str {
        match self.limit {
            Limit::Requests | Limit::Events => "rate_limited",
            Limit::InFlightBytes => "too_many_bytes_in_flight",
            Limit::OpenStreams => "too_many_streams",
        }
    }
}

impl Limit {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests_per_second",
            Self::Events => "events_per_second",
            Self::InFlightBytes => "in_flight_bytes",
            Self::OpenStreams => "open_streams",
        }
    }

    fn what(self) -> &'static str {
        match self {
            Self::Requests => "the requests",
            Self::Events => "the events",
            Self::InFlightBytes => "the bytes in flight",
            Self::OpenStreams => "the open streams",
        }
    }

    fn comparison(self) -> &'static str {
        match self {
            Self::Requests | Self::Events => "come faster",
            Self::InFlightBytes | Self::OpenStreams => "are more",
        }
    }

    fn are(self) -> &'static str {
        match self {
            Self::Requests | Self::Events => "is",
            Self::InFlightBytes | Self::OpenStreams => "are",
        }
    }
}

impl Whose {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Tenant => "the tenant",
            Self::Total => "all tenants",
        }
    }

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Total => "total",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_there_is_too_much_of_and_whose() {
        let exceeded = |limit, whose| Exceeded { limit, whose, retry_after: Duration::ZERO }.to_string();
        assert_eq!(
            exceeded(Limit::Requests, Whose::Tenant),
            "the requests of the tenant come faster than is allowed"
        );
        assert_eq!(
            exceeded(Limit::OpenStreams, Whose::Tenant),
            "the open streams of the tenant are more than are allowed"
        );
    }
}
