//! What a tenant has, taken away with it: subscriptions with their deliveries, keys, users. Events stay in the log as long as all
//! others.
//!
//! Each is deleted as it would be alone, with its own entry in the audit log; what the configuration file declares stays, and so
//! does its tenant. A request that is cut short has deleted a part, and is made again.

use eventrelay_event::Tenant;

use super::resources::Resources;
use super::users::refused;
use super::{audited, reading, refusals};
use crate::auth::{Access, Author};
use crate::http::problem::Problem;

/// How many are read together.
const PAGE: u32 = 250;

pub(super) async fn delete_all(
    resources: &Resources,
    access: &Access,
    author: &Author,
    tenant: &Tenant,
) -> Result<(), Problem> {
    delete_subscriptions(resources, author, tenant).await?;
    revoke_keys(resources, author, tenant).await?;
    delete_users(resources, access, author, tenant).await
}

async fn delete_subscriptions(
    resources: &Resources,
    author: &Author,
    tenant: &Tenant,
) -> Result<(), Problem> {
    loop {
        let of = tenant.clone();
        let read = move |state: &eventrelay_state::State| state.subscriptions_of(of.as_str(), "", PAGE);
        let found = reading::state(resources, read).await?;
        if found.is_empty() {
            return Ok(());
        }
        for record in found {
            let audit = audited::declaration(author, "subscription.delete", Some(&record.spec), None);
            let deleted = resources.engine.delete(tenant.as_str(), &record.spec.name, None, audit).await;
            deleted.map_err(|error| refusals::of_change(&error))?;
        }
    }
}

async fn revoke_keys(resources: &Resources, author: &Author, tenant: &Tenant) -> Result<(), Problem> {
    let mut after = String::new();
    loop {
        let (of, from) = (tenant.clone(), after.clone());
        let read = move |state: &eventrelay_state::State| state.api_keys_after(Some(&of), &from, PAGE);
        let found = reading::state(resources, read).await?;
        let Some(last) = found.last() else { return Ok(()) };
        after.clone_from(&last.id);
        for key in found.into_iter().filter(|key| key.revoked_at_micros.is_none()) {
            let revoked = resources.api_keys.revoke(key, author).await;
            revoked.map_err(|error| refusals::of_state(&error))?;
        }
    }
}

async fn delete_users(
    resources: &Resources,
    access: &Access,
    author: &Author,
    tenant: &Tenant,
) -> Result<(), Problem> {
    let users = &resources.accounts.users;
    loop {
        let found = users.list(access, Some(tenant.clone()), None, PAGE).await;
        let found = found.map_err(refused)?;
        if found.is_empty() {
            return Ok(());
        }
        for user in found {
            users.delete(access, user, author).await.map_err(refused)?;
        }
    }
}
