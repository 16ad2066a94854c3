//! Whose event it is: an isolated namespace of events, subscriptions and API keys.

use std::fmt;
use std::sync::Arc;

/// A tenant's name: 1 to 64 characters of `a-z`, `0-9`, `-` and `_`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tenant(Arc<str>);

/// A tenant's name that is not one.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a tenant's name is 1 to 64 characters of a-z, 0-9, '-' and '_'")]
pub struct TenantError;

impl Tenant {
    /// The most characters that a name may have.
    pub const MAX_CHARS: usize = 64;

    /// Parses a name.
    pub fn parse(name: &str) -> Result<Self, TenantError> {
        let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        if name.is_empty() || name.len() > Self::MAX_CHARS || !name.bytes().all(legal) {
            return Err(TenantError);
        }
        Ok(Self(Arc::from(name)))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Tenant {
    /// The tenant of those who name none: `default`.
    fn default() -> Self {
        Self(Arc::from("default"))
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
