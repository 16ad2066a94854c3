//! What each role of a user may do.
//!
//! | role | in its own tenant | in every tenant |
//! |---|---|---|
//! | viewer | `read` | |
//! | operator | `publish`, `read`, `consume`, `manage` | |
//! | admin | everything: `tenant_admin` | |
//! | admin of the tenant `default` | everything | everything: `admin` |
//!
//! Whoever operates the relay belongs to the tenant `default`, as the bootstrap key does.

use eventrelay_event::Tenant;
use eventrelay_state::Role;

use super::scope::{Scope, Scopes};

/// What a user of a tenant may do who has this role.
#[must_use]
pub fn scopes_of(role: Role, tenant: &Tenant) -> Scopes {
    match role {
        Role::Viewer => Scopes::from_iter([Scope::Read]),
        Role::Operator => Scopes::from_iter([Scope::Publish, Scope::Read, Scope::Consume, Scope::Manage]),
        Role::Admin if *tenant == Tenant::default() => Scopes::ALL,
        Role::Admin => Scopes::from_iter([Scope::TenantAdmin]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_may_do_what_the_table_says_and_nothing_more() {
        let acme = Tenant::parse("acme").unwrap();
        let allowed = |role, tenant: &Tenant| {
            let scopes = scopes_of(role, tenant);
            let allowed = Scope::ALL.into_iter().filter(|scope| scopes.allow(*scope));
            allowed.map(Scope::name).collect::<Vec<_>>()
        };
        assert_eq!(allowed(Role::Viewer, &acme), ["read"]);
        let operator = ["publish", "read", "consume", "manage"];
        for tenant in [&acme, &Tenant::default()] {
            assert_eq!(allowed(Role::Operator, tenant), operator);
        }
        let tenant_admin = ["publish", "read", "consume", "manage", "tenant_admin"];
        assert_eq!(allowed(Role::Admin, &acme), tenant_admin);
        assert_eq!(allowed(Role::Admin, &Tenant::default()).last(), Some(&"admin"));
    }
}
