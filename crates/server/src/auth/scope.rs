//! What a key may do.

use std::fmt;
use std::str::FromStr;

/// One kind of thing that a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Scope {
    /// Publish events.
    Publish = 1,
    /// Read events and what became of them.
    Read = 2,
    /// Change the tenant's subscriptions.
    Manage = 4,
    /// Everything, for every tenant: keys, metrics, health in full.
    Admin = 8,
    /// Pull events, and say what became of them.
    Consume = 16,
    /// Everything that is the tenant's own: all of the above, its keys, its users, its part of the audit log.
    TenantAdmin = 32,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Publish, Self::Read, Self::Consume, Self::Manage, Self::TenantAdmin, Self::Admin];

    /// The stable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Read => "read",
            Self::Consume => "consume",
            Self::Manage => "manage",
            Self::TenantAdmin => "tenant_admin",
            Self::Admin => "admin",
        }
    }
}

/// A name that no scope has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a scope is publish, read, consume, manage, tenant_admin or admin")]
pub struct UnknownScope;

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(name: &str) -> Result<Self, UnknownScope> {
        Self::ALL.into_iter().find(|scope| scope.name() == name).ok_or(UnknownScope)
    }
}

/// A set of scopes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scopes {
    /// Everything.
    pub const ALL: Self = Self(Scope::Admin as u8);

    /// Those that are named; what is no scope's name allows nothing.
    #[must_use]
    pub fn of_names(names: &[String]) -> Self {
        names.iter().filter_map(|name| name.parse().ok()).collect()
    }

    /// Whether it allows something; `admin` allows everything, and `tenant_admin` everything but that.
    #[must_use]
    pub fn allow(self, scope: Scope) -> bool {
        let implied_by = match scope {
            Scope::Admin => Scope::Admin as u8,
            _ => scope as u8 | Scope::TenantAdmin as u8 | Scope::Admin as u8,
        };
        self.0 & implied_by != 0
    }

    /// Whether it allows all that the other does: nobody gives away what he does not have.
    #[must_use]
    pub fn include(self, other: Self) -> bool {
        Scope::ALL.into_iter().all(|scope| self.allow(scope) || !other.allow(scope))
    }

    /// The names of those in it.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Scope::ALL.into_iter().filter(move |scope| self.0 & *scope as u8 != 0).map(Scope::name)
    }

    /// The names of all that it allows.
    pub fn allowed_names(self) -> impl Iterator<Item = &'static str> {
        Scope::ALL.into_iter().filter(move |scope| self.allow(*scope)).map(Scope::name)
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |set, scope| set | scope as u8))
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_allows_what_is_in_it_and_admin_everything() {
        let reader: Scopes = ["read", "publish"].into_iter().map(|name| name.parse().unwrap()).collect();
        assert!(reader.allow(Scope::Read) && reader.allow(Scope::Publish));
        let others = [Scope::Consume, Scope::Manage, Scope::TenantAdmin, Scope::Admin];
        assert!(others.iter().all(|scope| !reader.allow(*scope)));
        assert_eq!(reader.names().collect::<Vec<_>>(), ["publish", "read"]);
        assert!(Scope::ALL.into_iter().all(|scope| Scopes::ALL.allow(scope)));
        assert!(!Scopes::from_iter([]).allow(Scope::Read));
        let tenant_admin = Scopes::from_iter([Scope::TenantAdmin]);
        assert!(Scope::ALL.into_iter().all(|scope| tenant_admin.allow(scope) != (scope == Scope::Admin)));
        assert_eq!("root".parse::<Scope>(), Err(UnknownScope));
    }
    #[test]
    fn a_set_includes_what_it_allows() {
        let reader = Scopes::from_iter([Scope::Read]);
        let tenant_admin = Scopes::from_iter([Scope::TenantAdmin]);
        assert!(Scopes::ALL.include(tenant_admin) && tenant_admin.include(reader) && reader.include(reader));
        assert!(!tenant_admin.include(Scopes::ALL) && !reader.include(tenant_admin));
        assert!(!reader.include(Scopes::from_iter([Scope::Read, Scope::Publish])));
    }
}
